"""Rows that intake could not take, kept with the reason, so that a person can review them and nothing is lost."""

from datetime import datetime

from sqlalchemy import ColumnElement, ForeignKey, Index, func
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from monitor.db.base import Base, CreatedAt, Id


class Quarantined(Base):
    """One bad row: why, and its raw text (at most 64 KiB)."""

    __tablename__ = "quarantine"
    __table_args__ = (Index("ix_quarantine_model", "model_id", "received_at"),)

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    source: Mapped[str]
    reason: Mapped[str]
    raw: Mapped[str]
    received_at: Mapped[CreatedAt]
    reviewed_at: Mapped[datetime | None]
    decision: Mapped[str | None]


_NUMBERS = "(?<!ISO )[0-9]+([-:., ][0-9]+)*"


def group_of(reason: "InstrumentedAttribute[str]") -> "ColumnElement[str]":
    """A reason without numbers, and without what the one row held: rows with the same one are decided on together."""
    return func.regexp_replace(func.split_part(reason, ", got", 1), _NUMBERS, "…", "g")
