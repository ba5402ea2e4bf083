"""Who did what, when and on which evidence: rows chained by SHA-256, written in the transaction they describe."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from monitor.db.base import Base, Id, Json


class AuditEntry(Base):
    """One act. `hash` covers the entry and `previous_hash`; the application may only append."""

    __tablename__ = "audit"

    id: Mapped[Id]
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str]  # "proposal.approved"
    subject: Mapped[str]  # "proposal:18"
    model: Mapped[str | None]
    details: Mapped[Json] = mapped_column(default=dict)
    previous_hash: Mapped[str]
    hash: Mapped[str] = mapped_column(unique=True)
