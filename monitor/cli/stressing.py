"""`holdfast stress`: attack a model now, on its newest labelled rows, and say what it takes to break it."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.models import Door, open_door
from monitor.cli.platform import HomeOption, say
from monitor.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.acts.stress import Order
    from monitor.jobs.campaigns import Facts
    from monitor.jobs.stress_rows import StressRows

_PLANS, _ON = ("tick", "nightly"), ("recent", "reference")


def register(app: typer.Typer) -> None:
    app.command()(stress)


def stress(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    plan: Annotated[str, typer.Option("--plan", help="tick (a second) or nightly (minutes: everything).")] = "tick",
    on: Annotated[
        str | None,
        typer.Option(
            "--on", help="recent or reference rows; default: recent, or the reference without labels enough.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="Default: the champion.", show_default=False)] = None,
    level: Annotated[
        str | None, typer.Option("--level", help="This level alone: S1 (gentle) to S5.", show_default=False)
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", help="At most so many rows; default: the plan's.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="A folder for a page with pictures.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    home: HomeOption = None,
) -> None:  # fmt: skip
    """Attack a model now, without waiting for its schedule; what is found is stored and shown on the dashboard."""
    _check(plan, on, rows)
    if report is not None:
        _require_folder(report)
    with open_door(home) as door:
        document = _run(door, model, version, plan, on, level, rows)
    if report is not None:
        from monitor.reports.stress import write_page

        say(f"report: {write_page(report, document)}")
    if as_json:
        print(json.dumps(document))
    else:
        from monitor.cli.stressed import print_campaign  # brings torch along, which no other command should wait for

        print_campaign(document)


def _check(plan: str, on: str | None, rows: int | None) -> None:
    from monitor.jobs.stress_rows import LEAST_ROWS

    if plan not in _PLANS:
        raise BadInput(f"expected a plan among {', '.join(_PLANS)}, got {plan!r}")
    if on is not None and on not in _ON:
        raise BadInput(f"expected --on {' or '.join(_ON)}, got {on!r}")
    if rows is not None and rows < LEAST_ROWS:
        raise BadInput(f"expected at least {LEAST_ROWS} rows, got {rows}: fewer say nothing")


def _require_folder(folder: Path) -> None:
    """Before minutes of work: whether the page can be written afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"expected a folder that can be written for --report, got {folder}: {error.strerror}") from error


def _run(
    door: Door, name: str, version: str | None, plan: str, on: str | None, level: str | None, most: int | None
) -> dict[str, Any]:
    """The stored campaign as one document; when it is interrupted nothing is stored."""
    from monitor.jobs import campaigns
    from monitor.jobs.child import run_in_child
    from monitor.jobs.stress_child import WORK, plan_of, read_found

    plan_of(plan, [level] if level else None)
    order = _order(door, name, version, plan, on)
    with tempfile.TemporaryDirectory(prefix="holdfast-stress-") as place:
        folder = Path(place)
        with door.transaction() as session:
            facts, rows = campaigns.read_rows(session, door.tools, order, most=most)
            campaigns.write_campaign(session, door.tools, facts, rows, folder, level=level)
        _announce(facts, rows)
        with _progress(f"stressing {name}") as tell:
            run_in_child(WORK, folder, tools=door.tools, on_progress=tell)
        found = read_found(folder)
    return _store(door, facts, found)


def _order(door: Door, name: str, version: str | None, plan: str, on: str | None) -> "Order":
    from monitor.acts.stress import Order, require_artefact
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.registry import champion, model_named, version_named
    from monitor.governance import Action, authorize

    with door.transaction() as session:
        model = model_named(session, name)
        authorize(COMMAND_LINE, Action.STRESS)
        chosen = version_named(session, model, version) if version else champion(session, model)
        require_artefact(session, model, chosen)
        return Order(version_id=chosen.id, plan=plan, on=on)


def _announce(facts: "Facts", rows: "StressRows") -> None:
    origin = facts.origin
    if origin.note:
        say(origin.note)
    span = f"{origin.window.start:%-d %b %Y} to {origin.window.end:%-d %b %Y}"
    say(f"{facts.subject.model.name} {facts.subject.version.name}: {len(rows.y):,} {origin.on} rows of {span}")


def _store(door: Door, facts: "Facts", found: Any) -> dict[str, Any]:
    from monitor.acts.stress import record_stress_test
    from monitor.cli.actor import COMMAND_LINE
    from monitor.db.engine import database_now
    from monitor.jobs.campaigns import store_campaign

    model, version = facts.subject.model, facts.subject.version
    with door.transaction() as session:
        campaign = store_campaign(session, door.tools, facts, found)
        now = database_now(session)
        record_stress_test(session, model, version, plan=facts.order.plan, by=COMMAND_LINE, now=now)
        kept = {key: value for key, value in campaign.report.items() if key != "lost"}
        return {
            "model": model.name,
            "version": version.name,
            "campaign": campaign.id,
            "starts": campaign.starts.isoformat(),
            "ends": campaign.ends.isoformat(),
            **kept,
        }


@contextmanager
def _progress(what: str) -> "Iterator[Callable[[Mapping[str, Any]], None]]":
    """A bar on stderr, on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=100)

        def tell(progress: "Mapping[str, Any]") -> None:
            described = f"{what}: {progress['sentence']}"
            bar.update(task, completed=progress["done"], total=progress["total"], description=described)

        yield tell
