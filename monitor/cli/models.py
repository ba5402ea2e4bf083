"""Models and routes: `holdfast watch`, `holdfast model …`, `holdfast route …`, `holdfast drill`."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli import look
from monitor.cli.platform import HomeOption, database_url, say
from monitor.errors import BadInput
from monitor.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from monitor.jobs.context import Tools

app = typer.Typer(help="Registered models.", no_args_is_help=True)
routes = typer.Typer(help="Where messages go.", no_args_is_help=True)

MutableOption = Annotated[
    str | None,
    typer.Option(
        "--mutable", help="Features that an attacker or a fault may change: a,b,c. Stress tests move these.",
        show_default=False,
    ),
]  # fmt: skip
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--reference-until",
        help="Where the reference ends; default: 28 windows, or the first 30 % of a long log.",
        show_default=False,
    ),
]


def register(root: typer.Typer) -> None:
    for command in (watch, drill):
        root.command()(command)


@dataclass(frozen=True, kw_only=True)
class Door:
    """An open platform for one command."""

    settings: Settings
    tools: "Tools"

    @contextlib.contextmanager
    def transaction(self) -> Iterator["Session"]:
        from monitor.db.engine import transaction

        with transaction(self.tools.engine) as session:
            yield session


@contextlib.contextmanager
def open_door(home: Path | None) -> Iterator[Door]:
    """The platform's database and artefacts, by the settings; closed afterwards."""
    import structlog

    from monitor.cli.processes import make_tools

    # stdout is for results; the stream is looked up each time, since a test may replace it
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    settings = Settings.load(home=home)
    tools = make_tools(settings, database_url(settings), children=False)
    try:
        yield Door(settings=settings, tools=tools)
    finally:
        tools.engine.dispose()


def watch(
    files: Annotated[
        str | None, typer.Argument(help="A path or a quoted pattern: 'logs/*.parquet'.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option("--model", help="The model's name.")] = "",
    time: Annotated[
        str | None, typer.Option("--time", help="As in backtest; needed the first time only.", show_default=False)
    ] = None,
    target: look.TargetOption = None,
    prediction: look.PredictionOption = None,
    score: look.ScoreOption = None,
    drop: look.DropOption = None,
    identifier: look.IdOption = None,
    label_time: look.LabelTimeOption = None,
    task: look.TaskOption = None,
    window: look.WindowOption = "auto",
    reference_until: UntilOption = None,
    mutable: MutableOption = None,
    once: Annotated[bool, typer.Option("--once", help="Read what is there, check it, and end.")] = False,
    every: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks for new files.")] = 10.0,
    home: HomeOption = None,
) -> None:
    """Follow files as a model's production log. The flags are remembered: the next time only --model is needed."""
    from monitor.cli.watching import Flags, Watch
    from monitor.up import running_supervisor

    if not model:
        raise BadInput("expected the model's name: --model NAME")
    others = (target, prediction, score, drop, identifier, label_time, task)
    if time is None and any(other is not None for other in others):
        raise BadInput("expected --time together with the other columns: all of them are said once, the first time")
    columns = None
    if time is not None:
        columns = look.columns_from(time, target, prediction, score, identifier, label_time, drop, task)
    flags = Flags(
        pattern=files, columns=columns, window=window, reference_until=reference_until, mutable=look.names(mutable)
    )
    with open_door(home) as door:
        following = Watch.begin(door.tools, flags, model=model, say=say)
        if once:
            done = following.once()
            for sentence in done.sentences:
                print(sentence)
            if done.unread is not None:
                say(f"{done.unread}; it is tried again the next time")
                raise typer.Exit(1)
            return
        if door.settings.database_url is None and running_supervisor(door.settings) is None:
            say("holdfast up is not running: rows are taken in and wait for their checks until it is (or use --once)")
        following.run(every_seconds=every)


@app.command("list")
def list_models(home: HomeOption = None) -> None:
    """The models, their champion and how far up the ladder they stand."""
    from monitor.db.read_model import model_history
    from monitor.db.registry import models

    with open_door(home) as door, door.transaction() as session:
        histories = [model_history(session, model.name) for model in models(session)]
    if not histories:
        say("no model yet: holdfast watch 'logs/*.parquet' --model NAME --time COLUMN")
    for history in histories:
        champion = history.champion
        serving = f"{champion.name} ({champion.flavour})" if champion else "no version"
        rungs = " + ".join(rung.name.lower() for rung in history.rungs if rung.stands) or "registered"
        print(f"{history.name:<24} {history.task:<16} tier {history.tier}  {serving:<14} {rungs}")


@app.command()
def attach(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    file: Annotated[
        Path | None,
        typer.Argument(help="skops, ONNX or XGBoost file; with --convert also a pickle.", show_default=False),
    ] = None,
    convert: Annotated[
        bool, typer.Option("--convert", help="Yours? Load the pickle once in a limited child process and convert it.")
    ] = False,
    factory: Annotated[
        str | None,
        typer.Option("--factory", help="A torch factory that the settings allow: net:build.", show_default=False),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Its weights as safetensors.", show_default=False)
    ] = None,
    mutable: MutableOption = None,
    home: HomeOption = None,
) -> None:
    """Give a monitored model its artefact, so that it can be stress-tested."""
    from monitor.cli.actor import COMMAND_LINE
    from monitor.cli.attaching import Request, attach_artefact

    if (file is None) == (weights is None):
        raise BadInput("expected either a FILE, or --factory NAME with --weights FILE.safetensors")
    if (factory is None) != (weights is None):
        raise BadInput("expected --factory and --weights together")
    if convert and weights is not None:
        raise BadInput("expected --convert with a FILE: safetensors need no conversion")
    with open_door(home) as door:
        request = Request(
            path=file or weights or Path(),
            convert=convert,
            factory=factory,
            mutable=None if mutable is None else look.names(mutable),
        )
        for sentence in attach_artefact(door.tools, model, request, by=COMMAND_LINE):
            print(sentence)


@routes.command()
def add(
    name: Annotated[str, typer.Argument(help="A name of yours: slack, on-call.")],
    url: Annotated[str, typer.Argument(help="An apprise URL, console: or file:///path.")],
    model: Annotated[str | None, typer.Option("--model", help="For one model only.", show_default=False)] = None,
    least: Annotated[str, typer.Option("--least", help="The least severity: info, ticket or page.")] = "info",
    home: HomeOption = None,
) -> None:
    """Send messages somewhere. Test it with holdfast drill MODEL."""
    from monitor.acts.alerts import add_route
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named
    from monitor.notify.channels import check_url

    if (wrong := check_url(url)) is not None:
        raise BadInput(wrong)
    with open_door(home) as door, door.transaction() as session:
        chosen = model_named(session, model) if model else None
        add_route(
            session, name=name, url=url, model=chosen, least_severity=least, by=COMMAND_LINE, now=database_now(session)
        )
    say(f"route {name} added; try it: holdfast drill {model or 'MODEL'}")


@routes.command("list")
def list_routes(home: HomeOption = None) -> None:
    """The routes; secrets in their addresses are hidden."""
    from sqlalchemy import select

    from monitor.db.alerts import Route
    from monitor.notify.channels import mask

    with open_door(home) as door, door.transaction() as session:
        for route in session.scalars(select(Route).order_by(Route.name)):
            print(f"{route.name:<16} {route.least_severity:<8} {mask(route.url)}")


def drill(model: Annotated[str, typer.Argument(help="The model's name.")], home: HomeOption = None) -> None:
    """Plant a fault in a copy of the newest data; the message goes the whole way and arrives marked DRILL."""
    from monitor.cli.actor import COMMAND_LINE
    from monitor.jobs.drill import run_drill

    with open_door(home) as door:
        drilled = run_drill(door.tools, model, by=COMMAND_LINE)
    for sentence in drilled.sentences:
        print(sentence)
    if not drilled.delivered:
        raise typer.Exit(1)
