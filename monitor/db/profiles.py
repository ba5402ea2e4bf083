"""Counts of every row, sampled or not: append-only deltas a batch, added up when a window is read."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from monitor.db.base import Base, CreatedAt, Id


class ProfileDelta(Base):
    """The counts of one batch's rows of one version within one bucket of time, over the bins of `binning_id`."""

    __tablename__ = "profiles"
    __table_args__ = (Index("ix_profiles_bucket", "model_id", "version_id", "binning_id", "bucket"),)

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    binning_id: Mapped[str]
    bucket: Mapped[datetime]  # the start of the bucket
    rows: Mapped[int]
    counts: Mapped[bytes]  # monitor.drift.profile.Profile.to_bytes()
    created_at: Mapped[CreatedAt]
