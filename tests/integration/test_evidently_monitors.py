"""Monitors of kind `evidently`: added by those who may, checked window by window, shown, and silent unless told."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from monitor.acts.monitors import add_monitor, check_settings, monitors_of, remove_monitor
from monitor.db.alerts import Alert
from monitor.db.audit import AuditEntry
from monitor.db.checks import Finding
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.read_evidently import evidently_results
from monitor.db.registry import Monitor, model_named
from monitor.errors import BadInput, NotAllowed, NotFound
from monitor.governance import Actor, Role
from monitor.jobs import check_evidently
from monitor.jobs.failpoints import Failpoints
from monitor.jobs.plan import plan
from monitor.jobs.worker import Worker, drain
from monitor.reports.config import read_config
from monitor.reports.series import Result
from tests.streams import (
    OWNER,
    REFERENCE_DAYS,
    World,
    drain_checks,
    register,
    rows_of,
    runs_of,
    serve_days,
    tools_for,
    window,
)

pytestmark = pytest.mark.slow  # Evidently's child processes take seconds each

VIEWER = Actor(id="vic", name="Vic", roles=frozenset({Role.VIEWER}))
DRIFT = {"name": "ValueDrift", "arguments": {"column": "amount", "method": "psi", "threshold": 0.2}}
KINDS = ("check_quality", "check_drift", "check_evidently")
FIRST = REFERENCE_DAYS


def watched(engine: Engine, folder: Path, days: int, *, world: World | None = None) -> None:
    register(engine, world or World())
    serve_days(engine, world or World(), FIRST, FIRST + days)
    drain_checks(tools_for(engine, folder))


def added(engine: Engine, *, name: str = "psi", since: int | None = None, by: Actor = OWNER, **said: Any) -> None:
    document = {"metrics": [DRIFT], **said}
    if since is not None:
        document["since"] = window(since).start.isoformat()
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        add_monitor(session, model, name=name, config=read_config(document), by=by, now=database_now(session))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Evidently's place taken by a mean: how many rows each call was shown."""
    calls: list[int] = []

    def stand_in(config: Any, data: Any, **_: Any) -> tuple[Result, ...]:
        calls.append(len(data.current))
        mean = float(data.current["amount"].mean())
        psi = Result(metric="ValueDrift(method=psi)", subject="amount", statistic=mean, fired=mean > 80, threshold=80.0)
        return (psi, Result(metric="RowCount", subject=None, statistic=float(len(data.current))))

    monkeypatch.setattr(check_evidently, "measure", stand_in)
    return calls


@pytest.mark.slow
def test_each_due_window_is_measured_by_evidently_and_what_it_says_are_findings(engine: Engine, tmp_path: Path):
    world = World(shift=(FIRST + 1, 1.5))
    watched(engine, tmp_path, 2, world=world)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        named = [{"name": "ValueDrift", "arguments": {"column": name}} for name in ("amount", "channel")]
        config = check_settings(session, model, read_config({"metrics": named}), by=OWNER)
        config = config.model_copy(update={"since": window(FIRST).start})
        add_monitor(session, model, name="drift-by-evidently", config=config, by=OWNER, now=database_now(session))
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    runs = runs_of(engine, "evidently")
    assert [(run.starts, run.status, run.rows) for run in runs] == [
        (window(FIRST).start, "ok", 200), (window(FIRST + 1).start, "ok", 200),
    ]  # fmt: skip
    assert runs[1].sentence == "1 of 2 fired: ValueDrift(method=wasserstein) of amount"
    with transaction(engine) as session:
        shown = evidently_results(session, "fraud").rows
    assert [(row.subject, row.fired, row.threshold) for row in shown] == [
        ("amount", True, 0.1),
        ("channel", False, 0.1),
    ]
    assert rows_of(engine, Alert) == [] or {alert.kind for alert in rows_of(engine, Alert)} == {"drift"}


@pytest.mark.usefixtures("measured")
def test_a_worker_that_dies_between_windows_doubles_none_and_leaves_none_out(engine: Engine, tmp_path: Path):
    watched(engine, tmp_path, 4)
    added(engine, since=FIRST)
    with transaction(engine) as session:
        plan(session)
    armed = Failpoints("evidently.after_commit:raise@2,evidently.before_commit:raise@4", tmp_path / "markers")
    for _ in range(4):
        Worker(tools_for(engine, tmp_path, failpoints=armed), "w", kinds=["check_evidently"]).run_once()
        with transaction(engine) as session:
            for job in session.scalars(select(Job).where(Job.kind == "check_evidently")):
                job.run_at = job.created_at
    assert [run.starts for run in runs_of(engine, "evidently")] == [window(FIRST + n).start for n in range(4)]
    findings = [one for one in rows_of(engine, Finding) if one.metric == "RowCount"]
    assert len(findings) == 4
    with transaction(engine) as session:
        assert session.scalars(select(Job.state).where(Job.kind == "check_evidently")).all() == ["done"]


def test_a_monitor_begins_with_the_newest_window_that_was_checked(
    engine: Engine, tmp_path: Path, measured: list[int]
):  # fmt: skip
    watched(engine, tmp_path, 3)
    added(engine)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    serve_days(engine, World(), FIRST + 3, FIRST + 4)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert [run.starts for run in runs_of(engine, "evidently")] == [window(FIRST + n).start for n in (2, 3)]
    assert measured == [200, 200]


@pytest.mark.usefixtures("measured")
def test_every_so_many_windows_means_so_many_windows_apart(engine: Engine, tmp_path: Path):
    watched(engine, tmp_path, 5)
    added(engine, since=FIRST, every_windows=2)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert [(run.starts - window(FIRST).start).days for run in runs_of(engine, "evidently")] == [0, 2, 4]


@pytest.mark.usefixtures("measured")
def test_a_report_is_ordered_by_the_cadence_that_the_monitor_declares(engine: Engine, tmp_path: Path):
    watched(engine, tmp_path, 5)
    added(engine, since=FIRST, report_every_windows=3)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    with transaction(engine) as session:
        ordered = session.scalars(select(Job.payload["starts"].as_string()).where(Job.kind == "report")).all()
    assert sorted(ordered) == [window(FIRST + n).start.isoformat() for n in (0, 3)]


@pytest.mark.usefixtures("measured")
def test_a_fired_metric_is_shown_and_tells_nobody_unless_the_monitor_says_so(engine: Engine, tmp_path: Path):
    world = World(shift=(FIRST + 1, 1.5))
    watched(engine, tmp_path, 3, world=world)
    before = len(rows_of(engine, Alert))
    added(engine, name="quiet", since=FIRST)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert len(rows_of(engine, Alert)) == before
    added(engine, name="loud", since=FIRST, alert=True)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    (alert,) = (one for one in rows_of(engine, Alert) if one.kind == "evidently")
    assert (alert.severity, alert.cause, alert.culprits) == ("ticket", "evidently:loud", ["amount"])
    assert (alert.starts, alert.ends) == (window(FIRST + 1).start, window(FIRST + 2).end)
    assert alert.message["title"] == "fraud: Evidently's loud fired on amount"
    assert alert.message["lines"][0] == "Evidently's monitor loud: 1 of 2 fired: ValueDrift(method=psi) of amount."


@pytest.mark.usefixtures("measured")
def test_a_window_that_cannot_be_compared_has_a_status_and_a_sentence(engine: Engine, tmp_path: Path):
    register(engine, World(rows={FIRST: 20}))
    serve_days(engine, World(rows={FIRST: 20}), FIRST, FIRST + 1)
    drain_checks(tools_for(engine, tmp_path))
    added(engine, since=FIRST)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    (run,) = runs_of(engine, "evidently")
    assert (run.status, run.sentence) == (
        "insufficient",
        "expected at least 50 kept traces in the window, got 20: too few to compare",
    )


def test_without_a_reference_there_is_nothing_to_compare_with(engine: Engine, tmp_path: Path):
    register(engine, World(), reference=False, served=False)
    serve_days(engine, World(), FIRST, FIRST + 2)
    added(engine, since=FIRST)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert {run.status for run in runs_of(engine, "evidently")} == {"no_reference"}


def test_settings_that_this_release_cannot_read_are_an_error_that_stops_no_other_check(engine: Engine, tmp_path: Path):
    watched(engine, tmp_path, 1)
    added(engine, since=FIRST)
    with transaction(engine) as session:
        monitor = session.scalars(select(Monitor).where(Monitor.name == "psi")).one()
        monitor.settings = {"metrics": "all of them"}
    serve_days(engine, World(), FIRST + 1, FIRST + 2)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert {run.status for run in runs_of(engine, "evidently")} == {"error"}
    assert len(runs_of(engine, "drift")) == 2


@pytest.mark.usefixtures("measured")
def test_a_removed_monitor_keeps_its_record_and_gives_up_its_name(engine: Engine, tmp_path: Path):
    watched(engine, tmp_path, 1)
    added(engine, since=FIRST)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        remove_monitor(session, model, name="psi", by=OWNER, now=database_now(session))
        assert monitors_of(session, model) == []
    serve_days(engine, World(), FIRST + 1, FIRST + 2)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert len(runs_of(engine, "evidently")) == 1
    added(engine, since=FIRST + 1)
    drain(tools_for(engine, tmp_path), kinds=KINDS)
    assert len(runs_of(engine, "evidently")) == 2
    with transaction(engine) as session:
        acts = session.scalars(select(AuditEntry.action).where(AuditEntry.action.like("monitor.%"))).all()
    assert acts == ["monitor.added", "monitor.removed", "monitor.added"]


def test_only_those_who_may_configure_add_or_remove(engine: Engine, tmp_path: Path):
    register(engine, World(), reference=False, served=False)
    with pytest.raises(NotAllowed, match="to configure needs one of admin, operator"):
        added(engine, by=VIEWER)
    added(engine)
    with transaction(engine) as session:
        model, now = model_named(session, "fraud"), database_now(session)
        with pytest.raises(NotAllowed):
            remove_monitor(session, model, name="psi", by=VIEWER, now=now)
        with pytest.raises(NotAllowed):
            check_settings(session, model, read_config({"metrics": [DRIFT]}), by=VIEWER)
        with pytest.raises(NotFound, match="no Evidently monitor 'ps'; it has: psi"):
            remove_monitor(session, model, name="ps", by=OWNER, now=now)


@pytest.mark.parametrize("name", ["psi", "drift", "two words", ""])
def test_a_name_that_is_taken_or_unusable_is_refused(engine: Engine, name: str):
    register(engine, World(), reference=False, served=False)
    added(engine)
    with pytest.raises(BadInput, match="already|expected a monitor name"):
        added(engine, name=name)
