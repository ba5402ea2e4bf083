"""The calendar of expected events, as people keep it. What was checked before an event was added stays as it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from monitor.alerts.calendar import ExpectedEvent
from monitor.db.audit import record
from monitor.db.calendar import CalendarEvent
from monitor.db.checks import CheckRun
from monitor.db.registry import Model
from monitor.errors import BadInput, NotFound, StaleDecision
from monitor.governance import Action, Actor, authorize
from monitor.windows import Window

MOST_AT_ONCE = 5_000


@dataclass(frozen=True, kw_only=True)
class Added:
    """What became of an import: events that are new, and events that were there already."""

    new: int
    known: int


def add_event(
    session: Session, event: ExpectedEvent, *, model: Model | None, by: Actor, now: datetime
) -> CalendarEvent:
    """Expect an event of one model, or of all models without one.

    Raises:
        NotAllowed: `by` may not configure.
        StaleDecision: the calendar holds it already.
    """
    authorize(by, Action.CONFIGURE)
    added = _insert(session, [event], model=model, by=by)
    if not added:
        raise StaleDecision(f"{event.name} from {event.span.start:%Y-%m-%d} is in the calendar already")
    row = session.get_one(CalendarEvent, added[0])
    record(
        session, "calendar.event_added", by=by.id, subject=f"event:{row.id}", at=now,
        model=model.name if model else None, name=row.name, starts=row.starts.isoformat(), ends=row.ends.isoformat(),
        yearly=row.yearly,
    )  # fmt: skip
    return row


def import_events(
    session: Session, events: Iterable[ExpectedEvent], *, model: Model | None, source: str, by: Actor, now: datetime
) -> Added:
    """Add the events of a file; those that are there already stay as they are, so that a file can be read again.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: no event, or more than 5,000.
    """
    authorize(by, Action.CONFIGURE)
    wanted = list(dict.fromkeys(events))
    if not 0 < len(wanted) <= MOST_AT_ONCE:
        raise BadInput(f"expected 1 to {MOST_AT_ONCE:,} events at once, got {len(wanted):,}")
    added = _insert(session, wanted, model=model, by=by)
    if added:
        record(
            session, "calendar.imported", by=by.id, subject=f"model:{model.id}" if model else "calendar", at=now,
            model=model.name if model else None, source=source, events=len(added), first=min(added), last=max(added),
        )  # fmt: skip
    return Added(new=len(added), known=len(wanted) - len(added))


def remove_event(session: Session, event_id: int, *, by: Actor, now: datetime) -> CalendarEvent:
    """Expect an event no more; windows that were left unjudged for it stay so.

    Raises:
        NotAllowed: `by` may not configure.
        NotFound: the calendar has no event of this number.
    """
    authorize(by, Action.CONFIGURE)
    row = session.get(CalendarEvent, event_id, with_for_update=True)
    if row is None:
        raise NotFound(f"the calendar has no event {event_id}: see holdfast calendar list")
    model = session.get(Model, row.model_id) if row.model_id is not None else None
    record(
        session, "calendar.event_removed", by=by.id, subject=f"event:{row.id}", at=now,
        model=model.name if model else None, name=row.name, starts=row.starts.isoformat(), ends=row.ends.isoformat(),
        yearly=row.yearly,
    )  # fmt: skip
    session.delete(row)
    session.flush()
    return row


def windows_judged(session: Session, event: ExpectedEvent, *, model: Model | None) -> int:
    """How many windows that the event overlaps were judged for drift before it was known; they stay as they are."""
    chosen = select(CheckRun.starts, CheckRun.ends).where(CheckRun.kind == "drift", CheckRun.status == "ok")
    if model is not None:
        chosen = chosen.where(CheckRun.model_id == model.id)
    if not event.yearly:
        chosen = chosen.where(CheckRun.starts < event.span.end, CheckRun.ends > event.span.start)
        return session.scalar(select(func.count()).select_from(chosen.distinct().subquery())) or 0
    return sum(event.overlaps(Window(starts, ends)) for starts, ends in session.execute(chosen.distinct()))


def _insert(session: Session, events: list[ExpectedEvent], *, model: Model | None, by: Actor) -> list[int]:
    rows = [
        {
            "model_id": model.id if model else None,
            "name": event.name,
            "starts": event.span.start,
            "ends": event.span.end,
            "yearly": event.yearly,
            "author": by.id,
        }
        for event in events
    ]
    added = insert(CalendarEvent).values(rows).on_conflict_do_nothing().returning(CalendarEvent.id)
    return list(session.scalars(added))
