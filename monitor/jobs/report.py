"""An Evidently report of one window against the reference, rendered in a process of its own and kept by its hash."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.alerts import Alert
from monitor.db.checks import Report
from monitor.db.engine import transaction
from monitor.db.jobs import Claimed
from monitor.db.registry import Model, Version
from monitor.errors import HoldfastError
from monitor.jobs.context import Tools, effect
from monitor.jobs.evidently_data import Shown, shown
from monitor.reports.render import About, Preset, Rendered, render
from monitor.windows import Window


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A finished report by the hashes of its files; without them the sentence says why there is none."""

    sentence: str
    html_sha256: str | None = None
    json_sha256: str | None = None
    snapshot_sha256: str | None = None


def run(tools: Tools, job: Claimed) -> None:
    """Make the report that the payload names, or orders: a report_id, or model, alert, window and preset."""
    with transaction(tools.engine) as session:
        report = _report(session, job)
        report_id, is_ready = report.id, report.state == "ready"
    made = None if is_ready else _made(tools, report_id)
    with effect(tools, job, point="report") as session:
        if made is not None:
            _keep(session, report_id, made)


def make(tools: Tools, report_id: int) -> None:
    """Make a report that was ordered, here and now."""
    made = _made(tools, report_id)
    with transaction(tools.engine) as session:
        _keep(session, report_id, made)


def _report(session: Session, job: Claimed) -> Report:
    """The row that the payload names, or a new one; a window has one report of a preset that did not fail."""
    given = job.payload
    if "report_id" in given:
        return session.get_one(Report, given["report_id"])
    starts, ends = datetime.fromisoformat(given["starts"]), datetime.fromisoformat(given["ends"])
    kind = Preset(given.get("preset", Preset.ALL)).kind
    known = session.scalar(
        select(Report).where(
            Report.model_id == given["model_id"], Report.kind == kind, Report.starts == starts, Report.ends == ends,
            Report.state != "failed",
        )
    )  # fmt: skip
    if known is not None:
        return known
    report = Report(model_id=given["model_id"], alert_id=given.get("alert_id"), kind=kind, starts=starts, ends=ends)
    session.add(report)
    session.flush()
    return report


def _made(tools: Tools, report_id: int) -> _Made:
    """Read, render, store; a process that crashed is a sentence too, not a job to repeat."""
    with transaction(tools.engine) as session:
        report = session.get_one(Report, report_id)
        about, preset = _about(session, report), Preset.of_kind(report.kind)
        seen = _shown(session, report)
    if seen.data is None:
        return _Made(sentence=seen.sentence)
    try:
        done = render(seen.data, preset=preset, regression=seen.regression, positive=seen.positive, about=about)
    except HoldfastError as error:
        return _Made(sentence=str(error))
    return _Made(
        sentence=_sentence(seen, done),
        html_sha256=tools.store.put(done.html),
        json_sha256=tools.store.put(done.json),
        snapshot_sha256=tools.store.put(done.snapshot),
    )


def _shown(session: Session, report: Report) -> Shown:
    model = session.get_one(Model, report.model_id)
    alert = session.get(Alert, report.alert_id) if report.alert_id is not None else None
    version_id = alert.version_id if alert else model.champion_id
    version = session.get(Version, version_id) if version_id is not None else None
    return shown(session, model, version, Window(report.starts, report.ends))


def _about(session: Session, report: Report) -> About:
    model = session.get_one(Model, report.model_id)
    preset = Preset.of_kind(report.kind)
    return About(
        name=f"{model.name} {report.starts:%Y-%m-%d %H:%M}",
        starts=report.starts.isoformat(),
        tags=("holdfast", str(preset)),
        metadata={"holdfast_report": str(report.id), "model": model.name, "window_ends": report.ends.isoformat()},
    )


def _sentence(seen: Shown, done: Rendered) -> str:
    assert seen.data is not None
    left_out = "; ".join(f"{name}: {why}" for name, why in done.left_out.items())
    sizes = f"{len(seen.data.current):,} rows of the window against {len(seen.data.reference):,} of the reference"
    return sizes + (f". Left out: {left_out}" if left_out else "")


def _keep(session: Session, report_id: int, made: _Made) -> None:
    report = session.get_one(Report, report_id)
    report.sentence = made.sentence
    report.state = "ready" if made.html_sha256 else "failed"
    report.html_sha256, report.json_sha256 = made.html_sha256, made.json_sha256
    report.snapshot_sha256 = made.snapshot_sha256
