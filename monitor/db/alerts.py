"""Alerts and the outbox by which they reach people."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    Select,
    UniqueConstraint,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only

ALERT_KINDS = ("drift", "quality", "performance", "robustness", "evidently")
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
    cause: Mapped[str]  # the grouping key within a model: "quality", "drift", "drift:channel=app", "drill:…", …
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
    resolution: Mapped[str | None]  # how a person ended it; None where the checks did


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


class Silence(Base):
    """Messages about a model and cause are withheld until `until`; without them, about all models or causes.

    With an alert, or a feature of a model, it is a snooze: it withholds messages about that alert, or about drift of
    that feature alone, and once it is over somebody looks whether it still fires (`woken_at`: that was done).
    """

    __tablename__ = "silences"
    __table_args__ = (
        Index("ix_silences_until", "until"),
        CheckConstraint("feature IS NULL OR model_id IS NOT NULL", name="feature_of_a_model"),
    )

    id: Mapped[Id]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    cause: Mapped[str | None]
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id"))
    feature: Mapped[str | None]
    reason: Mapped[str]
    author: Mapped[str]
    until: Mapped[datetime]
    woken_at: Mapped[datetime | None]
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


def queue_messages(
    session: Session, *, event: str, message: Json, severity: str, model_id: int | None, alert_id: int | None = None,
    key: str, only_route: int | None = None,
) -> int:  # fmt: skip
    """Owe a message to every enabled route that wants this severity of this model; how many are new.

    A second call with the same `key` owes nothing more. A silence withholds messages about an alert of its cause, and
    messages about no alert when it names no cause; a snooze withholds those about its alert or feature. `only_route`
    sends to that route alone, silenced or not.
    """
    if only_route is None and _silenced(session, model_id, alert_id):
        return 0
    wanted = select(Route.id).where(
        Route.enabled,
        or_(Route.model_id.is_(None), Route.model_id == model_id),
        Route.least_severity.in_(SEVERITIES[SEVERITIES.index(severity) :]),
    )
    if only_route is not None:
        wanted = select(Route.id).where(Route.id == only_route)
    owed = [
        {
            "key": f"{key}:{route_id}",
            "alert_id": alert_id,
            "model_id": model_id,
            "route_id": route_id,
            "event": event,
            "message": message,
        }
        for route_id in session.scalars(wanted.order_by(Route.id))
    ]
    if not owed:
        return 0
    added = insert(Outbox).values(owed).on_conflict_do_nothing(index_elements=["key"]).returning(Outbox.id)
    return len(session.scalars(added).all())


def _silenced(session: Session, model_id: int | None, alert_id: int | None) -> bool:
    alert = session.get(Alert, alert_id) if alert_id is not None else None
    standing = session.scalars(standing_silences().where(_about(model_id))).all()
    if alert is not None and snooze_of(alert, standing) is not None:
        return True
    plain = [silence for silence in standing if silence.alert_id is None and silence.feature is None]
    return any(silence.cause is None or (alert and alert.cause == silence.cause) for silence in plain)


def standing_silences() -> Select[Silence]:
    """The silences and snoozes that are not over by database time, the longest first."""
    return select(Silence).where(Silence.until > func.now()).order_by(Silence.until.desc(), Silence.id)


def snooze_of(alert: Alert, standing: Sequence[Silence]) -> Silence | None:
    """The snooze that an alert is under: its own, or for drift those of all its culprits, of which the first to end."""
    own = [silence for silence in standing if silence.alert_id == alert.id]
    if own:
        return own[0]
    if alert.cause != "drift" or not alert.culprits:
        return None
    of = {silence.feature: silence for silence in standing if silence.model_id == alert.model_id}
    if not set(alert.culprits) <= set(of):
        return None
    return min((of[culprit] for culprit in alert.culprits), key=lambda silence: silence.until)


def _about(model_id: int | None) -> ColumnElement[bool]:
    return or_(Silence.model_id.is_(None), Silence.model_id == model_id)


def due_wakes(session: Session, now: datetime) -> list[Silence]:
    """The snoozes that are over and after which nobody has looked yet, locked; one a person ended is not among them."""
    snoozed = or_(Silence.alert_id.is_not(None), Silence.feature.is_not(None))
    over = select(Silence).where(snoozed, Silence.until <= now, Silence.woken_at.is_(None)).order_by(Silence.id)
    return list(session.scalars(over.with_for_update(skip_locked=True)))
