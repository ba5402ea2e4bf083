import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_reference
from monitor.db.checks import Report
from monitor.db.engine import transaction
from monitor.db.jobs import Job, enqueue
from monitor.db.registry import Model
from monitor.drift import Reference
from monitor.errors import JobFailed
from monitor.governance import POLICY
from monitor.jobs.context import Tools
from monitor.jobs.worker import Worker
from monitor.reports.render import Preset, render
from monitor.reports.sanitise import Sanitised, sanitise
from monitor.schema import Schema
from monitor.windows import Window
from tests.governed import BEGIN, DAY, FEATURES, NOW, day_of, govern, schema, serve, tools_for


def with_reference(session: Session, *, rows: int = 60) -> Model:
    governed = govern(session)
    days = [(Window(BEGIN + n * DAY, BEGIN + (n + 1) * DAY), day_of(n)[list(FEATURES)]) for n in range(16)]
    accept_reference(
        session, governed.model, governed.champion, Reference.fit(days, schema=schema()), by=POLICY, now=NOW
    )
    serve(session, governed.model, 0, 17, rows=rows)
    return governed.model


def ordered(tools: Tools, model_id: int, day: int) -> Report:
    window = {"starts": (BEGIN + day * DAY).isoformat(), "ends": (BEGIN + (day + 1) * DAY).isoformat()}
    with transaction(tools.engine) as session:
        enqueue(session, "report", stream=f"report:{day}", payload={"model_id": model_id, **window}, by="test")
    assert Worker(tools, "w1", kinds=["report"]).run_once()
    with transaction(tools.engine) as session:
        assert session.scalars(select(Job.state).where(Job.kind == "report")).all()[-1] == "done"
        return session.scalars(select(Report).order_by(Report.id.desc())).first()


def mixed(rows: int, shift: float) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    return pd.DataFrame({"moved": rng.normal(shift, 1, rows), "same": rng.normal(size=rows), "kind": "</script>"})


@pytest.mark.slow
def test_a_window_is_reported_with_drift_and_classification_and_kept_by_its_hash(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    with transaction(engine) as session:
        model_id = with_reference(session).id
    report = ordered(tools, model_id, 16)
    assert report.state == "ready", report.sentence
    assert report.sentence == "60 rows of the window against 960 of the reference"
    assert b"<html" in tools.store.read(report.html_sha256 or "").lower()
    metrics = json.loads(tools.store.read(report.json_sha256 or ""))["metrics"]
    names = " ".join(metric["metric_name"] for metric in metrics)
    assert all(word in names for word in ("ValueDrift(column=amount", "RocAuc", "RowCount"))
    again = ordered(tools, model_id, 16)
    assert again.id == report.id


def test_a_window_with_too_few_rows_is_a_failed_report_with_a_sentence(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    with transaction(engine) as session:
        model_id = with_reference(session, rows=20).id
    report = ordered(tools, model_id, 16)
    assert report.state == "failed"
    assert report.sentence == "expected at least 50 kept traces in the window, got 20: too few to compare"
    assert report.html_sha256 is None


def test_a_model_without_a_reference_has_nothing_to_compare_with(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    with transaction(engine) as session:
        governed = govern(session)
        serve(session, governed.model, 0, 2)
    assert "no reference yet" in ordered(tools, governed.model.id, 1).sentence


@pytest.mark.slow
def test_evidently_flags_the_column_that_moved_and_markup_stays_text():
    found = render(sanitise(mixed(600, 1.0), mixed(800, 0.0), Schema.infer(mixed(50, 0.0))))
    drift = {
        metric["config"]["column"]: metric["value"]
        for metric in json.loads(found.json)["metrics"]
        if metric["metric_name"].startswith("ValueDrift")
    }
    assert drift["moved"] > 0.5 > 0.1 > drift["same"]
    assert b'"</script>"' not in found.html
    assert b"&lt;/script&gt;" in found.html or rb"\u0026lt;/script\u0026gt;" in found.html


@pytest.mark.slow
def test_a_report_that_evidently_cannot_make_is_an_error_in_one_line():
    nothing = Sanitised(
        current=mixed(60, 0.0), reference=mixed(60, 0.0), numerical=(), categorical=(), left_out={}, has_labels=False
    )
    with pytest.raises(JobFailed, match="expected at least one feature with values"):
        render(nothing)


@pytest.mark.slow
def test_a_report_about_performance_without_labels_says_what_it_needs():
    data = sanitise(mixed(60, 0.0), mixed(60, 0.0), Schema.infer(mixed(50, 0.0)))
    with pytest.raises(JobFailed, match="a classification report needs predictions and labels"):
        render(data, preset=Preset.CLASSIFICATION, positive="1")


@pytest.mark.slow
def test_the_platform_does_not_import_evidently_to_order_a_report():
    code = "import sys, monitor.jobs.report; sys.exit('evidently' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
