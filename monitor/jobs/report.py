"""An Evidently report of one window against the reference, rendered in a process of its own and kept by its hash."""

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.artifacts import Store
from monitor.db.alerts import Alert
from monitor.db.checks import Report
from monitor.db.engine import transaction
from monitor.db.jobs import Claimed
from monitor.db.registry import (
    Model,
    ModelSettings,
    Version,
    feature_schema,
    newest_reference,
    reference_for,
    schema_of,
)
from monitor.db.traces import read_traces
from monitor.errors import BadInput, HoldfastError
from monitor.jobs.context import Tools, effect
from monitor.jobs.samples import numbers
from monitor.reports.evidently import Rendered, render
from monitor.reports.sanitise import MAX_ROWS, Sanitised, sanitise
from monitor.windows import Window

_YES, _HALF = "1", 0.5


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What the report is made of; `sentence` says why there can be none."""

    report_id: int
    data: Sanitised | None = None
    regression: bool = False
    positive: str | None = None
    sentence: str = ""


def run(tools: Tools, job: Claimed) -> None:
    """Make the report that the payload names, or orders: a report_id, or model, alert and window."""
    with transaction(tools.engine) as session:
        report = _report(session, job)
        if report.state == "ready":
            read, done = _Read(report_id=report.id), True
        else:
            read, done = _read(session, report), False
    if done:
        with effect(tools, job, point="report"):
            return
    rendered, sentence = _rendered(read)
    files = _stored(tools.store, rendered) if rendered is not None else None
    with effect(tools, job, point="report") as session:
        report = session.get_one(Report, read.report_id)
        report.sentence = sentence
        report.state = "ready" if files else "failed"
        report.html_sha256, report.json_sha256 = files or (None, None)


def _report(session: Session, job: Claimed) -> Report:
    """The row that the payload names, or a new one; a window has one report that did not fail."""
    given = job.payload
    if "report_id" in given:
        return session.get_one(Report, given["report_id"])
    starts, ends = datetime.fromisoformat(given["starts"]), datetime.fromisoformat(given["ends"])
    known = session.scalar(
        select(Report).where(
            Report.model_id == given["model_id"], Report.kind == "evidently", Report.starts == starts,
            Report.ends == ends, Report.state != "failed",
        )
    )  # fmt: skip
    if known is not None:
        return known
    report = Report(model_id=given["model_id"], alert_id=given.get("alert_id"), starts=starts, ends=ends)
    session.add(report)
    session.flush()
    return report


def _read(session: Session, report: Report) -> _Read:
    model = session.get_one(Model, report.model_id)
    alert = session.get(Alert, report.alert_id) if report.alert_id is not None else None
    version_id = alert.version_id if alert else model.champion_id
    version = session.get(Version, version_id) if version_id is not None else None
    reference = (reference_for(session, version) if version else None) or newest_reference(session, model)
    if reference is None:
        return _Read(report_id=report.id, sentence="the model has no reference yet: there is nothing to compare with")
    settings, window = ModelSettings.of(model), Window(report.starts, report.ends)
    current = read_traces(session, model, window, limit=MAX_ROWS)
    normal = _normal(session, model, Window(reference.starts, reference.ends), window)
    regression = model.task == "regression"
    if not regression:
        threshold = (version.baseline if version else {}).get("operating_threshold")
        current, normal = (_as_classes(frame, settings, threshold) for frame in (current, normal))
    try:
        data = sanitise(current, normal, schema_of(feature_schema(session, model)), regression=regression)
    except BadInput as error:
        return _Read(report_id=report.id, sentence=str(error))
    return _Read(report_id=report.id, data=data, regression=regression, positive=None if regression else _YES)


def _normal(session: Session, model: Model, span: Window, window: Window) -> pd.DataFrame:
    """The reference's kept traces; where a reference lies over the window itself, those before it."""
    frame = read_traces(session, model, span, limit=MAX_ROWS)
    return frame[(frame["event_time"] < window.start) | (frame["event_time"] >= window.end)]


def _as_classes(frame: pd.DataFrame, settings: ModelSettings, threshold: float | None) -> pd.DataFrame:
    """Labels and predictions as 1 and 0 in words; where no class was logged, by the score."""
    label, prediction = (numbers(frame[name], "classification", settings.positive) for name in ("label", "prediction"))
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(np.float64)
    by_score = np.where(np.isfinite(score), score > (_HALF if threshold is None else threshold), np.nan)
    prediction = np.where(np.isfinite(prediction), prediction, by_score)
    words = {1.0: _YES, 0.0: "0"}
    return frame.assign(
        label=pd.Series(label, frame.index).map(words), prediction=pd.Series(prediction, frame.index).map(words)
    )


def _rendered(read: _Read) -> tuple[Rendered | None, str]:
    """The report, or why there is none; a process that crashed is a sentence too, not a job to repeat."""
    if read.data is None:
        return None, read.sentence
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-report-") as folder:
            done = render(read.data, Path(folder), regression=read.regression, positive=read.positive)
    except HoldfastError as error:
        return None, str(error)
    left_out = "; ".join(f"{name}: {why}" for name, why in done.left_out.items())
    sizes = f"{len(read.data.current):,} rows of the window against {len(read.data.reference):,} of the reference"
    return done, sizes + (f". Left out: {left_out}" if left_out else "")


def _stored(store: Store, rendered: Rendered) -> tuple[str, str]:
    return store.put(rendered.html), store.put(rendered.json)
