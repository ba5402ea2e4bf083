"""What waits in quarantine, in groups of rows with the same reason."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.db.quarantine import Quarantined, group_of
from monitor.db.registry import Model, model_named

SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class QuarantineGroup:
    """Rows that were refused for one reason."""

    reason: str
    rows: int
    sources: tuple[str, ...]
    first: datetime
    last: datetime
    oldest_id: int


@dataclass(frozen=True, kw_only=True)
class QuarantinedLine:
    """One refused row."""

    id: int
    reason: str
    raw: str
    source: str
    received_at: datetime


def quarantine_groups(session: Session, name: str) -> list[QuarantineGroup]:
    """The groups that wait for a decision, the largest first."""
    group = group_of(Quarantined.reason)
    counted = (
        select(
            group.label("reason"),
            func.count(),
            func.array_agg(func.distinct(Quarantined.source)),
            func.min(Quarantined.received_at),
            func.max(Quarantined.received_at),
            func.min(Quarantined.id),
        )
        .where(Quarantined.model_id == model_named(session, name).id, Quarantined.reviewed_at.is_(None))
        .group_by(group)
        .order_by(func.count().desc(), group)
    )
    return [
        QuarantineGroup(
            reason=reason, rows=rows, sources=tuple(sorted(sources)), first=first, last=last, oldest_id=oldest
        )
        for reason, rows, sources, first, last, oldest in session.execute(counted)
    ]  # fmt: skip


def quarantine_examples(session: Session, name: str, reason: str, *, most: int = SHOWN) -> list[QuarantinedLine]:
    """The newest rows of the groups whose reason begins so."""
    chosen = (
        select(Quarantined)
        .where(
            Quarantined.model_id == model_named(session, name).id,
            Quarantined.reviewed_at.is_(None),
            group_of(Quarantined.reason).startswith(reason, autoescape=True),
        )
        .order_by(Quarantined.id.desc())
        .limit(most)
    )
    return [
        QuarantinedLine(id=row.id, reason=row.reason, raw=row.raw, source=row.source, received_at=row.received_at)
        for row in session.scalars(chosen)
    ]


def waiting_rows(session: Session) -> dict[str, int]:
    """How many rows of each model wait for a decision; models without any are left out."""
    counted = (
        select(Model.name, func.count())
        .join(Quarantined, Quarantined.model_id == Model.id)
        .where(Quarantined.reviewed_at.is_(None))
        .group_by(Model.name)
        .order_by(func.count().desc())
    )
    return {str(name): int(rows) for name, rows in session.execute(counted)}
