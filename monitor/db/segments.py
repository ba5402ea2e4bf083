"""Segments: rows of one level of a feature that have a drift stream of their own, `channel=app`."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Self

import pandas as pd
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, CreatedAt, Json
from monitor.db.registry import SEGMENT, Model, Monitor
from monitor.errors import BadInput

MOST_SEGMENTS = 10


class SegmentReference(Base):
    """What is normal within a segment under a reference: profiles of the kept rows of its windows, over its bins."""

    __tablename__ = "segment_references"

    reference_id: Mapped[int] = mapped_column(ForeignKey("references.id"), primary_key=True)
    segment: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[Json]  # monitor.drift.Reference.to_document()
    created_at: Mapped[CreatedAt]


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One level of one feature, with the overrides that hold within it.

    `since` is where its stream begins: windows before it was declared are not judged.

    >>> segment = Segment.parse("channel=app")
    >>> segment.feature, segment.level, segment.name
    ('channel', 'app', 'channel=app')
    """

    feature: str
    level: str
    since: str | None = None
    overrides: Json = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        feature, equals, level = text.partition("=")
        if not (feature.strip() and equals and level.strip()):
            raise BadInput(f"expected a segment as FEATURE=LEVEL, such as channel=app, got {text!r}")
        return cls(feature=feature.strip(), level=level.strip())

    @property
    def name(self) -> str:
        return f"{self.feature}={self.level}"

    @property
    def begins(self) -> datetime | None:
        return datetime.fromisoformat(self.since) if self.since else None

    def rows_of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows that belong to it; a boolean's levels are `true` and `false`."""
        values = frame[self.feature]
        if values.dropna().map(lambda value: isinstance(value, bool)).all():
            return frame[values.astype(str).str.lower() == self.level.lower()]
        return frame[values.astype(str) == self.level]

    def to_document(self) -> Json:
        return asdict(self)


def segments_of(monitor: Monitor) -> dict[str, Segment]:
    """The declared segments by name, in the order in which they were declared."""
    return {name: Segment(**document) for name, document in monitor.settings.get("segments", {}).items()}


def segment_monitor(session: Session, model: Model) -> Monitor | None:
    """The monitor that looks at all segments of a model; None before one was declared."""
    return session.scalar(select(Monitor).where(Monitor.model_id == model.id, Monitor.kind == SEGMENT))


def drift_streams(session: Session, model: Model) -> int:
    """How many streams share the model's false-alarm budget in equal parts: all rows, and each segment.

    At most `incidents` false incidents in all are then to be expected of the model, whatever the segments share.
    """
    monitor = segment_monitor(session, model)
    return 1 + (len(segments_of(monitor)) if monitor is not None and monitor.enabled else 0)
