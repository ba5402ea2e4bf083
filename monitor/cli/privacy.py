"""`holdfast privacy` and `holdfast erase`: how long rows are kept, what of them is stored, and somebody's deletion."""

from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.acting import AsOption, open_desk, person_or_owner
from monitor.cli.deciding import ModelArgument
from monitor.cli.platform import HomeOption

if TYPE_CHECKING:
    from monitor.db.registry import ModelSettings


def register(app: typer.Typer) -> None:
    for command in (privacy, erase):
        app.command()(command)


def privacy(
    model: ModelArgument,
    keep_days: Annotated[
        int | None, typer.Option("--keep-days", help="Keep rows so many days; 0: for ever.", show_default=False)
    ] = None,
    unstored: Annotated[
        str | None, typer.Option("--unstored", help="Features that are counted, not stored: a,b.", show_default=False)
    ] = None,
    hashed: Annotated[
        str | None, typer.Option("--hashed", help="Categories stored as keyed hashes: a,b.", show_default=False)
    ] = None,
    home: HomeOption = None,
    name: AsOption = None,
) -> None:
    """Say how long rows are kept and what of them is stored; without options, show it. An empty list takes it back.

    It holds for rows that come from now on.
    """
    from monitor.acts.privacy import configure_privacy
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        settings = configure_privacy(
            session, model_named(session, model), keep_days=keep_days, unstored=_names(unstored),
            hashed=_names(hashed), by=person_or_owner(session, name), now=database_now(session),
        )  # fmt: skip
    for sentence in _words(settings):
        print(f"{model}: {sentence}")


def erase(
    model: ModelArgument,
    entity: Annotated[str, typer.Argument(help="Whose rows: what they carry as `entity`.")],
    why: Annotated[str, typer.Option("--why", help="For the record.")],
    home: HomeOption = None,
    name: AsOption = None,
) -> None:
    """Delete the traces, labels and refused rows about somebody."""
    from monitor.acts.privacy import erase_entity
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_desk(home) as desk, desk.transaction() as session:
        erased = erase_entity(
            session, model_named(session, model), entity, reason=why, by=person_or_owner(session, name),
            now=database_now(session),
        )  # fmt: skip
    print(f"{model}: {erased.sentence}")


def _names(told: str | None) -> list[str] | None:
    return None if told is None else [name.strip() for name in told.split(",") if name.strip()]


def _words(settings: "ModelSettings") -> list[str]:
    return [
        f"rows are kept for {settings.keep_days} days" if settings.keep_days else "rows are kept for ever",
        f"counted and not stored: {', '.join(settings.unstored) or 'nothing'}",
        f"stored as keyed hashes: {', '.join(settings.hashed) or 'nothing'}",
    ]
