"""`holdfast audit`: who did what, whether the trail is whole, and taking it away as a file."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person_or_owner, plain
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput
from monitor.settings import Settings
from monitor.windows import moment_of, parse_moment

if TYPE_CHECKING:
    from monitor.db.audit_heads import Keeper
    from monitor.db.read_audit import Chosen
    from monitor.governance.audit_chain import Head, Verification

app = typer.Typer(help="Who did what.", no_args_is_help=True)

ModelOption = Annotated[str | None, typer.Option("--model", help="Of one model alone.", show_default=False)]
ActorOption = Annotated[str | None, typer.Option("--actor", help="By one person alone.", show_default=False)]
ActionOption = Annotated[str | None, typer.Option("--action", help="proposal.approved, …", show_default=False)]
SinceOption = Annotated[str | None, typer.Option("--since", help="First day or moment (UTC).", show_default=False)]
UntilOption = Annotated[str | None, typer.Option("--until", help="Last day, or moment.", show_default=False)]


@app.command("list")
def list_entries(
    model: ModelOption = None,
    actor: ActorOption = None,
    action: ActionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many, the newest first.")] = 30,
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """The newest acts."""
    from monitor.db.read_audit import audit_page
    from monitor.governance import Action, authorize

    with open_desk(home) as desk, desk.transaction() as session:
        authorize(person_or_owner(session, who), Action.READ_AUDIT)
        page = audit_page(session, _chosen(model, actor, action, since, until), most=last)
    for line in page.lines:
        note = str(line.details.get("reason") or line.details.get("sentence") or "")
        about = f"{line.model} " if line.model else ""
        act = f"{line.at:%Y-%m-%d %H:%M:%S}Z  {line.actor:<12} {line.action:<26}"
        print(f"#{line.number:<6} {act} {about}{line.subject}{'  ' + plain(note) if note else ''}")
    if page.total > len(page.lines):
        say(f"{len(page.lines):,} of {page.total:,} are shown: --last {page.total} shows all")


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Option("--file", help="An export; nothing else is needed then.", show_default=False)
    ] = None,
    heads: Annotated[
        Path | None, typer.Option("--heads", help="The file of signed heads; default: the sink's.", show_default=False)
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", help="The public key they are signed with.", show_default=False)
    ] = None,
    home: HomeOption = None,
) -> None:
    """Say whether the trail is whole; exit code 2 where it is not. With --file no database is asked."""
    if file is not None:
        _answer(_verify_file(file, _given_heads(heads, key)))
        return
    from monitor.db.read_audit import verify_trail

    with open_desk(home) as desk, desk.transaction() as session:
        signed = _given_heads(heads, key) if heads or key else _kept_heads(_keeper(desk.settings))
        found = verify_trail(session, signed)
    _answer(found)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The file to write; one that ends in .csv is for a spreadsheet.")],
    model: ModelOption = None,
    actor: ActorOption = None,
    action: ActionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Write the trail, or a part of it, as JSON lines that `verify --file` checks anywhere; or as a CSV for reading."""
    from monitor.db.engine import database_now
    from monitor.db.read_audit import links
    from monitor.governance import Action, authorize
    from monitor.governance.audit_export import csv_lines, export_lines

    partial = file.with_name(f".{file.name}.partial")
    with open_desk(home) as desk, desk.transaction() as session:
        authorize(person_or_owner(session, who), Action.READ_AUDIT)
        chosen, at = _chosen(model, actor, action, since, until), database_now(session).isoformat(timespec="seconds")
        entries = links(session, chosen)
        csv = file.suffix.lower() == ".csv"
        lines = csv_lines(entries) if csv else export_lines(entries, at=at, chosen=chosen.to_document())
        try:
            with partial.open("w", encoding="utf-8", newline="") as out:
                partial.chmod(0o600)  # it holds who did what
                out.writelines(lines)
            partial.replace(file)
        except FileNotFoundError as error:
            raise BadInput(f"expected a folder to write {file} into: {error.strerror}") from None
        finally:
            partial.unlink(missing_ok=True)
    say(f"wrote {file}: " + ("for reading; it cannot be verified" if csv else f"holdfast audit verify --file {file}"))


@app.command()
def sign(home: HomeOption = None) -> None:
    """Sign the newest entry now. The scheduler does so every five minutes by itself."""
    from monitor.db.audit_heads import sign_newest

    with open_desk(home) as desk, desk.transaction() as session:
        keeper = _keeper(desk.settings)
        signed = sign_newest(session, keeper)
    if signed is None:
        say(f"nothing was recorded since the last head in {keeper.heads}")
        return
    print(f"entry #{signed.head.number} {signed.head.hash[:16]}… is signed by key {signed.key}: {keeper.heads}")


@app.command("key")
def print_key(home: HomeOption = None) -> None:
    """Print the public key that heads are verified with: give it to your auditors."""
    from monitor.db.audit_heads import signing_key
    from monitor.governance.audit_heads import public_pem

    print(public_pem(signing_key(_keeper(Settings.load(home=home))).public_key()).decode(), end="")


def _keeper(settings: Settings) -> "Keeper":
    from monitor.db.audit_heads import Keeper

    return Keeper.of(settings.home, settings.audit_sink)


def _kept_heads(keeper: "Keeper") -> "list[Head]":
    from monitor.db.audit_heads import read_heads

    return read_heads(keeper.heads, keeper.public)


def _given_heads(heads: Path | None, key: Path | None) -> "list[Head]":
    from monitor.db.audit_heads import read_heads

    if (heads is None) != (key is None):
        raise BadInput("expected --heads and --key together: heads count for what their signatures say")
    if heads is None or key is None:
        return []
    if not heads.is_file():
        raise BadInput(f"expected a file of signed heads, but {heads} is not there")
    return read_heads(heads, key)


def _verify_file(file: Path, heads: "list[Head]") -> "Verification":
    from monitor.governance.audit_export import verify_export

    try:
        with file.open(encoding="utf-8", newline="\n", errors="replace") as lines:
            return verify_export(lines, heads=heads)
    except OSError as error:
        raise BadInput(f"expected an audit export, but {file} cannot be read: {error.strerror}") from None


def _answer(found: "Verification") -> None:
    print(found.sentence)
    if not found.ok:
        raise typer.Exit(2)


def _chosen(model: str | None, actor: str | None, action: str | None, since: str | None, until: str | None) -> "Chosen":
    from monitor.db.read_audit import Chosen

    return Chosen(
        model=model, actor=actor, action=action, since=moment_of(parse_moment(since)) if since else None,
        until=_end(until) if until else None,
    )  # fmt: skip


def _end(text: str) -> datetime:
    """A day is included to its end; a moment is the first one left out."""
    asked = parse_moment(text)
    return moment_of(asked) + (timedelta(0) if isinstance(asked, datetime) else timedelta(days=1))
