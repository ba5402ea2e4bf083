"""Long stress tests at night, by the clock and not by stream time: a replay of a year runs none."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.stress import JOB, NIGHTLY, NIGHTLY_REFERENCE, Order
from monitor.db.jobs import enqueue
from monitor.db.registry import Model, ModelSettings, Monitor, Version
from monitor.jobs.stress_rows import On

BY = "plan"
_PLANNED = "night"  # in the stress monitor's settings: the last night that was planned
_NIGHTS = ((NIGHTLY, On.RECENT), (NIGHTLY_REFERENCE, On.REFERENCE))


def plan_nights(session: Session, now: datetime) -> int:
    """Queue the campaigns of every champion whose night has come; how many jobs.

    A night that was slept through is made up for when the platform runs again. A model's first night is the one after
    it was first seen here.
    """
    rows = session.execute(
        select(Monitor, Model, Version)
        .join(Model, Model.id == Monitor.model_id)
        .join(Version, Version.id == Model.champion_id)
        .where(Monitor.kind == "stress", Monitor.enabled, Version.flavour != "none")
        .order_by(Monitor.id)
    ).all()
    return sum(_plan(session, monitor, ModelSettings.of(model), version, now) for monitor, model, version in rows)


def last_night(now: datetime, hour: int) -> datetime:
    """The newest moment until `now` at which the clock showed the hour.

    >>> from datetime import UTC
    >>> last_night(datetime(2026, 3, 2, 1, 30, tzinfo=UTC), 2).isoformat()
    '2026-03-01T02:00:00+00:00'
    """
    tonight = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return tonight if tonight <= now else tonight - timedelta(days=1)


def _plan(session: Session, monitor: Monitor, settings: ModelSettings, version: Version, now: datetime) -> int:
    if settings.nightly_hour is None:
        return 0
    night, planned = last_night(now, settings.nightly_hour), monitor.settings.get(_PLANNED)
    if planned is not None and night - datetime.fromisoformat(planned) < timedelta(days=settings.nightly_every_days):
        return 0
    session.refresh(monitor, with_for_update=True)
    if monitor.settings.get(_PLANNED) != planned:
        return 0  # another scheduler was here
    monitor.settings = monitor.settings | {_PLANNED: night.isoformat()}
    if planned is None:
        return 0
    orders = [Order(version_id=version.id, purpose=purpose, plan="nightly", on=on) for purpose, on in _NIGHTS]
    return sum(
        enqueue(session, JOB, stream=order.stream, payload=order.to_payload(), by=BY) is not None for order in orders
    )
