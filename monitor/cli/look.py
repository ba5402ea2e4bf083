"""Looking without a platform: `holdfast backtest` on a history, `holdfast compare` of two files."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.platform import HomeOption, say
from monitor.settings import Settings

if TYPE_CHECKING:
    from monitor.cli.backtest import Backtest
    from monitor.intake.columns import Columns

TimeOption = Annotated[str, typer.Option("--time", help="The time column; several are joined: year,month,day.")]
TargetOption = Annotated[str | None, typer.Option("--target", help="The truth.", show_default=False)]
PredictionOption = Annotated[
    str | None, typer.Option("--prediction", help="The model's class or value.", show_default=False)
]
ScoreOption = Annotated[
    str | None,
    typer.Option(
        "--score",
        help="The model's probability of the positive class; of several classes, of the predicted one.",
        show_default=False,
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="classification (two classes), multiclass or regression; default: what the target looks like.",
        show_default=False,
    ),
]
DropOption = Annotated[str | None, typer.Option("--drop", help="Columns to leave out: a,b,c.", show_default=False)]
IdOption = Annotated[str | None, typer.Option("--id", help="The row's id.", show_default=False)]
LabelTimeOption = Annotated[
    str | None, typer.Option("--label-time", help="When the truth became known.", show_default=False)
]
WindowOption = Annotated[str, typer.Option("--window", help="1h, 1d, 7d, 30d or auto.")]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--reference-until", help="Where the reference ends; default: the first 30 % of time.", show_default=False
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", help="For whatever is drawn at random.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    for command in (backtest, compare):
        app.command()(command)


def names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def columns_from(
    time: str,
    target: str | None,
    prediction: str | None,
    score: str | None,
    identifier: str | None,
    label_time: str | None,
    drop: str | None,
    task: str | None,
    labels_only: bool = False,
) -> "Columns":
    from monitor.intake.columns import Columns

    return Columns(
        time=names(time),
        target=target,
        prediction=prediction,
        score=score,
        id=identifier,
        label_time=label_time,
        drop=names(drop),
        task=task,
        labels_only=labels_only,
    )


def backtest(
    file: Annotated[Path, typer.Argument(help="CSV, gzip CSV, Parquet or JSON lines.")],
    time: TimeOption,
    target: TargetOption = None,
    prediction: PredictionOption = None,
    score: ScoreOption = None,
    drop: DropOption = None,
    identifier: IdOption = None,
    label_time: LabelTimeOption = None,
    task: TaskOption = None,
    window: WindowOption = "auto",
    reference_until: UntilOption = None,
    as_json: JsonOption = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="A folder for a page with pictures.", show_default=False)
    ] = None,
    seed: SeedOption = 0,
    home: HomeOption = None,
) -> None:
    """What would Holdfast have told me about my own history?"""
    import torch

    from monitor.cli.backtest import backtest as run
    from monitor.cli.history import read_history

    torch.set_num_threads(2)
    columns = columns_from(time, target, prediction, score, identifier, label_time, drop, task)
    history = read_history(file, columns, window=window, reference_until=reference_until)
    for sentence in history.sentences:
        say(sentence)
    result = run(history, Settings.load(home=home), seed=seed, say=_progress)
    print("", file=sys.stderr)
    if report is not None:
        from monitor.reports.backtest import write_page

        document = result.to_document()
        say(f"report: {write_page(report, document, title=file.name)}")
    if as_json:
        print(json.dumps(result.to_document()))
    else:
        _tell(result)


def _progress(sentence: str) -> None:
    """One line that is written over, on a terminal; nothing but the notable elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{sentence}", end="", file=sys.stderr, flush=True)
    elif "windows" not in sentence:
        say(sentence)


def _tell(result: "Backtest") -> None:
    metric = result.reference_metric
    if metric:
        print(f"Reference {metric['name']} {metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]")
    for window in result.windows:
        figure = window.metric
        shown = f"{figure['name']} {figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" if figure else ""
        words = window.verdict.replace("_", " ") if window.verdict else window.status
        print(f"  {window.start:%Y-%m-%d}  {window.rows:>7,} rows  {words:<24} {shown}")
    print()
    for odd in result.odd_features.values():
        print(odd["sentence"])
    for alert in result.alerts:
        print(f"{alert.severity.upper():<7}{alert.start:%-d %b %Y}  {alert.title}  ({', '.join(alert.culprits[:4])})")
    if result.messages:
        print("\nWhat people would have read, when a window closed:")
    for at, message in result.messages:
        print(f"  {at:%Y-%m-%d}  {message.event:<9}{message.severity:<7} {message.title}")
    span = result.windows[-1].end - result.windows[0].start if result.windows else None
    months = f" in {span.days / 30.4:.0f} months" if span else ""
    count = len(result.alerts)
    print(
        f'{count} alert{"s" * (count != 1)}{months}.  "p < .05 on any feature" would have sent {result.conventional}.'
    )


def compare(
    reference: Annotated[Path, typer.Option("--reference", help="The file that defines normal.")],
    current: Annotated[Path, typer.Option("--current", help="The file to hold against it.")],
    drop: DropOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two files without a time column. For a false-alarm rate, use backtest."""
    from monitor.drift import compare as compare_frames
    from monitor.intake.sources.files import read_file
    from monitor.schema import Schema

    old = read_file(reference).drop(columns=list(names(drop)), errors="ignore")
    new = read_file(current).drop(columns=list(names(drop)), errors="ignore")
    schema = Schema.infer(old)
    found = compare_frames(schema.summarised(old), schema.summarised(new), schema)
    if as_json:
        print(json.dumps(found.to_document()))
        return
    for feature in found.features:
        print(feature.sentence)
    print(found.caveat)
