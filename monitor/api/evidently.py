"""Evidently's monitors and reports over HTTP."""

from datetime import datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy import select

from monitor.acts.monitors import add_monitor, check_settings, monitors_of, remove_monitor
from monitor.acts.reports import order_report, window_named
from monitor.api.asking import Open, Someone
from monitor.api.bodies import Done
from monitor.db.checks import Report
from monitor.db.engine import database_now
from monitor.db.read_evidently import evidently_results
from monitor.db.registry import Monitor, model_named
from monitor.reports.config import read_config
from monitor.reports.render import Preset

MOST_REPORTS = 100
routes = APIRouter()


class MonitorOut(BaseModel):
    """A monitor and its settings, made complete."""

    name: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, monitor: Monitor) -> Self:
        return cls(name=monitor.name, settings=monitor.settings)


class NewMonitor(BaseModel):
    """What a monitor is to do."""

    name: str = Field(min_length=1, max_length=63)
    settings: dict[str, Any]


class ResultOut(BaseModel):
    """What one of Evidently's metrics said of the newest window of its monitor."""

    monitor: str
    metric: str
    subject: str
    status: str
    value: float | None
    threshold: float | None
    fired: bool
    sentence: str
    start: datetime
    end: datetime


class ReportOut(BaseModel):
    """A report; its page is at /reports/<id>."""

    id: int
    preset: str
    start: datetime
    end: datetime
    state: str
    sentence: str


class ReportOrder(BaseModel):
    """Which window: a moment within it or FROM/TO, by default the newest whole one; and what the report is about."""

    window: str | None = Field(default=None, max_length=80)
    preset: str = str(Preset.ALL)


@routes.get("/models/{name}/monitors")
def list_monitors(name: str, actor: Someone, session: Open) -> list[MonitorOut]:
    """The model's Evidently monitors."""
    return [MonitorOut.of(monitor) for monitor in monitors_of(session, model_named(session, name))]


@routes.post("/models/{name}/monitors")
def create_monitor(name: str, new: NewMonitor, actor: Someone, session: Open) -> MonitorOut:
    """Let metrics of Evidently be computed on each window; an unknown name is refused with what may have been meant."""
    model = model_named(session, name)
    config = check_settings(session, model, read_config(new.settings), by=actor)
    added = add_monitor(session, model, name=new.name, config=config, by=actor, now=database_now(session))
    return MonitorOut.of(added)


@routes.delete("/models/{name}/monitors/{monitor}")
def delete_monitor(name: str, monitor: str, actor: Someone, session: Open) -> Done:
    """End a monitor; what it found stays."""
    remove_monitor(session, model_named(session, name), name=monitor, by=actor, now=database_now(session))
    return Done(sentence=f"monitor {monitor} of {name} is removed")


@routes.get("/models/{name}/monitors/results")
def read_results(name: str, actor: Someone, session: Open) -> list[ResultOut]:
    """The results of every monitor's newest window."""
    return [
        ResultOut(
            monitor=row.monitor, metric=row.metric, subject=row.subject, status=row.status, value=row.value,
            threshold=row.threshold, fired=row.fired, sentence=row.sentence, start=row.starts, end=row.ends,
        )
        for row in evidently_results(session, name).rows
    ]  # fmt: skip


@routes.get("/models/{name}/reports")
def list_reports(name: str, actor: Someone, session: Open) -> list[ReportOut]:
    """The newest reports, the newest window first."""
    model = model_named(session, name)
    newest = select(Report).where(Report.model_id == model.id).order_by(Report.starts.desc(), Report.id.desc())
    return [_out(report) for report in session.scalars(newest.limit(MOST_REPORTS))]


@routes.post("/models/{name}/reports")
def create_report(name: str, order: ReportOrder, actor: Someone, session: Open) -> ReportOut:
    """Order a report; the workers make it."""
    model = model_named(session, name)
    report = order_report(
        session, model, window=window_named(model, order.window), preset=order.preset, by=actor,
        now=database_now(session),
    )  # fmt: skip
    return _out(report)


def _out(report: Report) -> ReportOut:
    return ReportOut(
        id=report.id, preset=str(Preset.of_kind(report.kind)), start=report.starts, end=report.ends,
        state=report.state, sentence=report.sentence,
    )  # fmt: skip
