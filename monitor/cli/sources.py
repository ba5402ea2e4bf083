"""`holdfast source`: where a model's traces and labels come from, read by schedule."""

from dataclasses import replace
from typing import Annotated

import typer

from monitor.cli import look
from monitor.cli.acting import AsOption, person_or_owner, plain
from monitor.cli.deciding import ModelArgument
from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

app = typer.Typer(help="Files and tables that a model's traces and labels are read from.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The source's name: warehouse, logs.")]
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@app.command()
def add(
    model: ModelArgument,
    name: NameArgument,
    location: Annotated[
        str,
        typer.Argument(
            help="A path, a quoted pattern, s3://bucket/*.parquet, or postgresql://user:${PASSWORD}@host/db."
        ),
    ],
    time: look.TimeOption,
    target: look.TargetOption = None,
    prediction: look.PredictionOption = None,
    score: look.ScoreOption = None,
    identifier: look.IdOption = None,
    label_time: look.LabelTimeOption = None,
    drop: look.DropOption = None,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="The rows are labels of traces that come another way.")
    ] = False,
    table: Annotated[
        str | None, typer.Option("--table", help="Of a database: schema.table.", show_default=False)
    ] = None,
    query: Annotated[str | None, typer.Option("--query", help="Or what to select.", show_default=False)] = None,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="The column along which it grows.", show_default=False)
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="files or sql; told by the other options.", show_default=False)
    ] = None,
    dates: Annotated[
        str | None,
        typer.Option("--dates", help="03/04/2026 is day-first or month-first.", show_default=False),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="What the kind wants to know: KEY=VALUE.", show_default=False)
    ] = None,
    every: Annotated[
        str | None,
        typer.Option("--every", help="Read it every 30s, 5m, 1h; else when asked.", show_default=False),
    ] = None,
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Declare a source; its first rows are looked at, so that what does not fit is said now."""
    from monitor.acts.sources import add_source
    from monitor.db.engine import database_now
    from monitor.db.registry import feature_schema, model_named, schema_of
    from monitor.intake.sources.registry import open_source, source_class
    from monitor.intake.trying import first_rows

    columns = look.columns_from(
        time, target, prediction, score, identifier, label_time, drop, None, labels_only
    )  # fmt: skip
    columns = replace(columns, day_first=_day_first(dates))
    chosen = kind or ("sql" if table or query or cursor else "files")
    settings = {"table": table, "query": query, "cursor": cursor} | dict(_setting(text) for text in setting or ())
    given = {key: value for key, value in settings.items() if value is not None}
    place, every_seconds = source_class(chosen).remembered(location), None if every is None else _seconds(every)
    with open_door(home) as door:
        origin = open_source(chosen, place, settings=given, columns=columns, secret=door.tools.secret)
        with door.transaction() as session:
            schema = schema_of(feature_schema(session, model_named(session, model)))
        for sentence in first_rows(origin, columns, schema):
            say(sentence)
        with door.transaction() as session:
            row = model_named(session, model)
            add_source(
                session, row, name=name, kind=chosen, location=place, columns=columns, settings=given,
                every_seconds=every_seconds, by=person_or_owner(session, who), now=database_now(session),
            )  # fmt: skip
    pace = f"read every {every}" if every_seconds else f"read by holdfast source pull {model} {name}"
    print(f"{model}: {name} added; it is {pace}")


@app.command("list")
def list_sources(
    model: Annotated[str | None, typer.Argument(help="The model's name; without it all.", show_default=False)] = None,
    home: HomeOption = None,
) -> None:
    """The sources, when each was read last, and what could not be read."""
    from monitor.db.read_sources import source_lines
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        chosen = model_named(session, model).name if model else None
        found = [line for line in source_lines(session) if chosen in (None, line.model)]
    if not found:
        say("no source yet: holdfast source add MODEL NAME LOCATION --time COLUMN")
    for line in found:
        read = f"read {line.pulled_at:%-d %b %H:%M} UTC" if line.pulled_at else "not read yet"
        print(f"{line.model:<16} {line.name:<12} {line.state:<8} {line.pace:<12} {read:<22} {line.location}")
        if line.last_error:
            print(f"  not read as a whole, {line.failures} in a row: {plain(line.last_error)}")


@app.command()
def pull(model: ModelArgument, name: NameArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """Read what is new in a source now, in this process."""
    from monitor.acts.sources import order_pull
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named, source_of
    from monitor.intake.pulling import Pull, settle

    with open_door(home) as door:
        with door.transaction() as session:
            row = model_named(session, model)
            source = source_of(session, row, name)
            order_pull(session, row, source, by=person_or_owner(session, who), now=database_now(session))
        pulled = Pull(transaction=door.transaction, source_id=source.id, secret=door.tools.secret, say=say).run()
        with door.transaction() as session:
            settle(session, source.id, pulled, database_now(session))
    print(
        f"{model}: {name} gave {pulled.accepted:,} new rows, {pulled.duplicate:,} known, "
        f"{pulled.quarantined:,} quarantined, {pulled.labels:,} labels"
    )
    if pulled.sentence is not None:
        raise BadInput(pulled.sentence)


@app.command()
def pause(model: ModelArgument, name: NameArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """Read a source by schedule no more, until it is resumed."""
    from monitor.acts.sources import pause_source
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named, source_of

    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        by = person_or_owner(session, who)
        pause_source(session, row, source_of(session, row, name), by=by, now=database_now(session))
    print(f"{model}: {name} is paused; its place is kept")


@app.command()
def resume(model: ModelArgument, name: NameArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """Read a paused source again, from where it was."""
    from monitor.acts.sources import resume_source
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named, source_of

    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        by = person_or_owner(session, who)
        resume_source(session, row, source_of(session, row, name), by=by, now=database_now(session))
    print(f"{model}: {name} is read again")


@app.command()
def remove(model: ModelArgument, name: NameArgument, who: AsOption = None, home: HomeOption = None) -> None:
    """Forget a source and its place; the rows that came from it stay."""
    from monitor.acts.sources import remove_source
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named, source_of

    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        by = person_or_owner(session, who)
        remove_source(session, row, source_of(session, row, name), by=by, now=database_now(session))
    print(f"{model}: {name} is removed; its rows stay")


def _day_first(dates: str | None) -> bool | None:
    if dates not in (None, "day-first", "month-first"):
        raise BadInput(f"expected --dates day-first or month-first, got {dates!r}")
    return None if dates is None else dates == "day-first"


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadInput(f"expected --set KEY=VALUE, got {text!r}")
    return key, value


def _seconds(text: str) -> int:
    """
    >>> _seconds("5m")
    300
    """
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdigit() or int(number) == 0:
        raise BadInput(f"expected --every such as 30s, 5m, 1h or 1d, got {text!r}")
    return int(number) * _UNITS[unit]
