"""Monitors of kind `evidently` come and go here: any number a model, each by its name."""

import re
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.checks import CheckRun
from monitor.db.registry import EVIDENTLY, Model, ModelSettings, Monitor, feature_schema, schema_of
from monitor.errors import BadInput, NotFound
from monitor.governance import Action, Actor, authorize
from monitor.reports.config import EvidentlyConfig
from monitor.reports.measure import checked
from monitor.windows import floor_to_grid

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def check_settings(session: Session, model: Model, config: EvidentlyConfig, *, by: Actor) -> EvidentlyConfig:
    """The settings made complete: every name known to Evidently, every method and threshold said outright.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: something has no such name; the sentence says what may have been meant.
    """
    authorize(by, Action.CONFIGURE)
    schema = schema_of(feature_schema(session, model))
    return checked(config, schema, task=model.task) if config.metrics else config


def add_monitor(
    session: Session, model: Model, *, name: str, config: EvidentlyConfig, by: Actor, now: datetime
) -> Monitor:
    """A new monitor with settings that `check_settings` returned. It begins with the newest window checked for drift.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: the name is unusable or taken.
    """
    authorize(by, Action.CONFIGURE)
    if not _NAME.fullmatch(name):
        raise BadInput(f"expected a monitor name of letters, digits, '_', '-' or '.', at most 63 long, got {name!r}")
    taken = select(Monitor.id).where(Monitor.model_id == model.id, Monitor.name == name)
    if session.scalar(taken) is not None:
        raise BadInput(f"model {model.name} has a monitor {name!r} already: remove it first or choose another name")
    begun = config if config.since else config.model_copy(update={"since": _newest_window(session, model)})
    monitor = Monitor(model_id=model.id, kind=EVIDENTLY, name=name, settings=begun.to_document())
    session.add(monitor)
    session.flush()
    record(
        session, "monitor.added", by=by.id, subject=f"monitor:{monitor.id}", at=now, model=model.name, name=name,
        settings=monitor.settings,
    )  # fmt: skip
    return monitor


def remove_monitor(session: Session, model: Model, *, name: str, by: Actor, now: datetime) -> None:
    """End a monitor. What it found stays for the record, under a name that nobody else can take.

    Raises:
        NotAllowed: `by` may not configure.
        NotFound: the model has no monitor of this name that can be removed.
    """
    authorize(by, Action.CONFIGURE)
    there = monitors_of(session, model)
    monitor = next((one for one in there if one.name == name), None)
    if monitor is None:
        known = ", ".join(one.name for one in there) or "none yet"
        raise NotFound(f"model {model.name} has no Evidently monitor {name!r}; it has: {known}")
    monitor.enabled, monitor.name = False, f"{name}~{monitor.id}"
    session.flush()
    record(session, "monitor.removed", by=by.id, subject=f"monitor:{monitor.id}", at=now, model=model.name, name=name)


def monitors_of(session: Session, model: Model) -> list[Monitor]:
    """The model's Evidently monitors, by name."""
    chosen = select(Monitor).where(Monitor.model_id == model.id, Monitor.kind == EVIDENTLY, Monitor.enabled)
    return list(session.scalars(chosen.order_by(Monitor.name)))


def _newest_window(session: Session, model: Model) -> datetime | None:
    """The start of the newest window that was checked; before there is one, of the newest whole window."""
    checked_last = select(func.max(CheckRun.starts)).where(CheckRun.model_id == model.id, CheckRun.kind == "drift")
    if (newest := session.scalar(checked_last)) is not None:
        return newest
    width: timedelta = ModelSettings.of(model).width
    return None if model.watermark is None else floor_to_grid(model.watermark, width) - width
