"""Alerts and the outbox by which they reach people."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only

ALERT_KINDS = ("drift", "quality", "performance", "robustness")
ALERT_STATES = ("pending", "firing", "acknowledged", "resolved", "no_data", "error")
SEVERITIES = ("page", "ticket", "info")
DELIVERY_STATES = ("queued", "sent", "dead")


class Alert(Base):
    """A firing rule on findings. At most one live alert per (model, cause)."""

    __tablename__ = "alerts"
    __table_args__ = (
        only("kind", ALERT_KINDS),
        only("state", ALERT_STATES),
        only("severity", SEVERITIES),
        Index("uq_alerts_one_live", "model_id", "cause", unique=True, postgresql_where=text("state <> 'resolved'")),
        Index("ix_alerts_model", "model_id", "opened_at"),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    kind: Mapped[str]
    cause: Mapped[str]  # the grouping key within a model: "quality", "performance", "drift", "robustness", "drill:…"
    severity: Mapped[str]
    state: Mapped[str]
    verdict: Mapped[str]
    starts: Mapped[datetime]  # of the first window that fired
    ends: Mapped[datetime]  # of the last window that fired
    culprits: Mapped[list[str]] = mapped_column(default=list)
    message: Mapped[Json] = mapped_column(default=dict)  # alerts.message.Message as a document
    snapshot: Mapped[Json] = mapped_column(default=dict)  # alerts.lifecycle state: counts of windows, worst effect
    revised: Mapped[bool] = mapped_column(default=False)
    drill: Mapped[bool] = mapped_column(default=False)
    opened_at: Mapped[CreatedAt]
    acknowledged_by: Mapped[str | None]
    acknowledged_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    feedback: Mapped[str | None]


class Route(Base):
    """Where messages go: an apprise URL, `console:` or `file:///path`. Without `model_id` it serves every model."""

    __tablename__ = "routes"
    __table_args__ = (UniqueConstraint("name"), only("least_severity", SEVERITIES))

    id: Mapped[Id]
    name: Mapped[str]
    url: Mapped[str]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    least_severity: Mapped[str] = mapped_column(default="info")
    enabled: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[CreatedAt]


class Outbox(Base):
    """A message that is owed, written in the transaction that changed the state. `key` makes a repeat harmless."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("key"),
        only("state", DELIVERY_STATES),
        Index("ix_outbox_due", "state", "run_at"),
    )

    id: Mapped[Id]
    key: Mapped[str]
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id"))
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    route_id: Mapped[int] = mapped_column(ForeignKey("routes.id", ondelete="CASCADE"))
    event: Mapped[str]  # fired, updated, resolved, proposed, promoted, rolled_back, drill
    message: Mapped[Json]
    state: Mapped[str] = mapped_column(default="queued")
    attempts: Mapped[int] = mapped_column(default=0)
    run_at: Mapped[CreatedAt]
    lease_until: Mapped[datetime | None]
    token: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
