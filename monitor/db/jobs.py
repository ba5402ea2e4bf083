"""The table of jobs: leases on rows, so that any number of workers share one PostgreSQL."""

import random
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Index, Update, exists, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only
from monitor.errors import LeaseLost

LIVE = ("queued", "running")
MOST_ATTEMPTS = 5
_FIRST_BACKOFF = timedelta(seconds=2)
_LONGEST_BACKOFF = timedelta(minutes=10)
_NOW = func.clock_timestamp()  # leases run on while a transaction is open, so the time of the statement counts
JOB_STATES = ("queued", "running", "done", "dead", "cancelled")


class Job(Base):
    """One piece of work.

    `stream` names what must not run twice at once: the database holds one live job a stream.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        only("state", JOB_STATES),
        Index(
            "uq_jobs_one_live_stream", "stream", unique=True, postgresql_where=text("state IN ('queued', 'running')")
        ),
        Index("ix_jobs_due", "run_at", postgresql_where=text("state = 'queued'")),
    )

    id: Mapped[Id]
    kind: Mapped[str]
    stream: Mapped[str]
    payload: Mapped[Json] = mapped_column(default=dict)
    state: Mapped[str] = mapped_column(default="queued")
    run_at: Mapped[CreatedAt]
    lease_until: Mapped[datetime | None]
    token: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    last_error: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[datetime | None]


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job that this worker holds until its lease lapses; `token` proves it."""

    id: int
    kind: str
    stream: str
    payload: Json
    token: str
    attempts: int


def enqueue(
    session: Session, kind: str, *, stream: str, payload: Json, by: str, run_at: datetime | None = None
) -> int | None:
    """Queue a job; None when the stream already has one that is queued or running."""
    values: dict[str, Any] = {"kind": kind, "stream": stream, "payload": payload, "created_by": by}
    if run_at is not None:
        values["run_at"] = run_at
    added = insert(Job).values(**values).on_conflict_do_nothing().returning(Job.id)
    return session.scalar(added)


def claim(
    session: Session, *, worker: str, lease: timedelta, kinds: Iterable[str] | None = None,
    versions: Iterable[int] | None = None,
) -> Claimed | None:  # fmt: skip
    """Take the job that has been due longest, passing over those that another session is taking.

    `kinds` takes these kinds alone, `versions` the jobs about these versions alone.
    Lapsed leases come back through `reap`. The claim holds once the caller's transaction commits.
    """
    due = select(Job.id).where(Job.state == "queued", Job.run_at <= _NOW).order_by(Job.run_at, Job.id).limit(1)
    wanted = due.with_for_update(skip_locked=True)
    if kinds is not None:
        wanted = wanted.where(Job.kind.in_(list(kinds)))
    if versions is not None:
        wanted = wanted.where(Job.payload["version_id"].as_integer().in_(list(versions)))
    job_id = session.scalar(wanted)
    if job_id is None:
        return None
    token = f"{worker}/{uuid.uuid4().hex}"
    taken = (
        update(Job)
        .where(Job.id == job_id)
        .values(state="running", token=token, lease_until=_NOW + lease, attempts=Job.attempts + 1)
        .returning(Job.id, Job.kind, Job.stream, Job.payload, Job.attempts)
    )
    row = session.execute(taken, execution_options={"synchronize_session": False}).one()
    return Claimed(id=row.id, kind=row.kind, stream=row.stream, payload=row.payload, token=token, attempts=row.attempts)


def heartbeat(session: Session, claimed: Claimed, lease: timedelta) -> None:
    """Hold the job for another `lease` from now."""
    _guarded(session, claimed, _held(claimed).values(lease_until=_NOW + lease))


def complete(session: Session, claimed: Claimed) -> None:
    """Mark the job done, in the transaction of its effect: a worker that lost the lease rolls both back."""
    done = _held(claimed).values(state="done", finished_at=_NOW, lease_until=None, last_error=None)
    _guarded(session, claimed, done)


def fail(session: Session, claimed: Claimed, error: str) -> str:
    """Store why the job failed and queue it again after a random pause; after five attempts it is dead.

    Returns the state that the job is in now: queued, dead, or cancelled when somebody asked for that.
    """
    row = session.execute(
        select(Job.attempts, Job.cancel_requested).where(Job.id == claimed.id, Job.token == claimed.token)
    ).one_or_none()
    if row is None:
        raise LeaseLost(_lost(claimed))
    state = "cancelled" if row.cancel_requested else "dead" if row.attempts >= MOST_ATTEMPTS else "queued"
    values: dict[str, Any] = {"state": state, "last_error": error, "lease_until": None, "token": None}
    if state == "queued":
        values["run_at"] = _NOW + backoff(row.attempts, random.random())
    else:
        values["finished_at"] = _NOW
    _guarded(session, claimed, _held(claimed).values(**values))
    return state


def backoff(attempts: int, share: float) -> timedelta:
    """How long to wait after so many attempts: a `share` in [0, 1) of 2, 4, 8, … seconds (full jitter)."""
    return share * min(_FIRST_BACKOFF * (1 << (attempts - 1)), _LONGEST_BACKOFF)


def reap(session: Session) -> int:
    """Give back the jobs whose lease lapsed; those that were tried five times, or were to be cancelled, end here."""
    lapsed: ColumnElement[bool] = (Job.state == "running") & (Job.lease_until < _NOW)
    locked = select(Job.id, Job.attempts, Job.cancel_requested).where(lapsed).with_for_update(skip_locked=True)
    rows = session.execute(locked).all()
    for row in rows:
        state = "cancelled" if row.cancel_requested else "dead" if row.attempts >= MOST_ATTEMPTS else "queued"
        values: dict[str, Any] = {"state": state, "token": None, "lease_until": None}
        if state != "queued":
            values |= {"finished_at": _NOW, "last_error": "the lease lapsed: the worker died or froze"}
        _execute(session, update(Job).where(Job.id == row.id).values(**values))
    return len(rows)


def request_cancel(session: Session, job_id: int) -> bool:
    """End a queued job at once and ask a running one to stop; False when it had already ended."""
    dropped = update(Job).where(Job.id == job_id, Job.state == "queued")
    if _execute(session, dropped.values(state="cancelled", cancel_requested=True, finished_at=_NOW)):
        return True
    asked = update(Job).where(Job.id == job_id, Job.state == "running").values(cancel_requested=True)
    return _execute(session, asked) == 1


def cancelled(session: Session, claimed: Claimed) -> bool:
    """Whether somebody asked this job to stop."""
    asked = select(Job.cancel_requested).where(Job.id == claimed.id, Job.token == claimed.token)
    found = session.scalar(asked)
    if found is None:
        raise LeaseLost(_lost(claimed))
    return found


def end_cancelled(session: Session, claimed: Claimed) -> None:
    """Mark a job that stopped on request."""
    _guarded(session, claimed, _held(claimed).values(state="cancelled", finished_at=_NOW, lease_until=None))


def release(session: Session, claimed: Claimed) -> None:
    """Give a job back unharmed, to be claimed at once by another worker."""
    back = {"state": "queued", "token": None, "lease_until": None, "attempts": Job.attempts - 1, "run_at": _NOW}
    _guarded(session, claimed, _held(claimed).values(**back))


def has_live(session: Session) -> bool:
    """Whether any job is queued or running, due or not."""
    return bool(session.scalar(select(exists(select(literal(1)).where(Job.state.in_(LIVE))))))


def _held(claimed: Claimed) -> Update:
    return update(Job).where(Job.id == claimed.id, Job.token == claimed.token, Job.state == "running")


def _guarded(session: Session, claimed: Claimed, change: Update) -> None:
    if _execute(session, change) != 1:
        raise LeaseLost(_lost(claimed))


def _execute(session: Session, change: Update) -> int:
    """How many rows the change met."""
    changed = change.returning(Job.id)
    return len(session.execute(changed, execution_options={"synchronize_session": False}).all())


def _lost(claimed: Claimed) -> str:
    return f"job {claimed.id} ({claimed.kind}) is no longer held by {claimed.token}: another worker may have it"
