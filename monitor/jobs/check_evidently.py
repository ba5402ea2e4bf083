"""What do Evidently's metrics say of a window? Shown beside the verdict, which is never theirs."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts import AlertKind, Condition, Severity, Signal
from monitor.db.checks import CheckRun
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Claimed, enqueue
from monitor.db.registry import Monitor
from monitor.errors import JobReleased
from monitor.jobs.context import Tools, effect
from monitor.jobs.due import Streams
from monitor.jobs.evidently_data import shown
from monitor.jobs.raise_alerts import raise_one
from monitor.jobs.stream import Measurement, Outcome, Subject, record_run, subject_of
from monitor.reports.config import EvidentlyConfig, stored_config
from monitor.reports.measure import measure
from monitor.reports.sanitise import MEASURED_LEVELS, MEASURED_ROWS
from monitor.reports.series import Result
from monitor.windows import Window

BY = "monitor"
_MOST_NAMED = 3


def run(tools: Tools, job: Claimed) -> None:
    """Measure all due windows of one version under one monitor; each window's rows commit together.

    Evidently runs between two transactions: a process that takes a minute holds no lock and no snapshot.
    """
    with transaction(tools.engine) as session:
        subject = subject_of(session, tools, job.payload["version_id"])
        monitor = session.get_one(Monitor, job.payload["monitor_id"])
        config = stored_config(monitor.settings)
        due = Streams(session, subject.model).due_of(subject.version, monitor)
    if not due:
        with effect(tools, job):
            return
    for number, one in enumerate(due, start=1):
        if tools.stopping() and number > 1:
            raise JobReleased(f"stopped after {number - 1} of {len(due)} windows")
        outcome = _checked(tools, subject, config, one.window)
        with effect(tools, job, last=number == len(due), point="evidently") as session:
            done = record_run(session, subject, monitor, one, outcome)
            if config is not None and config.alert and outcome.status == "ok":
                _alert(session, tools, subject, monitor, done, outcome)
            if config is not None and _report_is_due(session, subject, config, done):
                done.document = done.document | {"report": True}
                _order_report(session, subject, one.window)


def _checked(tools: Tools, subject: Subject, config: EvidentlyConfig | None, window: Window) -> Outcome:
    if config is None:
        return Outcome(status="error", sentence="the monitor's settings cannot be read: remove it and add it again")
    if not config.metrics:
        return Outcome(sentence="nothing is measured; a report is made by its cadence")
    with transaction(tools.engine) as session:
        seen = shown(
            session, subject.model, subject.version, window, of_version=True, max_rows=MEASURED_ROWS,
            max_levels=MEASURED_LEVELS, with_empty=True,
        )  # fmt: skip
    if seen.data is None:
        return Outcome(status=seen.status, sentence=seen.sentence)
    results = measure(config, seen.data, regression=seen.regression, positive=seen.positive)
    return Outcome(
        status="error" if all(one.status == "error" for one in results) else "ok",
        sentence=sentence_of(results),
        rows=len(seen.data.current),
        document={"reference_rows": len(seen.data.reference), "metrics": len(results)},
        measurements=tuple(_measurement(one, subject.model.name) for one in results),
    )


def sentence_of(results: tuple[Result, ...]) -> str:
    """What came of a window, in a line.

    >>> sentence_of((Result(metric="RowCount", subject=None), Result(metric="MinValue", subject="age", fired=True)))
    '1 of 2 fired: MinValue of age'
    """
    fired = [f"{one.metric} of {one.subject}" if one.subject else one.metric for one in results if one.fired]
    failed = sum(one.status == "error" for one in results)
    named = ", ".join(fired[:_MOST_NAMED]) + (f" and {len(fired) - _MOST_NAMED} more" if fired[_MOST_NAMED:] else "")
    said = f"{len(fired)} of {len(results)} fired: {named}" if fired else f"none of {len(results)} fired"
    return said + (f"; {failed} could not be computed" if failed else "")


def _measurement(result: Result, model_name: str) -> Measurement:
    return Measurement(
        subject=result.subject or model_name,
        metric=result.metric,
        status=result.status,
        statistic=result.statistic,
        p_value=result.p_value,
        threshold=result.threshold,
        fired=result.fired,
        sentence=result.sentence,
        detail=result.detail,
    )


def _alert(
    session: Session, tools: Tools, subject: Subject, monitor: Monitor, done: CheckRun, outcome: Outcome
) -> None:
    fired = [one for one in outcome.measurements if one.fired]
    window = Window(done.starts, done.ends)
    raise_one(
        session, tools, subject.model, subject.version, window, now=database_now(session),
        say=lambda verdict: Signal(
            model=subject.model.name,
            cause=f"evidently:{monitor.name}",
            window=window,
            condition=Condition.FIRING if fired else Condition.CLEAR,
            kind=AlertKind.EVIDENTLY,
            severity=Severity.TICKET,
            verdict=verdict,
            culprits=tuple(dict.fromkeys(one.subject for one in fired)),
            sentence=f"Evidently's monitor {monitor.name}: {outcome.sentence}.",
        ),
    )  # fmt: skip


def _report_is_due(session: Session, subject: Subject, config: EvidentlyConfig, done: CheckRun) -> bool:
    """Whether so many windows have passed since the monitor last ordered a report."""
    if config.report_every_windows is None or done.status == "no_reference":
        return False
    last: datetime | None = session.scalar(
        select(CheckRun.starts)
        .where(
            CheckRun.version_id == done.version_id, CheckRun.monitor_id == done.monitor_id, CheckRun.id != done.id,
            CheckRun.document["report"].as_boolean(),
        )
        .order_by(CheckRun.starts.desc())
        .limit(1)
    )  # fmt: skip
    period: timedelta = config.report_every_windows * subject.settings.width
    return last is None or done.starts - last >= period


def _order_report(session: Session, subject: Subject, window: Window) -> None:
    span = {"starts": window.start.isoformat(), "ends": window.end.isoformat()}
    stream = f"report:{subject.model.id}:{span['starts']}"
    enqueue(session, "report", stream=stream, payload={"model_id": subject.model.id, **span}, by=BY)
