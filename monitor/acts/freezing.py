"""Freeze: every automatic act on a model, or on all, stops until a person lifts it; people may still act."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.registry import Model
from monitor.db.retraining import Freeze
from monitor.errors import BadInput, StaleDecision
from monitor.governance import Action, Actor, authorize

EVERYTHING = "platform"


def freeze(session: Session, model: Model, *, by: Actor, reason: str, now: datetime) -> None:
    """Stop every automatic act on a model.

    Raises:
        NotAllowed: `by` may not freeze.
        StaleDecision: it is frozen already.
    """
    _set_frozen(session, model, True, by=by, reason=reason, now=now)


def unfreeze(session: Session, model: Model, *, by: Actor, reason: str, now: datetime) -> None:
    """Let policy act on a model again."""
    _set_frozen(session, model, False, by=by, reason=reason, now=now)


def freeze_all(session: Session, *, by: Actor, reason: str, now: datetime) -> None:
    """Stop every automatic act on every model, those to come included.

    Raises:
        NotAllowed: `by` may not freeze.
        StaleDecision: everything is frozen already.
    """
    authorize(by, Action.FREEZE)
    _require_reason(reason)
    if standing_freeze(session, lock=True) is not None:
        raise StaleDecision("everything is frozen already")
    session.add(Freeze(frozen_by=by.id, reason=reason, frozen_at=now))
    session.flush()
    record(session, "platform.frozen", by=by.id, subject=EVERYTHING, at=now, reason=reason)


def unfreeze_all(session: Session, *, by: Actor, reason: str, now: datetime) -> None:
    """Lift the freeze of everything; models that were frozen one by one stay so."""
    authorize(by, Action.FREEZE)
    _require_reason(reason)
    standing = standing_freeze(session, lock=True)
    if standing is None:
        raise StaleDecision("everything is unfrozen already")
    standing.lifted_by, standing.lifted_at = by.id, now
    session.flush()
    record(session, "platform.unfrozen", by=by.id, subject=EVERYTHING, at=now, reason=reason)


def standing_freeze(session: Session, *, lock: bool = False) -> Freeze | None:
    """The freeze of everything, None when there is none."""
    chosen = select(Freeze).where(Freeze.lifted_at.is_(None)).order_by(Freeze.id).limit(1)
    return session.scalar(chosen.with_for_update() if lock else chosen)


def is_frozen(session: Session, model: Model) -> bool:
    """Whether policy may not act on this model now."""
    return model.frozen or model.retired_at is not None or standing_freeze(session) is not None


def _set_frozen(session: Session, model: Model, frozen: bool, *, by: Actor, reason: str, now: datetime) -> None:
    authorize(by, Action.FREEZE)
    session.refresh(model, with_for_update={"key_share": True})
    word = "frozen" if frozen else "unfrozen"
    if model.frozen == frozen:
        raise StaleDecision(f"model {model.name} is {word} already")
    model.frozen = frozen
    session.flush()
    record(session, f"model.{word}", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, reason=reason)


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise BadInput("expected a reason: others will ask why everything stood still")
