"""`holdfast user`: who may sign in, and what they may do."""

import sys
from datetime import timedelta
from typing import Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person_or_owner
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

app = typer.Typer(help="Who may sign in.", no_args_is_help=True)
INVITED_FOR = timedelta(hours=72)

NameArgument = Annotated[str, typer.Argument(help="The account's name.")]
RolesArgument = Annotated[
    list[str], typer.Argument(help="viewer, producer, operator, approver, validator, auditor, admin.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit trail.")]


@app.command("list")
def list_users(home: HomeOption = None) -> None:
    """Every account with its roles."""
    from monitor.db.users import users

    with open_desk(home) as desk, desk.transaction() as session:
        found = users(session)
    if not found:
        say("nobody has an account yet: holdfast user add NAME ROLE …, or holdfast link for the first one")
    for user in found:
        print(f"{user.name:<20} {', '.join(user.roles)}{'  disabled' if user.disabled else ''}")


@app.command()
def add(name: NameArgument, roles: RolesArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """A new account. `holdfast user invite` prints the link that signs the person in."""
    from monitor.acts.users import create_person
    from monitor.db.engine import database_now

    with open_desk(home) as desk, desk.transaction() as session:
        by = person_or_owner(session, who)
        made = create_person(session, name=name, roles=roles, by=by, now=database_now(session))
        print(f"{made.name} is {', '.join(made.roles)}: holdfast user invite {made.name}")


@app.command("roles")
def set_roles(name: NameArgument, roles: RolesArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """Give a person these roles and no others, from their next click on. Nobody changes their own."""
    from monitor.acts.users import change_roles
    from monitor.db.engine import database_now
    from monitor.db.users import user_named

    with open_desk(home) as desk, desk.transaction() as session:
        by, user = person_or_owner(session, who), user_named(session, name)
        change_roles(session, user, roles=roles, by=by, now=database_now(session))
        print(f"{name} is {', '.join(user.roles)} now")


@app.command()
def disable(name: NameArgument, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None) -> None:
    """Shut a person out: their sessions and links end at once."""
    from monitor.acts import users as acts
    from monitor.db.engine import database_now
    from monitor.db.users import user_named

    with open_desk(home) as desk, desk.transaction() as session:
        by, user = person_or_owner(session, who), user_named(session, name)
        acts.disable(session, user, by=by, reason=reason, now=database_now(session))
    print(f"{name} is disabled")


@app.command()
def enable(name: NameArgument, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None) -> None:
    """Let a person in again, with the roles they had."""
    from monitor.acts import users as acts
    from monitor.db.engine import database_now
    from monitor.db.users import user_named

    with open_desk(home) as desk, desk.transaction() as session:
        by, user = person_or_owner(session, who), user_named(session, name)
        acts.enable(session, user, by=by, reason=reason, now=database_now(session))
    print(f"{name} is enabled")


@app.command()
def invite(name: NameArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """Print a link that signs a person in, once, within three days."""
    from monitor.acts import users as acts
    from monitor.db.engine import database_now
    from monitor.db.users import user_named
    from monitor.up import running_supervisor

    with open_desk(home) as desk:
        with desk.transaction() as session:
            by, user = person_or_owner(session, who), user_named(session, name)
            once = acts.invite(session, user, lifetime=INVITED_FOR, by=by, now=database_now(session))
        running = running_supervisor(desk.settings)
        print(f"{running.link if running else desk.settings.link}/?once={once}")


@app.command()
def password(
    name: NameArgument,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read it from standard input instead of asking.")] = False,
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Set a person's password; their sessions end. It is never an argument, which others could see."""
    from monitor.acts.users import set_password
    from monitor.db.engine import database_now
    from monitor.db.users import user_named

    if not stdin and not sys.stdin.isatty():
        raise BadInput("expected a terminal to ask for the password at, or --stdin")
    secret = sys.stdin.readline().rstrip("\n") if stdin else _asked()
    with open_desk(home) as desk, desk.transaction() as session:
        by, user = person_or_owner(session, who), user_named(session, name)
        set_password(session, user, password=secret, by=by, now=database_now(session))
    print(f"{name} has another password, and is signed out everywhere")


def _asked() -> str:
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
