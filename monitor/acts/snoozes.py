"""Not now: an alert, or a feature, is left in peace until a moment; then it speaks once if it still fires."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from monitor.db.alerts import Alert, Silence
from monitor.db.audit import record
from monitor.db.registry import Model, feature_schema, schema_of
from monitor.errors import BadInput, StaleDecision
from monitor.governance import Action, Actor, authorize

LONGEST = timedelta(days=90)
_LIVE = ("firing", "acknowledged", "no_data", "error")


def snooze_alert(session: Session, alert: Alert, *, until: datetime, reason: str, by: Actor, now: datetime) -> Silence:
    """Withhold every message about an alert until a moment of database time; it stays on the list, as snoozed.

    Raises:
        NotAllowed: `by` may not silence.
        BadInput: no reason, or a moment that is past or more than 90 days away.
        StaleDecision: the alert is over, or is snoozed until this very moment.
    """
    _check(by, until=until, reason=reason, now=now)
    session.refresh(alert, with_for_update=True)
    if alert.state not in _LIVE:
        raise StaleDecision(f"alert {alert.id} is {alert.state}: there is nothing to snooze")
    model = session.get_one(Model, alert.model_id)
    standing = session.scalars(_standing(now).where(Silence.alert_id == alert.id)).all()
    return _snooze(
        session, standing, Silence(model_id=model.id, alert_id=alert.id, author=by.id, reason=reason, until=until),
        model=model, subject=f"alert:{alert.id}", by=by, now=now,
    )  # fmt: skip


def snooze_feature(
    session: Session, model: Model, feature: str, *, until: datetime, reason: str, by: Actor, now: datetime
) -> Silence:
    """Withhold messages about drift of one feature; an alert speaks as soon as another feature is in it too.

    Raises:
        NotAllowed: `by` may not silence.
        BadInput: no such feature, no reason, or a moment that is past or more than 90 days away.
        StaleDecision: it is snoozed until this very moment.
    """
    _check(by, until=until, reason=reason, now=now)
    session.refresh(model, with_for_update={"key_share": True})
    known = schema_of(feature_schema(session, model)).names
    if feature not in known:
        raise BadInput(f"expected a feature of {model.name} ({', '.join(known)}), got {feature!r}")
    standing = session.scalars(_standing(now).where(Silence.model_id == model.id, Silence.feature == feature)).all()
    return _snooze(
        session, standing, Silence(model_id=model.id, feature=feature, author=by.id, reason=reason, until=until),
        model=model, subject=f"model:{model.id}", by=by, now=now,
    )  # fmt: skip


def wake_alert(session: Session, alert: Alert, *, by: Actor, now: datetime) -> None:
    """Let messages about an alert through again from now on; what was withheld meanwhile is not sent.

    Raises:
        NotAllowed: `by` may not silence.
        StaleDecision: it is not snoozed, or is quiet because its features are.
    """
    authorize(by, Action.ACKNOWLEDGE)
    standing = session.scalars(_standing(now).where(Silence.alert_id == alert.id)).all()
    if not standing:
        raise StaleDecision(f"alert {alert.id} is not snoozed itself: see whether its features are")
    _end(session, standing, session.get_one(Model, alert.model_id), subject=f"alert:{alert.id}", by=by, now=now)


def wake_feature(session: Session, model: Model, feature: str, *, by: Actor, now: datetime) -> None:
    """Let messages about drift of a feature through again from now on; what was withheld meanwhile is not sent.

    Raises:
        NotAllowed: `by` may not silence.
        StaleDecision: it is not snoozed.
    """
    authorize(by, Action.ACKNOWLEDGE)
    standing = session.scalars(_standing(now).where(Silence.model_id == model.id, Silence.feature == feature)).all()
    if not standing:
        raise StaleDecision(f"{feature} of {model.name} is not snoozed")
    _end(session, standing, model, subject=f"model:{model.id}", by=by, now=now)


def _end(
    session: Session, standing: Sequence[Silence], model: Model, *, subject: str, by: Actor, now: datetime
) -> None:
    for snoozed in standing:
        snoozed.until = snoozed.woken_at = now
    session.flush()
    feature = standing[0].feature
    record(
        session, "feature.woken" if feature else "alert.woken", by=by.id, subject=subject, at=now, model=model.name,
        feature=feature,
    )  # fmt: skip


def _check(by: Actor, *, until: datetime, reason: str, now: datetime) -> None:
    authorize(by, Action.ACKNOWLEDGE)
    if not reason.strip():
        raise BadInput("expected a reason for the snooze, got none: say why, others will ask")
    if not now < until <= now + LONGEST:
        raise BadInput(
            f"expected a snooze that ends later than now and within {LONGEST.days} days, "
            f"got {until:%Y-%m-%d %H:%M} UTC; for longer, mute the feature or accept the new baseline"
        )


def _standing(now: datetime) -> Select[Silence]:
    return select(Silence).where(Silence.until > now).with_for_update()


def _snooze(
    session: Session, standing: Sequence[Silence], asked: Silence, *, model: Model, subject: str, by: Actor,
    now: datetime,
) -> Silence:  # fmt: skip
    """Write the snooze in place of those that stand."""
    for old in standing:
        if old.until == asked.until:
            raise StaleDecision(f"this is snoozed until {old.until:%Y-%m-%d %H:%M} UTC already, by {old.author}")
        old.until = old.woken_at = now
    asked.created_at = now
    session.add(asked)
    session.flush()
    record(
        session, "feature.snoozed" if asked.feature else "alert.snoozed", by=by.id, subject=subject, at=now,
        model=model.name, feature=asked.feature,
        until=asked.until.isoformat(), reason=asked.reason,
    )  # fmt: skip
    return asked
