"""Who did what: the audit trail by filter, as a stream for checking and exporting, and as a page for reading."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from monitor.db.audit import AuditEntry, document
from monitor.governance.audit_chain import Head, Link, Verification, check_links

_BATCH = 2_000
_KNOWN = 20_000  # of so many newest entries the names are offered to choose by


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which entries: all of them where nothing is said. Times are those of the acts; `until` is excluded."""

    model: str | None = None
    actor: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def to_document(self) -> dict[str, str]:
        """What was chosen by, as an export says it; empty for the whole trail."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}

    def narrow(self, statement: "Select[Any]") -> "Select[Any]":
        for column, value in (
            (AuditEntry.model, self.model), (AuditEntry.actor, self.actor), (AuditEntry.action, self.action)
        ):  # fmt: skip
            statement = statement.where(column == value) if value is not None else statement
        if self.since is not None:
            statement = statement.where(AuditEntry.at >= self.since)
        return statement.where(AuditEntry.at < self.until) if self.until is not None else statement


WHOLE = Chosen()


@dataclass(frozen=True, kw_only=True)
class AuditLine:
    """One act as a page lists it."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    model: str | None
    details: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """The newest acts that were chosen, how many there are, and what one can choose by."""

    lines: tuple[AuditLine, ...]
    total: int
    actors: tuple[str, ...]
    actions: tuple[str, ...]
    models: tuple[str, ...]


def links(session: Session, chosen: Chosen = WHOLE, *, after: int = 0) -> Iterator[Link]:
    """The chosen entries in order, read in batches: a trail of millions never lies in memory at once."""
    columns = chosen.narrow(select(*AuditEntry.__table__.columns).where(AuditEntry.id > after))
    found = session.execute(columns.order_by(AuditEntry.id).execution_options(yield_per=_BATCH))
    try:
        for row in found:  # plain rows: objects of the mapper would take thrice as long
            entry = cast(AuditEntry, row)
            yield Link(number=entry.id, entry=document(entry), previous_hash=entry.previous_hash, hash=entry.hash)
    finally:
        found.close()  # who reads has stopped at the first bad entry


def verify_trail(session: Session, heads: Iterable[Head] = ()) -> Verification:
    """Whether every entry still says what it said, and every signed head is still in the chain."""
    return check_links(links(session), heads=heads)


def audit_page(session: Session, chosen: Chosen = WHOLE, *, most: int = 200) -> AuditPage:
    """The newest `most` of the chosen acts."""
    rows = session.scalars(chosen.narrow(select(AuditEntry)).order_by(AuditEntry.id.desc()).limit(most))
    total = session.scalar(chosen.narrow(select(func.count()).select_from(AuditEntry))) or 0
    return AuditPage(
        lines=tuple(
            AuditLine(
                number=row.id, at=row.at, actor=row.actor, action=row.action, subject=row.subject, model=row.model,
                details=row.details, hash=row.hash,
            )
            for row in rows
        ),
        total=total,
        actors=_distinct(session, AuditEntry.actor),
        actions=_distinct(session, AuditEntry.action),
        models=_distinct(session, AuditEntry.model),
    )  # fmt: skip


def _distinct(session: Session, column: Any) -> tuple[str, ...]:
    newest = select(column.label("name")).order_by(AuditEntry.id.desc()).limit(_KNOWN).subquery()
    names = select(newest.c.name).where(newest.c.name.is_not(None)).distinct().order_by(newest.c.name)
    return tuple(session.scalars(names))
