"""The alarm clock: every few seconds it plans what is due, takes back lapsed leases and expires old proposals.

APScheduler only rings. Schedules are rows of ours, and two schedulers are harmless: whatever they do is idempotent.
"""

import threading
from collections.abc import Callable

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine

from monitor.acts.envelopes import decide_due
from monitor.acts.retraining import expire_due
from monitor.db.audit_heads import Keeper, sign_newest
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import reap
from monitor.jobs.nights import plan_nights
from monitor.jobs.plan import plan

log = structlog.get_logger()
SIGN_SECONDS = 300.0


def tick(engine: Engine) -> None:
    """One ring; nothing that goes wrong may stop the clock."""
    for name, act in _ACTS.items():
        try:
            act(engine)
        except Exception as error:
            log.error("the scheduler's tick failed", act=name, error=f"{type(error).__name__}: {error}")


def _reap(engine: Engine) -> None:
    with transaction(engine) as session:
        returned = reap(session)
    if returned:
        log.warning("took back jobs of a dead or frozen worker", jobs=returned)


def _plan(engine: Engine) -> None:
    with transaction(engine) as session:
        plan(session)


def _nights(engine: Engine) -> None:
    with transaction(engine) as session:
        plan_nights(session, database_now(session))


def _expire(engine: Engine) -> None:
    with transaction(engine) as session:
        expire_due(session, database_now(session))


def _decide(engine: Engine) -> None:
    with transaction(engine) as session:
        decide_due(session, database_now(session))


_ACTS: dict[str, Callable[[Engine], None]] = {
    "reap": _reap,
    "plan": _plan,
    "nights": _nights,
    "expire": _expire,
    "decide": _decide,
}


def keep_head(engine: Engine, keeper: Keeper) -> None:
    """Sign the newest entry of the audit trail where it grew; nothing that goes wrong may stop the clock."""
    try:
        with transaction(engine) as session:
            sign_newest(session, keeper)
    except Exception as error:
        log.error("the head of the audit trail was not signed", error=f"{type(error).__name__}: {error}")


def start(engine: Engine, *, every_seconds: float = 1.0, keeper: Keeper | None = None) -> BackgroundScheduler:
    """A running clock in a thread of its own; `shutdown()` ends it."""
    clock = BackgroundScheduler(timezone="UTC")
    clock.add_job(
        tick, "interval", seconds=every_seconds, args=[engine], id="tick", coalesce=True, max_instances=1,
        misfire_grace_time=None,
    )  # fmt: skip
    if keeper is not None:
        clock.add_job(
            keep_head, "interval", seconds=SIGN_SECONDS, args=[engine, keeper], id="keep_head", coalesce=True,
            max_instances=1, misfire_grace_time=None,
        )  # fmt: skip
    clock.start()
    return clock


def run(engine: Engine, *, every_seconds: float = 1.0, stop: threading.Event, keeper: Keeper | None = None) -> None:
    """Ring until `stop` is set."""
    clock = start(engine, every_seconds=every_seconds, keeper=keeper)
    stop.wait()
    clock.shutdown()
