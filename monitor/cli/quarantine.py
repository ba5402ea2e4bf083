"""`holdfast quarantine`: rows that intake refused, and what becomes of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person_or_owner, plain
from monitor.cli.deciding import ModelArgument
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

app = typer.Typer(
    help="Rows that intake refused: look at them, take them after all, or discard them.", no_args_is_help=True
)

ReasonOption = Annotated[
    str | None, typer.Option("--reason", help="Rows whose reason begins so, as `list` prints it.", show_default=False)
]
IdOption = Annotated[list[int] | None, typer.Option("--id", help="Rows of these numbers. Repeat.", show_default=False)]
AllOption = Annotated[bool, typer.Option("--all", help="Every row that waits (5,000 at once).")]


@app.command("list")
def list_groups(model: ModelArgument, home: HomeOption = None) -> None:
    """What waits, in groups of rows with the same reason."""
    from monitor.db.read_quarantine import quarantine_groups

    with open_desk(home) as desk, desk.transaction() as session:
        groups = quarantine_groups(session, model)
    if not groups:
        say(f"{model}: no row waits in quarantine")
    for group in groups:
        span = f"{group.first:%Y-%m-%d %H:%M} to {group.last:%Y-%m-%d %H:%M} UTC"
        print(f"{group.rows:>8,}  {plain(group.reason)}  (from {', '.join(group.sources)}, {span})")


@app.command()
def show(model: ModelArgument, reason: ReasonOption = None, most: int = 5, home: HomeOption = None) -> None:
    """The newest refused rows as they came, of one reason or of each."""
    from monitor.db.read_quarantine import quarantine_examples, quarantine_groups

    with open_desk(home) as desk, desk.transaction() as session:
        reasons = [reason] if reason is not None else [group.reason for group in quarantine_groups(session, model)]
        for one in reasons:
            for row in quarantine_examples(session, model, one, most=most):
                print(f"#{row.id}  {plain(row.reason)}\n    {plain(row.raw[:2_000])}")


@app.command()
def replay(
    model: ModelArgument, reason: ReasonOption = None, ids: IdOption = None, everything: AllOption = False,
    home: HomeOption = None, name: AsOption = None,
) -> None:  # fmt: skip
    """Try rows again, as the schema is now."""
    _retake(model, reason, ids, everything, home, name)


@app.command()
def remap(
    model: ModelArgument,
    rename: Annotated[list[str], typer.Option("--rename", help="OLD=NEW: the field OLD is NEW. Repeat.")],
    reason: ReasonOption = None, ids: IdOption = None, everything: AllOption = False, home: HomeOption = None,
    name: AsOption = None,
) -> None:  # fmt: skip
    """Try rows again with fields under their right names."""
    pairs = [pair.partition("=") for pair in rename]
    if wrong := [old for old, sign, new in pairs if not (old and sign and new)]:
        raise BadInput(f"expected --rename OLD=NEW, got {wrong[0]}")
    _retake(model, reason, ids, everything, home, name, rename={old: new for old, _, new in pairs})


@app.command()
def accept(
    model: ModelArgument, reason: ReasonOption = None, ids: IdOption = None, everything: AllOption = False,
    home: HomeOption = None, name: AsOption = None,
) -> None:  # fmt: skip
    """Take rows whose event time lies ahead of the clock: you looked, and it is right."""
    _retake(model, reason, ids, everything, home, name, trust_time=True)


@app.command()
def discard(
    model: ModelArgument, why: Annotated[str, typer.Option("--why", help="For the record.")],
    reason: ReasonOption = None, ids: IdOption = None, everything: AllOption = False, home: HomeOption = None,
    name: AsOption = None,
) -> None:  # fmt: skip
    """Throw rows away; they stay on record as discarded."""
    from monitor.acts import quarantine as acts
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    _require_chosen(reason, ids, everything)
    with open_desk(home) as desk, desk.transaction() as session:
        row = model_named(session, model)
        rows = acts.waiting(session, row, group=reason, ids=ids or ())
        count = acts.discard(
            session, row, rows, reason=why, by=person_or_owner(session, name), now=database_now(session)
        )  # fmt: skip
    print(f"{model}: {acts.discarded_sentence(count)}")


def _retake(
    model: str, reason: str | None, ids: list[int] | None, everything: bool, home: Path | None, name: str | None, *,
    rename: "Mapping[str, str] | None" = None, trust_time: bool = False,
) -> None:  # fmt: skip
    from monitor.acts import quarantine as acts
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    _require_chosen(reason, ids, everything)
    with open_desk(home) as desk, desk.transaction() as session:
        row = model_named(session, model)
        rows = acts.waiting(session, row, group=reason, ids=ids or ())
        found = acts.retake(
            session, row, rows, rename=rename, trust_time=trust_time, by=person_or_owner(session, name),
            now=database_now(session),
        )  # fmt: skip
    print(f"{model}: {plain(found.sentence)}")


def _require_chosen(reason: str | None, ids: list[int] | None, everything: bool) -> None:
    if sum((reason is not None, bool(ids), everything)) != 1:
        raise BadInput("expected one of --reason TEXT, --id NUMBER and --all: which rows are meant?")
