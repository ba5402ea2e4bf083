"""`holdfast envelope`: what policy may change at tier 0 without a vote, signed by an approver."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person
from monitor.cli.platform import HomeOption
from monitor.cli.voting import ModelArgument, ReasonOption
from monitor.errors import BadInput

app = typer.Typer(help="What policy may change at tier 0 without a vote.", no_args_is_help=True)

FileArgument = Annotated[
    Path | None, typer.Argument(help="Limits as JSON; without a file, the defaults.", show_default=False)
]


@app.command()
def sign(
    model: ModelArgument, file: FileArgument = None,
    days: Annotated[float, typer.Option("--days", help="How long it holds, at most 366.", min=0.01)] = 90.0,
    reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None,
) -> None:  # fmt: skip
    """Let policy approve and promote inside these limits until they expire; needs an approver."""
    from monitor.acts.envelopes import sign_envelope
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named
    from monitor.governance import Envelope

    limits = Envelope() if file is None else Envelope.from_document(_limits(file))
    with open_desk(home) as desk, desk.transaction() as session:
        actor, row = person(session, who), model_named(session, model)
        signed = sign_envelope(
            session, row, limits, lifetime=timedelta(days=days), reason=reason, by=actor, now=database_now(session)
        )
        print(f"policy may decide for {model} until {signed.expires_at:%d %b %Y %H:%M} UTC, inside:")
        _print(signed.document)


@app.command()
def show(model: ModelArgument, home: HomeOption = None) -> None:
    """The envelope in force."""
    from monitor.acts.envelopes import signed_envelope
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        row = signed_envelope(session, model_named(session, model))
        if row is None:
            print(f"{model} has no envelope: people decide")
            return
        print(f"signed by {row.signed_by} until {row.expires_at:%d %b %Y %H:%M} UTC: {row.reason}")
        _print(row.document)


@app.command()
def revoke(model: ModelArgument, reason: ReasonOption = "", who: AsOption = None, home: HomeOption = None) -> None:
    """Let people decide again."""
    from monitor.acts.envelopes import revoke_envelope
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        actor, row = person(session, who), model_named(session, model)
        revoke_envelope(session, row, by=actor, reason=reason, now=database_now(session))
    print(f"{model} has no envelope any more: people decide")


def _limits(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"expected a JSON file with limits, but {file}: {error}") from None
    if not isinstance(found, dict):
        raise BadInput(f"expected an object of limits in {file}, got a {type(found).__name__}")
    return found


def _print(document: dict[str, object]) -> None:
    for name, value in document.items():
        print(f"  {name:<13} {', '.join(map(str, value)) if isinstance(value, list) else value}")
