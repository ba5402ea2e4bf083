"""Who did what, when and on which evidence: rows chained by SHA-256, written in the transaction they describe."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Index, func, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, Id, Json
from monitor.governance.audit_chain import GENESIS, Verification, as_stored, chain, verify

_ONE_AT_A_TIME = 4_015_102_003  # the key of the lock that keeps the chain from forking


class AuditEntry(Base):
    """One act. `hash` covers the entry and `previous_hash`; the application may only append."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_txid", "txid"),)

    id: Mapped[Id]
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]  # "proposal.approved"
    subject: Mapped[str]  # "proposal:18"
    model: Mapped[str | None]
    details: Mapped[Json] = mapped_column(default=dict)
    previous_hash: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
    txid: Mapped[int] = mapped_column(server_default=text("txid_current()"))  # the transaction that did it


def record(
    session: Session, action: str, *, by: str, subject: str, at: datetime, model: str | None = None, **details: Any
) -> AuditEntry:
    """Append an act to the chain, in the transaction that does it; other acts wait until that one commits."""
    session.execute(select(func.pg_advisory_xact_lock(_ONE_AT_A_TIME)))
    previous = session.scalar(select(AuditEntry.hash).order_by(AuditEntry.id.desc()).limit(1)) or GENESIS
    entry = AuditEntry(
        at=at,
        actor=by,
        action=action,
        subject=subject,
        model=model,
        details=as_stored(details),
        previous_hash=previous,
    )
    entry.hash = chain(previous, document(entry))
    session.add(entry)
    session.flush()
    return entry


def entries(session: Session, *, subject: str | None = None, model: str | None = None) -> list[AuditEntry]:
    """The chain from its start, or the part of it that concerns a subject or a model."""
    chosen = select(AuditEntry).order_by(AuditEntry.id)
    if subject is not None:
        chosen = chosen.where(AuditEntry.subject == subject)
    if model is not None:
        chosen = chosen.where(AuditEntry.model == model)
    return list(session.scalars(chosen))


def document(entry: AuditEntry) -> Json:
    """What the hash of an entry covers."""
    return {
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "model": entry.model,
        "details": entry.details,
    }


def verify_chain(session: Session, *, head: str | None = None) -> Verification:
    """Whether every entry still says what it said when it was written."""
    return verify(((document(entry), entry.previous_hash, entry.hash) for entry in entries(session)), head=head)
