"""Reports that a person orders."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.checks import Report
from monitor.db.jobs import enqueue
from monitor.db.registry import Model, ModelSettings
from monitor.errors import BadInput, NotEnoughData
from monitor.governance import Action, Actor, authorize
from monitor.reports.render import Preset
from monitor.windows import Window, floor_to_grid


def order_report(
    session: Session, model: Model, *, window: Window, preset: str = Preset.ALL, by: Actor, now: datetime,
    queue: bool = True,
) -> Report:  # fmt: skip
    """The report of a window, queued unless it is there already; without `queue` the caller makes it.

    Raises:
        NotAllowed: `by` may not order reports.
        BadInput: there is no such preset, or it does not fit the model's task.
    """
    authorize(by, Action.ORDER_REPORT)
    chosen = Preset.named(preset, task=model.task)
    report = session.scalar(
        select(Report).where(
            Report.model_id == model.id, Report.kind == chosen.kind, Report.starts == window.start,
            Report.ends == window.end, Report.state != "failed",
        )
    )  # fmt: skip
    if report is None:
        report = Report(model_id=model.id, kind=chosen.kind, starts=window.start, ends=window.end)
        session.add(report)
        session.flush()
        record(
            session, "report.ordered", by=by.id, subject=f"report:{report.id}", at=now, model=model.name,
            preset=str(chosen), starts=window.start.isoformat(), ends=window.end.isoformat(),
        )  # fmt: skip
    if queue and report.state == "queued":
        enqueue(session, "report", stream=f"report:{report.id}", payload={"report_id": report.id}, by=by.id)
    return report


def window_named(model: Model, text: str | None) -> Window:
    """The window that a person means: a moment within it, `FROM/TO`, or without words the newest whole one.

    Raises:
        BadInput: the words are no times.
        NotEnoughData: the model has no traces yet.
    """
    width: timedelta = ModelSettings.of(model).width
    if text is None:
        if model.watermark is None:
            raise NotEnoughData(f"{model.name} has no traces yet: send some first")
        end = floor_to_grid(model.watermark, width)
        return Window(end - width, end)
    first, slash, last = text.partition("/")
    if slash:
        return Window(_moment(first), _moment(last))
    start = floor_to_grid(_moment(first), width)
    return Window(start, start + width)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadInput(f"expected a time such as 2026-03-05 or 2026-03-05T06:00, got {text!r}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
