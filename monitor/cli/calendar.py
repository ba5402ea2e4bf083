"""`holdfast calendar`: events that explain a window beforehand, such as holidays, campaigns and maintenance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput
from monitor.windows import parse_moment, span_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from monitor.db.registry import Model

app = typer.Typer(help="Expected events: their windows are shown, and not judged.", no_args_is_help=True)

ModelOption = Annotated[
    str | None, typer.Option("--model", help="For one model; default: for all.", show_default=False)
]


@app.command("list")
def list_events(model: ModelOption = None, home: HomeOption = None) -> None:
    """The events in order of time."""
    from monitor.db.calendar import calendar_of, whole_calendar
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        if model:
            row = model_named(session, model)
            found = [(event, model if event.model_id else None) for event in calendar_of(session, row)]
        else:
            found = whole_calendar(session)
    if not found:
        say("no event is expected: holdfast calendar add 'Black Friday' 2026-11-27, or import FILE.ics")
    for event, about in found:
        every = "every year  " if event.yearly else ""
        span = f"{event.starts:%Y-%m-%d %H:%M} to {event.ends:%Y-%m-%d %H:%M} UTC"
        print(f"#{event.id:<5} {span}  {about or 'all models':<16} {every}{event.name}  (by {event.author})")


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is: 'Black Friday'.")],
    start: Annotated[str, typer.Argument(help="First day, or a moment (UTC unless it says its zone).")],
    end: Annotated[str | None, typer.Argument(help="Last day, or the moment of its end.", show_default=False)] = None,
    yearly: Annotated[bool, typer.Option("--yearly", help="On the same dates of every year.")] = False,
    model: ModelOption = None,
    home: HomeOption = None,
) -> None:
    """Expect an event. Windows that were judged before stay as they are."""
    from monitor.acts.calendar import add_event, windows_judged
    from monitor.alerts.calendar import ExpectedEvent
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now

    span = span_of(parse_moment(start), parse_moment(end) if end else None)
    event = ExpectedEvent(name=name, span=span, yearly=yearly)
    with open_door(home) as door, door.transaction() as session:
        about = _model(session, model)
        row = add_event(session, event, model=about, by=COMMAND_LINE, now=database_now(session))
        judged = windows_judged(session, event, model=about)
        print(
            f"#{row.id} {row.name}: {row.starts:%Y-%m-%d %H:%M} to {row.ends:%Y-%m-%d %H:%M} UTC"
            f"{', every year' if yearly else ''}, of {model or 'all models'}"
        )
    if judged:
        say(f"windows of that time that were judged before stay as they are: {judged}")


@app.command()
def remove(
    number: Annotated[int, typer.Argument(help="The event's number in holdfast calendar list.")],
    home: HomeOption = None,
) -> None:
    """Expect an event no more. Windows that were left unjudged for it stay so."""
    from monitor.acts.calendar import remove_event
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now

    with open_door(home) as door, door.transaction() as session:
        gone = remove_event(session, number, by=COMMAND_LINE, now=database_now(session))
    print(f"{gone.name} from {gone.starts:%Y-%m-%d} is not expected any more")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="An .ics calendar, or .csv with the columns name,start,end,yearly.")],
    model: ModelOption = None,
    home: HomeOption = None,
) -> None:
    """Expect the events of a file; those that are known stay as they are, so it can be imported again."""
    from monitor.acts.calendar import import_events
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.intake.calendar_files import read_calendar

    found = read_calendar(file)
    for sentence in found.left_out:
        say(f"left out: {sentence}")
    if not found.events:
        raise BadInput(f"expected at least one event of {file.name} that can be used, got none")
    with open_door(home) as door, door.transaction() as session:
        added = import_events(
            session, found.events, model=_model(session, model), source=file.name, by=COMMAND_LINE,
            now=database_now(session),
        )  # fmt: skip
    print(f"{added.new} events are new, {added.known} were known, {len(found.left_out)} were left out")


def _model(session: "Session", name: str | None) -> "Model | None":
    from monitor.db.registry import model_named

    return model_named(session, name) if name else None
