"""Routes for what people say about drift: baselines, snoozes, the calendar, and what the detector is asked for."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field, model_validator

from monitor.acts import baselines, calendar, detection, segments, snoozes
from monitor.alerts.calendar import LONGEST_NAME, ExpectedEvent
from monitor.api.asking import Open, Someone
from monitor.api.bodies import Done
from monitor.db.alerts import Alert
from monitor.db.calendar import CalendarEvent, calendar_of, whole_calendar
from monitor.db.engine import database_now
from monitor.db.read_baseline import baselines as baselines_of
from monitor.db.registry import ModelSettings, champion, model_named, version_named
from monitor.db.segments import Segment, segment_monitor, segments_of
from monitor.drift import FeatureOverride
from monitor.errors import NotFound
from monitor.windows import Window, span_of

routes = APIRouter()


class AcceptBaseline(BaseModel):
    """Which windows are the new normal, and why; without a choice, those of the open incident."""

    reason: str = Field(min_length=1, max_length=500)
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    last: int | None = Field(default=None, ge=1, le=10_000)
    version: str | None = None

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if (self.start is None) != (self.end is None):
            raise ValueError("expected start and end together")
        return self

    @property
    def span(self) -> Window | None:
        return Window(self.start, self.end) if self.start and self.end else None


class BaselineOut(BaseModel):
    """A reference of a version."""

    id: int
    version: str
    start: datetime
    end: datetime
    windows: int
    rows: int
    active: bool
    accepted_at: datetime


class Snooze(BaseModel):
    """Until when nothing is said, and why."""

    until: AwareDatetime
    reason: str = Field(min_length=1, max_length=500)


class EventIn(BaseModel):
    """An expected event: days (the last one included) or moments; of one model, or of all."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    start: AwareDatetime | date
    end: AwareDatetime | date | None = None
    yearly: bool = False
    model: str | None = None


class EventOut(BaseModel):
    """An event in the calendar; `end` is the first moment after it."""

    id: int
    name: str
    start: datetime
    end: datetime
    yearly: bool
    model: str | None
    author: str

    @classmethod
    def of(cls, event: CalendarEvent, model: str | None) -> Self:
        return cls(
            id=event.id, name=event.name, start=event.starts, end=event.ends, yearly=event.yearly, model=model,
            author=event.author,
        )  # fmt: skip


class OverrideIn(BaseModel):
    """What an owner declares of one feature; weight 0 mutes it."""

    tolerance: float | None = None
    weight: float = 1.0


class DetectionIn(BaseModel):
    """What to change; what is left out stays. A feature's null takes its override back."""

    sensitivity: str | None = None
    incidents: float | None = None
    per_days: float | None = None
    features: dict[str, OverrideIn | None] = Field(default_factory=dict)


class SegmentIn(BaseModel):
    """A level of a feature, `channel=app`, and the overrides that hold within it."""

    segment: str = Field(min_length=3, max_length=300)
    features: dict[str, OverrideIn] = Field(default_factory=dict)


class SegmentOut(BaseModel):
    """A segment with a drift stream of its own."""

    segment: str
    since: datetime | None
    features: dict[str, Any]

    @classmethod
    def of(cls, declared: Segment) -> Self:
        return cls(segment=declared.name, since=declared.begins, features=declared.overrides)


class DetectionOut(BaseModel):
    """What the drift detector is asked for."""

    sensitivity: str
    incidents: float
    per_days: float
    features: dict[str, Any]

    @classmethod
    def of(cls, settings: ModelSettings) -> Self:
        return cls(
            sensitivity=settings.sensitivity, incidents=settings.incidents, per_days=settings.per_days,
            features=settings.overrides,
        )  # fmt: skip


@routes.get("/models/{name}/baselines")
def list_baselines(name: str, actor: Someone, session: Open) -> list[BaselineOut]:
    """Every reference of the model, the newest first."""
    return [
        BaselineOut(
            id=one.id, version=one.version, start=one.starts, end=one.ends, windows=one.windows, rows=one.rows,
            active=one.active, accepted_at=one.accepted_at,
        )
        for one in baselines_of(session, model_named(session, name))
    ]  # fmt: skip


@routes.post("/models/{name}/baselines")
def accept_baseline(name: str, asked: AcceptBaseline, actor: Someone, session: Open) -> Done:
    """Make windows of a version its reference: “this is the new normal”."""
    model = model_named(session, name)
    version = version_named(session, model, asked.version) if asked.version else champion(session, model)
    accepted = baselines.accept_baseline(
        session, model, version, span=asked.span, last=asked.last, reason=asked.reason, by=actor,
        now=database_now(session),
    )  # fmt: skip
    return Done(sentence=f"{accepted.windows} windows are the baseline of {version.name} now")


@routes.post("/alerts/{alert_id}/snooze")
def snooze_alert(alert_id: int, asked: Snooze, actor: Someone, session: Open) -> Done:
    """Say nothing about an alert until a moment."""
    alert = _alert(session, alert_id)
    snoozes.snooze_alert(
        session, alert, until=asked.until, reason=asked.reason, by=actor, now=database_now(session)
    )  # fmt: skip
    return Done(sentence=f"alert {alert_id} is snoozed until {asked.until.isoformat()}", state=alert.state)


@routes.post("/alerts/{alert_id}/wake")
def wake_alert(alert_id: int, actor: Someone, session: Open) -> Done:
    """End an alert's snooze before its time."""
    alert = _alert(session, alert_id)
    snoozes.wake_alert(session, alert, by=actor, now=database_now(session))
    return Done(sentence=f"alert {alert_id} speaks again", state=alert.state)


@routes.post("/models/{name}/features/{feature}/snooze")
def snooze_feature(name: str, feature: str, asked: Snooze, actor: Someone, session: Open) -> Done:
    """Say nothing about drift of one feature until a moment."""
    snoozes.snooze_feature(
        session, model_named(session, name), feature, until=asked.until, reason=asked.reason, by=actor,
        now=database_now(session),
    )  # fmt: skip
    return Done(sentence=f"drift of {feature} of {name} is snoozed until {asked.until.isoformat()}")


@routes.post("/models/{name}/features/{feature}/wake")
def wake_feature(name: str, feature: str, actor: Someone, session: Open) -> Done:
    """End a feature's snooze before its time."""
    snoozes.wake_feature(session, model_named(session, name), feature, by=actor, now=database_now(session))
    return Done(sentence=f"drift of {feature} of {name} speaks again")


@routes.get("/calendar")
def list_events(actor: Someone, session: Open, model: str | None = None) -> list[EventOut]:
    """The expected events in order of time: all, or those of one model with those of every model."""
    if model is None:
        return [EventOut.of(event, about) for event, about in whole_calendar(session)]
    found = calendar_of(session, model_named(session, model))
    return [EventOut.of(event, model if event.model_id is not None else None) for event in found]


@routes.post("/calendar")
def add_event(asked: EventIn, actor: Someone, session: Open) -> EventOut:
    """Expect an event. Windows that were judged before stay as they are."""
    about = model_named(session, asked.model) if asked.model else None
    event = ExpectedEvent(name=asked.name, span=span_of(asked.start, asked.end), yearly=asked.yearly)
    row = calendar.add_event(session, event, model=about, by=actor, now=database_now(session))
    return EventOut.of(row, asked.model)


@routes.delete("/calendar/{event_id}")
def remove_event(event_id: int, actor: Someone, session: Open) -> Done:
    """Expect an event no more."""
    gone = calendar.remove_event(session, event_id, by=actor, now=database_now(session))
    return Done(sentence=f"{gone.name} is not expected any more")


@routes.get("/models/{name}/segments")
def list_segments(name: str, actor: Someone, session: Open) -> list[SegmentOut]:
    """The declared segments, each with a drift stream of its own."""
    monitor = segment_monitor(session, model_named(session, name))
    return [SegmentOut.of(one) for one in segments_of(monitor).values()] if monitor is not None else []


@routes.post("/models/{name}/segments")
def declare_segment(name: str, asked: SegmentIn, actor: Someone, session: Open) -> SegmentOut:
    """Watch a segment by itself from the next window on."""
    declared = segments.declare_segment(
        session, model_named(session, name), asked.segment, features=_overrides(asked.features), by=actor,
        now=database_now(session),
    )  # fmt: skip
    return SegmentOut.of(declared)


@routes.delete("/models/{name}/segments/{segment}")
def remove_segment(name: str, segment: str, actor: Someone, session: Open) -> Done:
    """End the stream of a segment."""
    segments.remove_segment(session, model_named(session, name), segment, by=actor, now=database_now(session))
    return Done(sentence=f"{segment} is not watched by itself any more")


@routes.get("/models/{name}/detection")
def read_detection(name: str, actor: Someone, session: Open) -> DetectionOut:
    """What the drift detector of a model is asked for."""
    return DetectionOut.of(ModelSettings.of(model_named(session, name)))


@routes.post("/models/{name}/detection")
def configure_detection(name: str, asked: DetectionIn, actor: Someone, session: Open) -> DetectionOut:
    """Change it from the next window on."""
    features = {
        **dict.fromkeys(asked.features),  # null takes an override back
        **_overrides({name: one for name, one in asked.features.items() if one is not None}),
    }
    settings = detection.configure_detection(
        session, model_named(session, name), sensitivity=asked.sensitivity, incidents=asked.incidents,
        per_days=asked.per_days, features=features, by=actor, now=database_now(session),
    )  # fmt: skip
    return DetectionOut.of(settings)


def _overrides(asked: Mapping[str, OverrideIn]) -> dict[str, FeatureOverride]:
    return {name: FeatureOverride(tolerance=one.tolerance, weight=one.weight) for name, one in asked.items()}


def _alert(session: Open, alert_id: int) -> Alert:
    alert = session.get(Alert, alert_id)
    if alert is None:
        raise NotFound(f"there is no alert {alert_id}")
    return alert
