"""What a new baseline can be made of: the newest checked windows of a version, without the ones that tell nothing."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts.calendar import expected_in
from monitor.db.alerts import Alert
from monitor.db.calendar import expected_events
from monitor.db.checks import CheckRun
from monitor.db.registry import Model, Reference, Version
from monitor.windows import Window

_LIVE = ("firing", "acknowledged", "no_data", "error")


@dataclass(frozen=True, kw_only=True)
class BaselineLine:
    """A reference of a version as a list shows it."""

    id: int
    version: str
    starts: datetime
    ends: datetime
    windows: int
    rows: int
    active: bool
    accepted_at: datetime


def open_drift_alert(session: Session, model: Model) -> Alert | None:
    """The live alert of drifted features, drills aside."""
    chosen = select(Alert).where(
        Alert.model_id == model.id, Alert.cause == "drift", Alert.state.in_(_LIVE), ~Alert.drill
    )
    return session.scalar(chosen.order_by(Alert.id.desc()).limit(1))


def checked_windows(session: Session, version: Version) -> list[Window]:
    """Every window of the version whose drift was looked at, in order."""
    rows = session.execute(
        select(CheckRun.starts, CheckRun.ends)
        .where(CheckRun.version_id == version.id, CheckRun.kind == "drift", CheckRun.rows > 0)
        .distinct()
        .order_by(CheckRun.starts)
    )
    return [Window(starts, ends) for starts, ends in rows]


def sound_windows(session: Session, model: Model, version: Version, span: Window) -> list[Window]:
    """The checked windows within `span` whose data were not broken and on which no event was expected, in order."""
    found = session.execute(
        select(CheckRun.starts, CheckRun.ends).where(
            CheckRun.version_id == version.id, CheckRun.kind == "quality", CheckRun.document["broken"].as_boolean()
        )
    )
    broken = {Window(starts, ends) for starts, ends in found}
    events = expected_events(session, model)
    within = [one for one in checked_windows(session, version) if span.start <= one.start and one.end <= span.end]
    return [one for one in within if one not in broken and expected_in(events, one) is None]


def baselines(session: Session, model: Model) -> list[BaselineLine]:
    """Every reference of the model, the newest first."""
    rows = session.execute(
        select(
            Reference.id, Version.name.label("version"), Reference.starts, Reference.ends, Reference.windows,
            Reference.rows, Reference.active, Reference.created_at.label("accepted_at"),
        )
        .join(Version, Version.id == Reference.version_id)
        .where(Reference.model_id == model.id)
        .order_by(Reference.id.desc())
    )  # fmt: skip
    return [BaselineLine(**row._mapping) for row in rows]
