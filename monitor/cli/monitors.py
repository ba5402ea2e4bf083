"""`holdfast monitor`: Evidently's metrics on each window of a model."""

import contextlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from monitor.cli.models import open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

if TYPE_CHECKING:
    from monitor.db.read_evidently import EvidentlyResults, EvidentlyRow
    from monitor.db.registry import Monitor

app = typer.Typer(help="Evidently's metrics on each window of a model.", no_args_is_help=True)

ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]
_LIMIT_WORD = {"eq": "expected", "not_eq": "expected", "is_in": "values", "not_in": "values"}


@app.command("list")
def list_monitors(model: ModelArgument, home: HomeOption = None) -> None:
    """The monitors, what they measure, and what they said of their newest window."""
    from monitor.acts.monitors import monitors_of
    from monitor.db.read_evidently import evidently_results
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        monitors = monitors_of(session, model_named(session, model))
        results = evidently_results(session, model)
    if not monitors:
        say(f"no Evidently monitor yet: holdfast monitor add {model} --metric ValueDrift column=NAME")
    for monitor in monitors:
        _tell(monitor, results)


@app.command()
def add(
    model: ModelArgument,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="The metric's arguments: column=amount method=psi.", show_default=False)
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", help="One of Evidently's metrics or presets; several: 'NAME key=value …' each in quotes.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="The same as YAML, instead of --metric.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The monitor's name; default: of its metric.", show_default=False)
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Check one window in so many.")] = 1,
    report_every: Annotated[
        int | None,
        typer.Option("--report-every", min=1, help="Make a report every so many windows.", show_default=False),
    ] = None,
    alert: Annotated[bool, typer.Option("--alert", help="Raise a ticket when a test fails; else it is shown.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="Seconds that one window may take.")] = 120,
    since: Annotated[
        str | None,
        typer.Option("--since", help="Begin with this window; default: the newest checked.", show_default=False),
    ] = None,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Let metrics of Evidently be computed on each window; unknown names are refused."""
    from monitor.acts.monitors import add_monitor, check_settings
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named
    from monitor.reports.config import read_config

    if file is not None and (metric or arguments):
        raise BadInput("expected either --file FILE or --metric NAME, not both")
    if file is not None:
        document = _read(file)
    else:
        document = {"metrics": _specs(metric or [], arguments or []), "every_windows": every, "alert": alert,
                    "report_every_windows": report_every, "limit_seconds": limit, "since": since}  # fmt: skip
    chosen = name or document.pop("name", None) or _name_of(document)
    document.pop("name", None)
    with open_door(home) as door, door.transaction() as session:
        registered = model_named(session, model)
        config = check_settings(session, registered, read_config(document), by=COMMAND_LINE)
        monitor = add_monitor(
            session, registered, name=chosen, config=config, by=COMMAND_LINE, now=database_now(session)
        )
        for line in _settings(monitor):
            print(line)
    say(f"it is checked with the next windows; see holdfast monitor list {model} or the Drift page")


@app.command()
def remove(
    model: ModelArgument,
    name: Annotated[str, typer.Argument(help="The monitor's name.")],
    home: HomeOption = None,
) -> None:
    """End a monitor; what it found stays for the record."""
    from monitor.acts.monitors import remove_monitor
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.db.registry import model_named

    with open_door(home) as door, door.transaction() as session:
        registered = model_named(session, model)
        remove_monitor(session, registered, name=name, by=COMMAND_LINE, now=database_now(session))
    say(f"monitor {name} of {model} is removed")


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"expected a YAML file, got {file}: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise BadInput(f"expected {file} to hold `metrics:` and what else the monitor is told")
    return document


def _specs(metrics: Sequence[str], arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The metrics that were typed: one with its arguments after it, or several, each in quotes."""
    if len(metrics) > 1 and arguments:
        raise BadInput("with several --metric put each in quotes with its arguments: --metric 'RowCount tests=gte:500'")
    typed = [shlex.split(text) for text in metrics]
    if arguments and not typed:
        raise BadInput(f"expected --metric NAME before {arguments[0]!r}")
    return [
        {"name": words[0], "arguments": dict(_pair(word) for word in [*words[1:], *arguments])}
        for words in typed
        if words
    ]


def _pair(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise BadInput(f"expected key=value, got {word!r}")
    if key.endswith("tests") and not text.lstrip().startswith("["):
        return key, [_test(one) for one in text.split(",")]
    return key, _value(key, text)


def _value(key: str, text: str) -> Any:
    """A number, a word, true or false, or a [list] of them."""
    with contextlib.suppress(ValueError):
        return int(text) if text.strip().lstrip("-").isdecimal() else float(text)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"expected a plain value or [a, b] after {key}=, got {text!r}") from error


def _test(text: str) -> dict[str, Any]:
    """`gte:0` as a test with its limit; `eq:10%` means within a tenth of the reference's value."""
    name, colon, limit = text.partition(":")
    if not colon:
        raise BadInput(f"expected a test such as gte:0, got {text!r}")
    share = re.fullmatch(r"([0-9.]+)%", limit.strip())
    value = {"relative": float(share[1]) / 100} if share else _value(name, limit)
    return {"name": name.strip(), "arguments": {_LIMIT_WORD.get(name.strip(), "threshold"): value}}


def _name_of(document: dict[str, Any]) -> str:
    """A name from the first metric and its column."""
    metrics = document.get("metrics") or [{"name": "report"}]
    first = metrics[0] if isinstance(metrics, list) and isinstance(metrics[0], dict) else {}
    words = f"{first.get('name', 'evidently')}-{(first.get('arguments') or {}).get('column', '')}"
    return re.sub(r"[^a-z0-9_.]+", "-", words.lower()).strip("-.")[:63]


def _settings(monitor: "Monitor") -> list[str]:
    settings = monitor.settings
    often = "every window" if settings["every_windows"] == 1 else f"one window in {settings['every_windows']}"
    report = settings.get("report_every_windows")
    told = [often, *([f"a report every {report} windows"] if report else []), "may raise a ticket"]
    lines = [f"{monitor.name}: {', '.join(told if settings['alert'] else [*told[:-1], 'shown only'])}"]
    for spec in settings["metrics"]:
        arguments = sorted(spec["arguments"].items(), key=lambda pair: ("column" not in pair[0], pair[0]))
        words = " ".join(f"{key}={_typed(key, value)}" for key, value in arguments)
        lines.append(f"  {spec['name']} {words}".rstrip())
    return lines


def _typed(key: str, value: Any) -> str:
    """As a person would type it."""
    if key.endswith("tests"):
        return ",".join(f"{one['name']}:{_limit(one.get('arguments', {}))}" for one in value)
    if isinstance(value, str):
        return value
    return str(yaml.safe_dump(value, default_flow_style=True)).strip().removesuffix("\n...")


def _limit(arguments: dict[str, Any]) -> str:
    value = next((arguments[word] for word in ("threshold", "expected", "values") if word in arguments), "")
    relative = value.get("relative") if isinstance(value, dict) else None
    return str(value) if relative is None else f"{100 * relative:g}%"


def _tell(monitor: "Monitor", results: "EvidentlyResults") -> None:
    for line in _settings(monitor):
        print(line)
    newest = next(line for line in results.monitors if line.name == monitor.name)
    window = f"{newest.starts:%Y-%m-%d %H:%M}: " if newest.starts else ""
    print(f"  {window}{newest.sentence or newest.status}")
    for row in results.rows:
        if row.monitor == monitor.name:
            print(f"    {_row(row)}")


def _row(row: "EvidentlyRow") -> str:
    value = "" if row.value is None else f"{row.value:.4g}"
    limit = "" if row.threshold is None else f"{row.threshold:g}"
    state = "FIRED" if row.fired else row.status
    return f"{state:<12} {row.metric:<34} {row.subject:<20} {value:>10} {limit:>8}  {row.sentence}"
