"""The calendar of expected events: of one model, or of all."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, or_, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.alerts.calendar import ExpectedEvent
from monitor.db.base import Base, CreatedAt, Id
from monitor.db.registry import Model
from monitor.windows import Window


class CalendarEvent(Base):
    """An event [starts, ends) that explains a window beforehand; without `model_id` it is expected of every model."""

    __tablename__ = "calendar_events"
    __table_args__ = (
        UniqueConstraint("model_id", "name", "starts", "ends", postgresql_nulls_not_distinct=True),
        CheckConstraint("starts < ends", name="event_forward"),
    )

    id: Mapped[Id]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str]
    starts: Mapped[datetime]
    ends: Mapped[datetime]
    yearly: Mapped[bool] = mapped_column(default=False)
    author: Mapped[str]
    created_at: Mapped[CreatedAt]

    @property
    def span(self) -> Window:
        return Window(self.starts, self.ends)


def calendar_of(session: Session, model: Model) -> list[CalendarEvent]:
    """The events that are expected of a model, its own and everybody's, in order of time."""
    about = or_(CalendarEvent.model_id.is_(None), CalendarEvent.model_id == model.id)
    return list(session.scalars(select(CalendarEvent).where(about).order_by(CalendarEvent.starts, CalendarEvent.id)))


def whole_calendar(session: Session) -> list[tuple[CalendarEvent, str | None]]:
    """Every event with the name of its model, None for all models, in order of time."""
    chosen = select(CalendarEvent, Model.name).outerjoin(Model, Model.id == CalendarEvent.model_id)
    rows = session.execute(chosen.order_by(CalendarEvent.starts, CalendarEvent.id))
    return [(event, name) for event, name in rows]


def expected_events(session: Session, model: Model) -> list[ExpectedEvent]:
    """The same as `calendar_of`, for the checks."""
    return [ExpectedEvent(name=row.name, span=row.span, yearly=row.yearly) for row in calendar_of(session, model)]
