"""What people do about alerts: take them, silence them, say what they were worth, and where messages go."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts import AlertSnapshot, AlertState, Message, Severity
from monitor.alerts import acknowledge as acknowledged
from monitor.db.alerts import SEVERITIES, Alert, Route, Silence, queue_messages
from monitor.db.audit import record
from monitor.db.jobs import enqueue
from monitor.db.registry import Model
from monitor.errors import BadInput, StaleDecision
from monitor.governance import Action, Actor, authorize

FEEDBACK = ("useful", "expected", "false")


def acknowledge(session: Session, alert: Alert, *, by: Actor, now: datetime) -> None:
    """Take a firing alert: others see who has it, and it does not escalate.

    Raises:
        NotAllowed: `by` may not take alerts.
        StaleDecision: it is not firing any more, or somebody has it.
    """
    authorize(by, Action.ACKNOWLEDGE)
    session.refresh(alert, with_for_update=True)
    if alert.state != "firing":
        raise StaleDecision(f"alert {alert.id} is {alert.state}, not firing: open it again")
    if alert.snapshot:
        alert.snapshot = acknowledged(AlertSnapshot.from_document(alert.snapshot)).snapshot.to_document()
    alert.state, alert.acknowledged_by, alert.acknowledged_at = "acknowledged", by.id, now
    session.flush()
    _record(session, "alert.acknowledged", alert, by=by, now=now)


def end_alert(
    session: Session, alert: Alert, *, title: str, resolution: str, reason: str, by: Actor, now: datetime
) -> None:
    """Resolve an alert by a decision that was guarded already; what fires later is a new alert, and not this one again.

    Args:
        title: what people are told, after the model's name.
        resolution: how it ended, as the alert shows it.
    """
    session.refresh(alert, with_for_update=True)
    model = session.get_one(Model, alert.model_id)
    alert.resolution, alert.state, alert.resolved_at = resolution, AlertState.RESOLVED, now
    if alert.snapshot:
        snapshot = AlertSnapshot.from_document(alert.snapshot)
        alert.snapshot = replace(snapshot, state=AlertState.RESOLVED, was_open=False).to_document()
    session.flush()
    _record(session, "alert.resolved", alert, by=by, now=now, reason=f"{resolution}: {reason}")
    line = f"{resolution[:1].upper()}{resolution[1:]}: {reason}"
    message = Message(
        title=f"{model.name}: {title}", severity=Severity(alert.severity), lines=(line,), resolved=True
    )  # fmt: skip
    owed = queue_messages(
        session, event="resolved", message=message.to_document(), severity=alert.severity, model_id=model.id,
        alert_id=alert.id, key=f"alert:{alert.id}:ended",
    )  # fmt: skip
    if owed:
        enqueue(session, "deliver", stream="deliver", payload={}, by=by.id)


def give_feedback(session: Session, alert: Alert, *, feedback: str, by: Actor, now: datetime) -> None:
    """Say what an alert was worth: useful, expected or false. Saying the same again is stale.

    Raises:
        NotAllowed: `by` may not judge alerts.
        BadInput: no such word.
        StaleDecision: it is marked so already.
    """
    authorize(by, Action.GIVE_FEEDBACK)
    if feedback not in FEEDBACK:
        raise BadInput(f"expected feedback among {', '.join(FEEDBACK)}, got {feedback!r}")
    session.refresh(alert, with_for_update=True)
    if alert.feedback == feedback:
        raise StaleDecision(f"alert {alert.id} is marked {feedback} already")
    alert.feedback = feedback
    session.flush()
    _record(session, "alert.feedback", alert, by=by, now=now, feedback=feedback)


def silence(
    session: Session, *, model: Model | None, cause: str | None, until: datetime, reason: str, by: Actor, now: datetime
) -> Silence:
    """Withhold messages about a model and cause until a moment of database time; alerts go on being recorded.

    Raises:
        NotAllowed: `by` may not silence.
        BadInput: no reason, or a moment that is past.
    """
    authorize(by, Action.ACKNOWLEDGE)
    if not reason.strip():
        raise BadInput("expected a reason for the silence, got none: say why, others will ask")
    if until <= now:
        raise BadInput(f"expected a silence that ends later than now, got {until:%Y-%m-%d %H:%M} UTC")
    silenced = Silence(
        model_id=model.id if model else None, cause=cause, reason=reason, author=by.id, until=until, created_at=now
    )
    session.add(silenced)
    session.flush()
    record(
        session, "alerts.silenced", by=by.id, subject=f"silence:{silenced.id}", at=now,
        model=model.name if model else None, cause=cause, until=until.isoformat(), reason=reason,
    )  # fmt: skip
    return silenced


def end_silence(session: Session, silenced: Silence, *, by: Actor, now: datetime) -> None:
    """Let messages through again.

    Raises:
        NotAllowed: `by` may not silence.
        StaleDecision: it is over already.
    """
    authorize(by, Action.ACKNOWLEDGE)
    session.refresh(silenced, with_for_update=True)
    if silenced.until <= now:
        raise StaleDecision(f"silence {silenced.id} is over already")
    silenced.until = now
    session.flush()
    record(session, "alerts.unsilenced", by=by.id, subject=f"silence:{silenced.id}", at=now)


def add_route(
    session: Session, *, name: str, url: str, model: Model | None, least_severity: str, by: Actor, now: datetime
) -> Route:
    """Send messages somewhere; the audit holds the channel's kind, never its address, which carries secrets.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: the name is taken, no such severity, or an address without a scheme.
    """
    authorize(by, Action.CONFIGURE)
    if least_severity not in SEVERITIES:
        raise BadInput(f"expected a severity among {', '.join(SEVERITIES)}, got {least_severity!r}")
    kind, colon, _ = url.partition(":")
    if not colon or not kind:
        raise BadInput("expected an apprise URL such as slack://…, console: or file:///path, got one without a scheme")
    if session.scalar(select(Route.id).where(Route.name == name)) is not None:
        raise BadInput(f"there is a route {name!r} already: choose another name")
    route = Route(name=name, url=url, model_id=model.id if model else None, least_severity=least_severity)
    session.add(route)
    session.flush()
    record(
        session, "route.added", by=by.id, subject=f"route:{route.id}", at=now, model=model.name if model else None,
        name=name, kind=kind, least_severity=least_severity,
    )  # fmt: skip
    return route


def _record(session: Session, action: str, alert: Alert, *, by: Actor, now: datetime, **details: str) -> None:
    model = session.get_one(Model, alert.model_id)
    record(session, action, by=by.id, subject=f"alert:{alert.id}", at=now, model=model.name, **details)
