"""`holdfast schema`: what a model's features are: guessed from a file, compared with one, and declared anew."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import look
from monitor.cli.acting import AsOption, person_or_owner
from monitor.cli.deciding import ModelArgument
from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy.orm import Session

    from monitor.db.registry import Model

app = typer.Typer(help="What a model's features are.", no_args_is_help=True)

_ROWS = 5_000  # of a model's newest traces, to tell a renamed feature by its values


@app.command()
def infer(
    file: Annotated[Path, typer.Argument(help="CSV, Parquet or JSON lines, with rows that are known to be good.")],
    drop: look.DropOption = None,
) -> None:
    """Print the schema that a file suggests, as YAML to be edited; what is guessed is marked to confirm."""
    from monitor.acts.schema_files import write_schema
    from monitor.cli.schema_guess import guess
    from monitor.intake.sources.files import read_file

    found = guess(read_file(file), drop=look.names(drop))
    for name, why in found.left_out.items():
        print(f"# left out: {name} ({why})")
    print(write_schema(found.schema, notes=found.notes), end="")


@app.command()
def show(model: ModelArgument, home: HomeOption = None) -> None:
    """Print a model's schema as YAML, to be edited and applied."""
    from monitor.acts.schema_files import write_schema
    from monitor.db.registry import feature_schema, model_named, schema_of

    with open_door(home) as door, door.transaction() as session:
        row = feature_schema(session, model_named(session, model))
    print(f"# {model}, version {row.number} of its schema")
    print(write_schema(schema_of(row)), end="")


@app.command()
def diff(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(help="Rows as they come now: CSV, Parquet or JSON lines.")],
    drop: look.DropOption = None,
    home: HomeOption = None,
) -> None:
    """Say what a file has more, less or otherwise than the model's schema, and which feature was probably renamed."""
    from monitor.cli.schema_diff import difference
    from monitor.cli.schema_guess import guess
    from monitor.db.registry import feature_schema, model_named, schema_of
    from monitor.intake.sources.files import read_file

    frame = read_file(file)
    with open_door(home) as door, door.transaction() as session:
        row = model_named(session, model)
        before, known = schema_of(feature_schema(session, row)), _newest_rows(session, row)
        roles = [name for name in _roles(session, row) if name not in before.names]
    found = guess(frame, drop=[*look.names(drop), *roles])
    between = difference(before, found.schema, known, found.schema.summarised(frame))
    for one in between.renames:
        print(f"renamed?  {one.old} → {one.new}: {one.why}")
    for name in between.retyped:
        print(f"retyped   {name}: {before.kind_of(name)} → {found.schema.kind_of(name)}")
    for name in between.added:
        print(f"added     {name}: {found.schema.kind_of(name)}")
    for name in between.removed:
        print(f"removed   {name}: {before.kind_of(name)}")
    if not (between.added or between.removed or between.retyped):
        print(f"{file.name} has the features of {model}, {len(before.fields)} of them")
        return
    say(f"to declare it: holdfast schema show {model} > schema.yaml, edit, holdfast schema apply {model} schema.yaml")


@app.command()
def apply(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(help="YAML as `schema show` prints it; renamed_from says an old name.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    who: AsOption = None,
    home: HomeOption = None,
) -> None:
    """Make a declared schema the model's; what follows for references and monitors is said before it is asked."""
    from monitor.acts.schema_files import read_schema
    from monitor.acts.schemas import evolution_of, evolve_schema
    from monitor.db.engine import database_now
    from monitor.db.registry import feature_schema, model_named

    if not file.is_file():
        raise BadInput(f"expected a YAML file, there is none at {file}")
    declared = read_schema(file.read_text(encoding="utf-8"))
    with open_door(home) as door:
        with door.transaction() as session:
            planned = evolution_of(session, model_named(session, model), declared)
        for sentence in planned.sentences or ("no feature comes, goes or changes its name or type",):
            print(sentence)
        if dry_run:
            say("nothing was changed; without --dry-run it is")
            return
        if not yes and not (sys.stdin.isatty() and typer.confirm("Apply this?")):
            raise BadInput("expected --yes, or an answer on a terminal: nothing was changed")
        with door.transaction() as session:
            row = model_named(session, model)
            evolve_schema(session, row, declared, by=person_or_owner(session, who), now=database_now(session))
            number = feature_schema(session, row).number
    print(f"{model}: version {number} of its schema holds from now on")


def _newest_rows(session: "Session", model: "Model") -> "pd.DataFrame":
    import pandas as pd

    from monitor.db.registry import ModelSettings
    from monitor.db.traces import read_traces
    from monitor.windows import Window

    if model.watermark is None:
        return pd.DataFrame()
    span = Window(model.watermark - 28 * ModelSettings.of(model).width, model.watermark)
    return read_traces(session, model, span, limit=_ROWS)


def _roles(session: "Session", model: "Model") -> list[str]:
    """The columns that the model's sources name: they are no features."""
    from monitor.db.registry import sources_of
    from monitor.intake.columns import Columns

    declared = [Columns.of(source.mapping) for source in sources_of(session, model)]
    return [name for columns in declared for name in (*columns.named(), *columns.drop)]
