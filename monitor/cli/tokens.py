"""`holdfast token`: keys of programs, which operate and read but never vote."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person_or_owner
from monitor.cli.platform import HomeOption, say

if TYPE_CHECKING:
    from datetime import datetime

    from monitor.db.users import Token

app = typer.Typer(help="Keys of programs.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="What the token is for.")]


@app.command("list")
def list_tokens(home: HomeOption = None) -> None:
    """Every token that was ever made: its roles, its model, and until when it holds."""
    from monitor.db.engine import database_now
    from monitor.db.registry import Model
    from monitor.db.tokens import tokens

    with open_desk(home) as desk, desk.transaction() as session:
        now, found = database_now(session), tokens(session)
        models = {token.id: session.get_one(Model, token.model_id).name for token in found if token.model_id}
    if not found:
        say("there are no tokens: holdfast token create NAME ROLE …")
    for token in found:
        about = models.get(token.id, "every model")
        used = f"used {token.used_at:%Y-%m-%d}" if token.used_at else "never used"
        print(f"{token.name:<20} {', '.join(token.roles):<20} {about:<16} {used:<16} {_stand(token, now)}")


@app.command()
def create(
    name: NameArgument,
    roles: Annotated[list[str], typer.Argument(help="viewer, producer, operator, auditor.")],
    model: Annotated[str | None, typer.Option("--model", help="For one model alone.", show_default=False)] = None,
    days: Annotated[float, typer.Option("--days", help="How long it holds.")] = 90.0,
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Make a token and print it, this once. A program sends it as `Authorization: Bearer TOKEN`."""
    from monitor.acts.tokens import create_token
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        by, row = person_or_owner(session, who), model_named(session, model) if model else None
        token, secret = create_token(
            session, name=name, roles=roles, model=row, lifetime=timedelta(days=days), by=by,
            now=database_now(session),
        )  # fmt: skip
    say(f"{name} holds until {token.expires_at:%Y-%m-%d %H:%M} UTC. Keep it now: it is shown this once.")
    print(secret)


@app.command()
def revoke(
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit trail.")] = "",
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Take a token back: it is refused from the next request on."""
    from monitor.acts.tokens import revoke_token
    from monitor.db.engine import database_now
    from monitor.db.tokens import token_named

    with open_desk(home) as desk, desk.transaction() as session:
        by, token = person_or_owner(session, who), token_named(session, name)
        revoke_token(session, token, by=by, reason=reason, now=database_now(session))
    print(f"token {name} is revoked")


def _stand(token: "Token", now: "datetime") -> str:
    if token.revoked_at is not None:
        return f"revoked {token.revoked_at:%Y-%m-%d}"
    word = "expired" if token.expires_at <= now else "until"
    return f"{word} {token.expires_at:%Y-%m-%d}"
