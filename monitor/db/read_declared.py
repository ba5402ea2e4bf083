"""What people declared about a model's drift: settings, expected events, snoozed features, baselines."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.alerts import Silence, standing_silences
from monitor.db.calendar import calendar_of
from monitor.db.checks import CheckRun
from monitor.db.read_alerts import Snoozed
from monitor.db.read_baseline import BaselineLine, baselines
from monitor.db.registry import SEGMENT, Model, ModelSettings, model_named
from monitor.db.segments import segment_monitor, segments_of


@dataclass(frozen=True, kw_only=True)
class EventLine:
    """An expected event as a list shows it; `ends` is the first moment after it."""

    id: int
    name: str
    starts: datetime
    ends: datetime
    yearly: bool
    everywhere: bool  # expected of every model
    author: str


@dataclass(frozen=True, kw_only=True)
class SegmentLine:
    """A segment, and how its drift stands after the newest window (empty before one was checked)."""

    name: str
    state: str
    sentence: str
    overrides: tuple[str, ...]  # the features with one


@dataclass(frozen=True, kw_only=True)
class Declared:
    """All of it for one model."""

    model: str
    settings: ModelSettings
    events: tuple[EventLine, ...]
    snoozed: dict[str, Snoozed]  # by feature
    baselines: tuple[BaselineLine, ...]
    segments: tuple[SegmentLine, ...]


def declared(session: Session, name: str) -> Declared:
    """What people declared about the drift of a model, as it holds now."""
    model = model_named(session, name)
    chosen = standing_silences().where(Silence.model_id == model.id, Silence.feature.is_not(None))
    standing = session.scalars(chosen)
    return Declared(
        model=model.name,
        settings=ModelSettings.of(model),
        events=tuple(
            EventLine(
                id=row.id, name=row.name, starts=row.starts, ends=row.ends, yearly=row.yearly,
                everywhere=row.model_id is None, author=row.author,
            )
            for row in calendar_of(session, model)
        ),
        snoozed={
            one.feature: Snoozed(until=one.until, by=one.author, reason=one.reason) for one in standing if one.feature
        },
        baselines=tuple(baselines(session, model)),
        segments=_segments(session, model),
    )  # fmt: skip


def _segments(session: Session, model: Model) -> tuple[SegmentLine, ...]:
    monitor = segment_monitor(session, model)
    if monitor is None:
        return ()
    newest = session.scalar(
        select(CheckRun.document["segments"])
        .where(CheckRun.model_id == model.id, CheckRun.kind == SEGMENT, CheckRun.rows > 0)
        .order_by(CheckRun.starts.desc(), CheckRun.rows.desc())
        .limit(1)
    )
    found = newest or {}
    return tuple(
        SegmentLine(
            name=name, state=found.get(name, {}).get("state", ""), sentence=found.get(name, {}).get("sentence", ""),
            overrides=tuple(one.overrides),
        )
        for name, one in segments_of(monitor).items()
    )  # fmt: skip
