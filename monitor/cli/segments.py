"""`holdfast segment`: levels of a feature with a drift stream of their own."""

from typing import Annotated

import typer

from monitor.cli.deciding import ModelArgument, override_in_words, parse_override
from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say

app = typer.Typer(help="Levels of a feature with a drift stream of their own.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="FEATURE=LEVEL, such as channel=app.")]


@app.command()
def add(
    model: ModelArgument,
    segment: NameArgument,
    features: Annotated[
        list[str] | None,
        typer.Option("--feature", help="Within the segment: amount:tolerance=.1,weight=0. Repeat.", show_default=False),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Watch a segment by itself from the next window on; the false-alarm budget of the model is shared equally."""
    from monitor.acts.segments import declare_segment
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named
    from monitor.db.segments import drift_streams

    asked = {name: override for name, override in map(parse_override, features or ()) if override is not None}
    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        declared = declare_segment(session, row, segment, features=asked, by=COMMAND_LINE, now=database_now(session))
        streams = drift_streams(session, row)
    print(f"{model}: {declared.name} has a drift stream of its own; {streams} streams share the false-alarm budget")


@app.command("list")
def list_segments(model: ModelArgument, home: HomeOption = None) -> None:
    """The declared segments with their overrides."""
    from monitor.db.registry import model_named
    from monitor.db.segments import segment_monitor, segments_of

    with open_door(home) as door, door.transaction() as session:
        monitor = segment_monitor(session, model_named(session, model))
        declared = segments_of(monitor) if monitor is not None else {}
    if not declared:
        say(f"{model} has no segment: holdfast segment add {model} channel=app")
    for one in declared.values():
        since = f"since {one.begins:%Y-%m-%d %H:%M} UTC" if one.begins else "from its first window on"
        told = "; ".join(f"{name}: {override_in_words(override)}" for name, override in one.overrides.items())
        print(f"{one.name:<24} {since}  {told}".rstrip())


@app.command()
def remove(model: ModelArgument, segment: NameArgument, home: HomeOption = None) -> None:
    """End the stream of a segment; what was found stays."""
    from monitor.acts.segments import remove_segment
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        remove_segment(session, model_named(session, model), segment, by=COMMAND_LINE, now=database_now(session))
    print(f"{model}: {segment} is not watched by itself any more")
