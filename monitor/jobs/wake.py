"""When a snooze is over: what still fires speaks once, what does not stays quiet."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts import Message, Notice
from monitor.db.alerts import Alert, Silence, due_wakes, queue_messages
from monitor.db.engine import database_now
from monitor.db.jobs import Claimed, enqueue
from monitor.jobs.context import Tools, effect

_BY = "policy"
_FIRING = ("firing", "acknowledged")


def run(tools: Tools, job: Claimed) -> None:
    """Look after every snooze that is over."""
    with effect(tools, job, point="wake") as session:
        wake(session, database_now(session))


def wake(session: Session, now: datetime) -> int:
    """The same in a transaction of the caller; how many messages are owed."""
    owed = sum(_speak(session, snoozed, now) for snoozed in due_wakes(session, now))
    if owed:
        enqueue(session, "deliver", stream="deliver", payload={}, by=_BY)
    return owed


def _speak(session: Session, snoozed: Silence, now: datetime) -> int:
    snoozed.woken_at = now
    session.flush()
    alert = _about(session, snoozed)
    if alert is None or not alert.message:
        return 0
    message = Message.from_document(alert.message)
    begun = f"{snoozed.created_at:%-d %b %H:%M} UTC"
    line = f"It was snoozed since {begun} ({snoozed.reason}) and still fires."
    told = Message.from_document({**message.to_document(), "lines": [line, *message.lines]})
    return queue_messages(
        session, event=str(Notice.UPDATED), message=told.to_document(), severity=alert.severity,
        model_id=alert.model_id, alert_id=alert.id, key=f"snooze:{snoozed.id}",
    )  # fmt: skip


def _about(session: Session, snoozed: Silence) -> Alert | None:
    """The alert that still fires: the snoozed one, or the drift alert that holds the snoozed feature responsible."""
    firing = select(Alert).where(Alert.state.in_(_FIRING))
    if snoozed.alert_id is not None:
        return session.scalar(firing.where(Alert.id == snoozed.alert_id))
    alert = session.scalar(firing.where(Alert.model_id == snoozed.model_id, Alert.cause == "drift", ~Alert.drill))
    return alert if alert is not None and snoozed.feature in alert.culprits else None
