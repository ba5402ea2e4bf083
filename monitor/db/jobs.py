"""The table of jobs: leases on rows, so that any number of workers share one PostgreSQL."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only

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
