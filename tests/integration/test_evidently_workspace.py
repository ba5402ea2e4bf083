"""Kept reports as a workspace that `evidently ui` opens: written and read back by Evidently's own API."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun, Finding, Report
from monitor.db.engine import transaction
from monitor.db.registry import Model, Monitor, champion, model_named
from monitor.errors import BadInput, NotEnoughData
from monitor.jobs.export import export_reports
from monitor.reports.render import About, Preset, render
from monitor.reports.sanitise import sanitise
from monitor.reports.workspace import fill
from monitor.schema import Schema
from tests.streams import DAY, REFERENCE_DAYS, World, register, tools_for, window

OPEN = """
import json, sys, warnings
warnings.simplefilter("ignore")
from evidently.ui.workspace import Workspace
workspace = Workspace(sys.argv[1])
(project,) = workspace.search_project("fraud")
titles = [panel.title for panel in project.dashboard.model().panels]
runs = [workspace.get_run(project.id, run) for run in workspace.list_runs(project.id)]
found = [[run.name, run.timestamp.isoformat(), len(run.metric_results), run.metadata["model"]] for run in runs]
own = next(run for run in runs if "holdfast-findings" in run.tags)
results = own.metric_results.values()
moved = [[one.metric_value_location.metric.params["column"], one.value, one.tests[0].status.value] for one in results]
print(json.dumps({"runs": found, "own": moved, "titles": titles}))
"""


def snapshots() -> list[bytes]:
    """One report's snapshot, and the same as that of another window."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"amount": rng.normal(size=80), "kind": rng.choice(["</script>", "b"], 80)})
    starts = window(0).start
    about = About(name="fraud day 0", starts=starts.isoformat(), metadata={"holdfast_report": "1", "model": "fraud"})
    first = render(sanitise(frame, frame, Schema.infer(frame)), preset=Preset.DRIFT, about=about).snapshot
    second = json.loads(first)
    second |= {"name": "fraud day 1", "timestamp": (starts + DAY).isoformat()}
    second["metadata"]["holdfast_report"] = "2"
    return [first, json.dumps(second).encode()]


@pytest.mark.slow
def test_evidently_opens_the_workspace_and_finds_each_kept_report_once(engine: Engine, tmp_path: Path):
    tools, place = tools_for(engine, tmp_path), tmp_path / "workspace"
    register(engine, World(), reference=False, served=False)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        for number, snapshot in enumerate(snapshots()):
            span = window(number)
            session.add(
                Report(
                    model_id=model.id, starts=span.start, ends=span.end, state="ready",
                    snapshot_sha256=tools.store.put(snapshot),
                )
            )  # fmt: skip
        session.add(Report(model_id=model.id, starts=window(2).start, ends=window(2).end, state="ready"))
        _checked_for_drift(session, model)
        first = export_reports(session, tools.store, model, place)
        again = export_reports(session, tools.store, model, place, with_findings=True)
    assert (first.new, first.there, first.without_snapshot) == (2, 0, 1)
    assert again == replace(first, new=1, there=2)  # the window that was checked for drift
    opened = subprocess.run([sys.executable, "-c", OPEN, place], capture_output=True, text=True, check=True)
    found = json.loads(opened.stdout)
    *runs, own = sorted(found["runs"], key=lambda run: run[1])
    assert [(name, model) for name, _, _, model in runs] == [("fraud day 0", "fraud"), ("fraud day 1", "fraud")]
    assert [starts[:19] for _, starts, _, _ in runs] == ["2026-01-05T00:00:00", "2026-01-06T00:00:00"]
    assert all(metrics == 3 for _, _, metrics, _ in runs)  # the share of drifted columns, and each column's drift
    assert own[:2] == ["fraud 2026-02-02 00:00, by Holdfast", window(REFERENCE_DAYS).start.isoformat()]
    assert sorted(found["own"]) == [["&lt;b&gt;age", 0.1, "SUCCESS"], ["amount", 1.5, "FAIL"]]
    assert found["titles"] == [
        "Share of drifted columns, by Evidently's tests", "How far each feature moved, σ, by Holdfast",
    ]  # fmt: skip


def _checked_for_drift(session: Session, model: Model) -> None:
    """One window in which amount moved."""
    monitor = session.scalars(select(Monitor).where(Monitor.kind == "drift")).one()
    span = window(REFERENCE_DAYS)
    run = CheckRun(
        model_id=model.id, version_id=champion(session, model).id, monitor_id=monitor.id, kind="drift",
        starts=span.start, ends=span.end, status="ok",
    )  # fmt: skip
    session.add(run)
    session.flush()
    for name, distance in (("amount", 1.5), ("<b>age", 0.1)):
        detail = {"magnitude": distance}
        session.add(Finding(check_run_id=run.id, subject=name, metric="drift", fired=distance > 1, detail=detail))
    session.flush()


def test_a_model_without_reports_has_nothing_to_export(engine: Engine, tmp_path: Path):
    register(engine, World(), reference=False, served=False)
    with transaction(engine) as session, pytest.raises(NotEnoughData, match="no report that can be exported"):
        export_reports(session, tools_for(engine, tmp_path).store, model_named(session, "fraud"), tmp_path)


def test_a_workspace_that_cannot_be_written_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="expected a folder that can be written"):
        fill(tmp_path / "file", project="fraud", description="", files=[])
