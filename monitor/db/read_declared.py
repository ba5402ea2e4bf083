"""What people declared about a model's drift: settings, expected events, snoozed features, baselines."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from monitor.db.alerts import Silence, standing_silences
from monitor.db.calendar import calendar_of
from monitor.db.read_alerts import Snoozed
from monitor.db.read_baseline import BaselineLine, baselines
from monitor.db.registry import ModelSettings, model_named


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
class Declared:
    """All of it for one model."""

    model: str
    settings: ModelSettings
    events: tuple[EventLine, ...]
    snoozed: dict[str, Snoozed]  # by feature
    baselines: tuple[BaselineLine, ...]


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
    )  # fmt: skip
