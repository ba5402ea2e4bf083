"""After every check, in its transaction: the window's verdict, the alerts of its causes, and what follows from them.

Judging a window twice changes nothing: a verdict is written only if it says something new, an alert never counts a
window twice, and messages have keys.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from monitor.acts.promotion import confirm_serving, end_observation
from monitor.acts.serving import recommend_rollback, remind_serving
from monitor.alerts import (
    AlertKind,
    AlertSnapshot,
    AlertState,
    Condition,
    Message,
    Notice,
    Signal,
    Transition,
    advance,
    gravest,
)
from monitor.alerts import revise as revised_snapshot
from monitor.db.alerts import Alert, queue_messages
from monitor.db.checks import CheckRun, WindowVerdict
from monitor.db.jobs import enqueue
from monitor.db.registry import Model, Version
from monitor.jobs.context import Tools
from monitor.jobs.facts import Known, known_of, record_verdict
from monitor.jobs.propose import propose_if_warranted
from monitor.jobs.signals import RULES, signals
from monitor.jobs.wording import fired_message, resolved_message, revised_title
from monitor.performance.verdict import ADVICE, HARMFUL, Verdict
from monitor.windows import Window

BY = "policy"
_HARM = HARMFUL | {Verdict.FRAGILE}  # what speaks for rolling an observed promotion back
_SAME_INCIDENT = timedelta(days=7)


def judge(session: Session, tools: Tools, model: Model, version: Version, window: Window, now: datetime) -> Known:
    """Judge a window by its newest check runs; bring verdict, alerts, messages and proposals up to date."""
    known = known_of(session, version, window)
    if known.is_judged and record_verdict(session, model, version, known):
        _revise_alerts(session, model, known)
    if not _speaks(session, model, version, known):
        return known
    newest = _newest(session, model)
    for signal in signals(session, model.name, known):
        _signal(session, tools, model, version, known, signal, newest.get(signal.cause), now)
    if version.id == model.champion_id and known.rows:
        if version.confirmed_at is None:
            confirm_serving(session, version, now)
        end_observation(session, version, now)
        judgement = known.judgement
        if judgement.verdict in _HARM:
            recommend_rollback(session, model, version, verdict=judgement.verdict, sentence=judgement.sentence, now=now)
    elif known.rows:
        remind_serving(session, model, version, now)
    return known


def raise_one(
    session: Session, tools: Tools, model: Model, version: Version, window: Window, *, now: datetime,
    say: Callable[[Verdict], Signal],
) -> None:  # fmt: skip
    """The alert of one cause that is no part of the window's verdict; `say` is told the verdict as it stands."""
    known = known_of(session, version, window)
    if not _speaks(session, model, version, known):
        return
    signal = say(known.judgement.verdict)
    _signal(session, tools, model, version, known, signal, _newest(session, model).get(signal.cause), now)


def _speaks(session: Session, model: Model, version: Version, known: Known) -> bool:
    """A model has one live alert a cause: the version that served most rows of the window speaks for it."""
    if version.id == model.champion_id and known.rows:
        return True
    bigger = exists().where(
        CheckRun.model_id == model.id, CheckRun.kind == "quality", CheckRun.version_id != version.id,
        CheckRun.starts == known.window.start, CheckRun.ends == known.window.end, CheckRun.rows > known.rows,
    )  # fmt: skip
    return not session.scalar(select(bigger))


def _signal(
    session: Session, tools: Tools, model: Model, version: Version, known: Known, signal: Signal, newest: Alert | None,
    now: datetime,
) -> None:  # fmt: skip
    if newest is not None and signal.window.end <= AlertSnapshot.from_document(newest.snapshot).seen_until:
        return  # judged again, or out of order: it was counted
    alert = _continued(newest, signal)
    current = AlertSnapshot.from_document(alert.snapshot) if alert else None
    step = advance(current, signal, RULES[signal.kind])
    if step is None or (alert is None and step.snapshot.state is AlertState.NO_DATA):
        return
    alert = _write(session, model, version, alert, signal, step, now)
    if step.notice is not None:
        _tell(session, tools, model, known, signal, alert, step, now)
    if step.notice is Notice.FIRED:
        _order_report(session, model, alert, known.window)
    if step.snapshot.state in (AlertState.FIRING, AlertState.ACKNOWLEDGED) and signal.condition is Condition.FIRING:
        propose_if_warranted(session, model, version, known, alert, now)


def raise_alert(
    session: Session, tools: Tools, model: Model, version: Version, known: Known, signal: Signal, now: datetime
) -> None:
    """Move the alert of one cause on by a window, for a check that knows better than `signals` what it saw."""
    _signal(session, tools, model, version, known, signal, _newest(session, model).get(signal.cause), now)


def _newest(session: Session, model: Model) -> dict[str, Alert]:
    """The model's last alert of each cause, over or not."""
    last = select(func.max(Alert.id)).where(Alert.model_id == model.id, ~Alert.drill).group_by(Alert.cause)
    chosen = select(Alert).where(Alert.id.in_(last)).order_by(Alert.id).with_for_update()
    return {alert.cause: alert for alert in session.scalars(chosen)}


def _continued(newest: Alert | None, signal: Signal) -> Alert | None:
    """The alert that the signal goes on with; None begins a new one.

    Drift of the same features that comes back within seven days is the same incident: its alert opens again, without a
    new message. One that a person ended is over: under a new baseline it would be another drift.
    """
    if newest is None or newest.state != AlertState.RESOLVED:
        return newest
    if newest.resolution is not None:
        return None
    snapshot = AlertSnapshot.from_document(newest.snapshot)
    same = not set(signal.culprits).isdisjoint(newest.culprits)
    back = signal.kind is AlertKind.DRIFT and signal.condition is Condition.FIRING and same
    if not back or signal.window.start - snapshot.seen_until >= _SAME_INCIDENT:
        return None
    newest.snapshot = replace(snapshot, state=AlertState.FIRING, clear_windows=0).to_document()
    newest.resolved_at = None
    return newest


def _write(
    session: Session,
    model: Model,
    version: Version,
    alert: Alert | None,
    signal: Signal,
    step: Transition,
    now: datetime,
) -> Alert:
    if alert is None:
        alert = Alert(model_id=model.id, version_id=version.id, cause=signal.cause, opened_at=now)
        session.add(alert)
    after = step.snapshot
    alert.kind, alert.severity, alert.state, alert.verdict = after.kind, after.severity, after.state, after.verdict
    alert.starts, alert.ends = after.starts, after.ends
    alert.culprits, alert.snapshot, alert.revised = list(after.culprits), after.to_document(), after.revised
    if after.state is AlertState.RESOLVED:
        alert.resolved_at = now
    session.flush()
    return alert


def _tell(
    session: Session, tools: Tools, model: Model, known: Known, signal: Signal, alert: Alert, step: Transition,
    now: datetime,
) -> None:  # fmt: skip
    link = f"{tools.link}/?view=alerts&alert={alert.id}" if tools.link else ""
    message = _message(signal, known, step, link)
    if step.notice is not Notice.RESOLVED:
        alert.message = message.to_document()
    owed = queue_messages(
        session, event=str(step.notice), message=message.to_document(), severity=alert.severity, model_id=model.id,
        alert_id=alert.id, key=f"alert:{alert.id}:{step.notice}:{known.window.end.isoformat()}",
    )  # fmt: skip
    if owed:
        enqueue(session, "deliver", stream="deliver", payload={}, by=BY)


def _message(signal: Signal, known: Known, step: Transition, link: str) -> Message:
    if step.notice is Notice.RESOLVED:
        return resolved_message(signal.model, signal, known, step.snapshot, link=link)
    return fired_message(signal.model, signal, known, step.snapshot, why=step.why, link=link)


def _order_report(session: Session, model: Model, alert: Alert, window: Window) -> None:
    payload = {
        "model_id": model.id,
        "version_id": alert.version_id,
        "alert_id": alert.id,
        "starts": window.start.isoformat(),
        "ends": window.end.isoformat(),
    }
    enqueue(session, "report", stream=f"report:{model.id}:{window.start.isoformat()}", payload=payload, by=BY)


def _revise_alerts(session: Session, model: Model, known: Known) -> None:
    """A window's verdict changed after its alert was sent: the alert takes the worst verdict of its windows."""
    chosen = select(Alert).where(
        Alert.model_id == model.id, Alert.kind.in_((AlertKind.DRIFT, AlertKind.PERFORMANCE)), ~Alert.drill,
        Alert.starts < known.window.end, Alert.ends > known.window.start, Alert.state != AlertState.PENDING,
        ~Alert.cause.startswith("drift:"),  # of a segment, whose performance is not measured
    )  # fmt: skip
    for alert in session.scalars(chosen.with_for_update()):
        verdicts = _verdicts(session, alert) - {Verdict.PIPELINE_BREAK}
        if not verdicts or (worst := gravest(verdicts)) == alert.verdict:
            continue
        snapshot = AlertSnapshot.from_document(alert.snapshot)
        after = revised_snapshot(snapshot, _told_again(model, alert, known, worst)).snapshot
        alert.verdict, alert.revised, alert.snapshot = after.verdict, after.revised, after.to_document()
        do, dont = ADVICE[after.verdict]
        alert.message = alert.message | {"do": do, "dont": dont}
        if alert.kind == AlertKind.DRIFT:
            alert.message = alert.message | {"title": revised_title(model.name, alert.culprits, after.verdict)}
    session.flush()


def _told_again(model: Model, alert: Alert, known: Known, verdict: Verdict) -> Signal:
    snapshot = AlertSnapshot.from_document(alert.snapshot)
    return Signal(
        model=model.name, cause=alert.cause, window=known.window, condition=Condition.FIRING, kind=snapshot.kind,
        severity=snapshot.severity, verdict=verdict,
    )  # fmt: skip


def _verdicts(session: Session, alert: Alert) -> set[Verdict]:
    """The newest verdict of each window that the alert spans."""
    rows = session.execute(
        select(WindowVerdict.version_id, WindowVerdict.starts, WindowVerdict.verdict)
        .where(
            WindowVerdict.model_id == alert.model_id, WindowVerdict.starts >= alert.starts,
            WindowVerdict.ends <= alert.ends,
        )
        .order_by(WindowVerdict.revision)
    )  # fmt: skip
    newest = {(version_id, starts): verdict for version_id, starts, verdict in rows}
    return {Verdict(verdict) for verdict in newest.values()}
