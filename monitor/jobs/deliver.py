"""Brings owed messages to their channels: claim with a lease, send, then record. At least once, at most one doubled."""

import random
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session, aliased

from monitor.alerts import Message
from monitor.db.alerts import Outbox, Route
from monitor.db.engine import transaction
from monitor.db.jobs import Claimed
from monitor.errors import JobReleased
from monitor.jobs.context import Tools, effect
from monitor.notify.channels import Delivery, send

log = structlog.get_logger()

LEASE = timedelta(seconds=60)
GIVE_UP_AFTER = timedelta(hours=72)
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(hours=1)
_NOW = func.clock_timestamp()


@dataclass(frozen=True, kw_only=True)
class _Owed:
    """A message that this worker holds until its lease lapses."""

    id: int
    token: str
    url: str
    route: str
    event: str
    attempts: int
    message: dict[str, Any]


def run(tools: Tools, job: Claimed) -> None:
    """Send every message that is due."""
    send_due(tools)
    if tools.stopping():
        raise JobReleased("stopped between two messages")
    with effect(tools, job, point="deliver"):
        return


def send_due(tools: Tools) -> list[str]:
    """Send every message that is due; what became of each, in a sentence."""
    told = []
    while not tools.stopping():
        with transaction(tools.engine) as session:
            owed = _claim(session)
        if owed is None:
            break
        tools.failpoints.reach("deliver.before_send")
        delivery = send(owed.url, Message.from_document(owed.message), owed.event)
        tools.failpoints.reach("deliver.after_send")
        with transaction(tools.engine) as session:
            _record(session, owed, delivery)
        told.append(f"{owed.route}: {delivery.detail}")
    return told


def _claim(session: Session) -> _Owed | None:
    """The next due message; one of an alert waits for the earlier ones of the same alert and route."""
    earlier = aliased(Outbox)
    blocked = (
        select(earlier.id)
        .where(
            earlier.alert_id == Outbox.alert_id, earlier.route_id == Outbox.route_id, earlier.id < Outbox.id,
            earlier.state == "queued",
        )
        .exists()
    )  # fmt: skip
    free = or_(Outbox.lease_until.is_(None), Outbox.lease_until < _NOW)
    row = session.execute(
        select(Outbox, Route)
        .join(Route, Route.id == Outbox.route_id)
        .where(Outbox.state == "queued", Outbox.run_at <= _NOW, free, ~blocked)
        .order_by(Outbox.run_at, Outbox.id)
        .limit(1)
        .with_for_update(of=Outbox, skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    outbox, route = row
    token, attempts = uuid.uuid4().hex, outbox.attempts + 1
    taken = {"token": token, "lease_until": _NOW + LEASE, "attempts": attempts}
    session.execute(update(Outbox).where(Outbox.id == outbox.id).values(**taken))
    return _Owed(
        id=outbox.id, token=token, url=route.url, route=route.name, event=outbox.event, attempts=attempts,
        message=outbox.message,
    )  # fmt: skip


def _record(session: Session, owed: _Owed, told: Delivery) -> None:
    """Write what became of it: sent, to be tried again, or dead after three days or a refusal."""
    held = update(Outbox).where(Outbox.id == owed.id, Outbox.token == owed.token)
    if told.ok:
        session.execute(held.values(state="sent", sent_at=_NOW, lease_until=None, last_error=None))
        return
    age = session.scalar(select(_NOW - Outbox.created_at).where(Outbox.id == owed.id)) or timedelta(0)
    dead = told.permanent or age > GIVE_UP_AFTER
    after = {"state": "dead"} if dead else {"run_at": _NOW + pause(owed.attempts, random.random())}
    session.execute(held.values(lease_until=None, last_error=told.detail, **after))
    log.warning("a message was not delivered", route=owed.route, dead=dead, why=told.detail, attempt=owed.attempts)


def pause(attempts: int, share: float) -> timedelta:
    """How long to wait after so many attempts: between half and all of 5, 10, 20, … seconds, at most an hour.

    >>> pause(1, 0.0), pause(3, 1.0)
    (datetime.timedelta(seconds=2, microseconds=500000), datetime.timedelta(seconds=20))
    """
    longest = min(_FIRST_PAUSE * (1 << min(attempts - 1, 20)), _LONGEST_PAUSE)
    return longest * (0.5 + share / 2)
