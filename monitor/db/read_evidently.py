"""What Evidently's metrics said: the newest window of each monitor, and how a metric went."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun, Finding
from monitor.db.registry import EVIDENTLY, Monitor, model_named


@dataclass(frozen=True, kw_only=True)
class EvidentlyRow:
    """One metric of one monitor on its newest window. `subject` is a column, or the model for the whole window."""

    monitor: str
    metric: str
    subject: str
    status: str
    value: float | None
    threshold: float | None
    fired: bool
    sentence: str
    starts: datetime
    ends: datetime


@dataclass(frozen=True, kw_only=True)
class MonitorLine:
    """One monitor and how its newest window went; without one it waits."""

    name: str
    status: str = "waiting"
    sentence: str = "waits for the next window that is checked"
    starts: datetime | None = None
    ends: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class EvidentlyResults:
    """All monitors of kind `evidently` of a model, what fired first within each."""

    model: str
    monitors: tuple[MonitorLine, ...]
    rows: tuple[EvidentlyRow, ...]


def evidently_results(session: Session, name: str) -> EvidentlyResults:
    """The newest window of every Evidently monitor of a model."""
    model = model_named(session, name)
    chosen = select(Monitor).where(Monitor.model_id == model.id, Monitor.kind == EVIDENTLY, Monitor.enabled)
    lines: list[MonitorLine] = []
    rows: list[EvidentlyRow] = []
    for monitor in session.scalars(chosen.order_by(Monitor.name)):
        run = _newest_run(session, monitor)
        if run is None:
            lines.append(MonitorLine(name=monitor.name))
            continue
        lines.append(
            MonitorLine(name=monitor.name, status=run.status, sentence=run.sentence, starts=run.starts, ends=run.ends)
        )
        rows += _rows(session, monitor, run)
    return EvidentlyResults(model=model.name, monitors=tuple(lines), rows=tuple(rows))


def _newest_run(session: Session, monitor: Monitor) -> CheckRun | None:
    """Of versions that share a window, the one that served most of it."""
    newest = select(CheckRun).where(CheckRun.monitor_id == monitor.id)
    return session.scalar(
        newest.order_by(CheckRun.starts.desc(), CheckRun.rows.desc(), CheckRun.revision.desc()).limit(1)
    )


def _rows(session: Session, monitor: Monitor, run: CheckRun) -> list[EvidentlyRow]:
    found = select(Finding).where(Finding.check_run_id == run.id).order_by(Finding.fired.desc(), Finding.id)
    return [
        EvidentlyRow(
            monitor=monitor.name, metric=one.metric, subject=one.subject, status=one.status, value=one.statistic,
            threshold=one.threshold, fired=one.fired, sentence=one.sentence, starts=run.starts, ends=run.ends,
        )
        for one in session.scalars(found)
    ]  # fmt: skip
