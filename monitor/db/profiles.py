"""Counts of every row, sampled or not: append-only deltas a batch, added up when a window is read."""

from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import add
from typing import Self

from sqlalchemy import ForeignKey, Index, delete, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, CreatedAt, Id
from monitor.db.bulk import driver
from monitor.db.registry import Reference
from monitor.drift.profile import Binning, Profile
from monitor.windows import Window

_ADD = (  # every batch does it: past the unit of work, which takes longer than the database
    "INSERT INTO profiles (model_id, version_id, binning_id, bucket, rows, counts) VALUES (%s, %s, %s, %s, %s, %s)"
)


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


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What was counted of one version's rows in one bucket, as it is stored."""

    version_id: int
    binning_id: str
    bucket: datetime
    rows: int
    counts: bytes

    @classmethod
    def of(cls, version_id: int, bucket: datetime, profile: Profile) -> Self:
        return cls(
            version_id=version_id, binning_id=profile.binning.binning_id, bucket=bucket, rows=profile.rows,
            counts=profile.to_bytes(),
        )  # fmt: skip


def add_profile(session: Session, *, model_id: int, version_id: int, bucket: datetime, profile: Profile) -> None:
    """Append the counts of one batch in one bucket."""
    add_counted(session, model_id, Counted.of(version_id, bucket, profile))


def add_counted(session: Session, model_id: int, one: Counted) -> None:
    """Append what was counted of one batch in one bucket."""
    driver(session).execute(_ADD, [model_id, one.version_id, one.binning_id, one.bucket, one.rows, one.counts])


def read_profile(
    session: Session, *, model_id: int, version_id: int, binning: Binning, window: Window
) -> Profile | None:
    """The sum over the buckets that start within the window; None when no row was counted."""
    session.flush()
    found = select(ProfileDelta.counts).where(
        ProfileDelta.model_id == model_id,
        ProfileDelta.version_id == version_id,
        ProfileDelta.binning_id == binning.binning_id,
        ProfileDelta.bucket >= window.start,
        ProfileDelta.bucket < window.end,
    )
    profiles = [Profile.from_bytes(counts, binning) for counts in session.scalars(found)]
    return reduce(add, profiles) if profiles else None


def compact(session: Session, model_id: int) -> int:
    """Replace the deltas of each bucket by their sum; returns how many rows went away. Reads give the same counts."""
    frozen = select(Reference.binning_id, Reference.document["binning"]).where(Reference.model_id == model_id)
    documents = {row[0]: row[1] for row in session.execute(frozen)}
    gone = 0
    for binning in map(Binning.from_document, documents.values()):
        for version_id, bucket in _crowded(session, model_id, binning.binning_id):
            gone += _merge(session, model_id, version_id, binning, bucket)
    return gone


def _crowded(session: Session, model_id: int, binning_id: str) -> list[tuple[int, datetime]]:
    grouped = (
        select(ProfileDelta.version_id, ProfileDelta.bucket)
        .where(ProfileDelta.model_id == model_id, ProfileDelta.binning_id == binning_id)
        .group_by(ProfileDelta.version_id, ProfileDelta.bucket)
        .having(func.count() > 1)
        .order_by(ProfileDelta.version_id, ProfileDelta.bucket)
    )
    return [(row.version_id, row.bucket) for row in session.execute(grouped)]


def _merge(session: Session, model_id: int, version_id: int, binning: Binning, bucket: datetime) -> int:
    # only the rows that this transaction took away are summed, so a delta that comes meanwhile stays
    taken = (
        delete(ProfileDelta)
        .where(
            ProfileDelta.model_id == model_id,
            ProfileDelta.version_id == version_id,
            ProfileDelta.binning_id == binning.binning_id,
            ProfileDelta.bucket == bucket,
        )
        .returning(ProfileDelta.counts)
    )
    parts = session.scalars(taken, execution_options={"synchronize_session": False}).all()
    profiles = [Profile.from_bytes(counts, binning) for counts in parts]
    if profiles:
        add_profile(
            session, model_id=model_id, version_id=version_id, bucket=bucket,
            profile=reduce(add, profiles),
        )  # fmt: skip
    return max(0, len(profiles) - 1)
