"""Where a model's traces come from: declared, paused, read at once or removed by people."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.registry import Model, Source
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize
from monitor.intake.columns import Columns
from monitor.intake.sources.registry import open_source

LONGEST_NAME = 64


def add_source(
    session: Session, model: Model, *, name: str, kind: str, location: str, columns: Columns,
    settings: Mapping[str, Any] | None = None, every_seconds: int | None = None, by: Actor, now: datetime,
) -> Source:  # fmt: skip
    """Remember a source with the flags it was given; its bookmark starts empty. It is read every so many seconds.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: the model has a source of this name, or nothing could ever be read by it; a password in clear.
    """
    authorize(by, Action.CONFIGURE)
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise BadInput(f"expected a name of at most {LONGEST_NAME} characters for the source, got {name!r}")
    if session.scalar(select(Source.id).where(Source.model_id == model.id, Source.name == name)) is not None:
        raise BadInput(f"model {model.name} has a source {name!r} already: choose another name")
    if every_seconds is not None and every_seconds < 1:
        raise BadInput(f"expected at least a second between two looks, got {every_seconds}")
    told = dict(settings or {})
    open_source(kind, location, settings=told, columns=columns, secret=lambda variable: "")
    source = Source(
        model_id=model.id, name=name, kind=kind, location=location, mapping=asdict(columns), settings=told,
        every_seconds=every_seconds, due_at=None if every_seconds is None else now,
    )  # fmt: skip
    session.add(source)
    session.flush()
    record(
        session, "source.added", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, name=name, kind=kind,
        location=location, every_seconds=every_seconds,
    )  # fmt: skip
    return source


def pause_source(session: Session, model: Model, source: Source, *, by: Actor, now: datetime) -> None:
    """Read a source by schedule no more, until it is resumed. Saying it twice changes nothing.

    Raises:
        NotAllowed: `by` may not configure.
    """
    _set_paused(session, model, source, paused=True, by=by, now=now)


def resume_source(session: Session, model: Model, source: Source, *, by: Actor, now: datetime) -> None:
    """Read a paused source again, from where it was.

    Raises:
        NotAllowed: `by` may not configure.
    """
    _set_paused(session, model, source, paused=False, by=by, now=now)
    if source.every_seconds is not None:
        source.due_at = now


def remove_source(session: Session, model: Model, source: Source, *, by: Actor, now: datetime) -> None:
    """Forget a source and its bookmark; the rows that came from it stay.

    Raises:
        NotAllowed: `by` may not configure.
    """
    authorize(by, Action.CONFIGURE)
    session.delete(source)
    session.flush()
    record(
        session, "source.removed", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, name=source.name,
        kind=source.kind, location=source.location,
    )  # fmt: skip


def order_pull(session: Session, model: Model, source: Source, *, by: Actor, now: datetime) -> None:
    """Put on record that somebody has a source read now.

    Raises:
        NotAllowed: `by` may not send traces.
    """
    authorize(by, Action.SEND_TRACES)
    record(session, "source.pulled", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, name=source.name)


def _set_paused(session: Session, model: Model, source: Source, *, paused: bool, by: Actor, now: datetime) -> None:
    authorize(by, Action.CONFIGURE)
    session.refresh(source, with_for_update=True)
    if source.paused == paused:
        return
    source.paused = paused
    session.flush()
    act = "source.paused" if paused else "source.resumed"
    record(session, act, by=by.id, subject=f"model:{model.id}", at=now, model=model.name, name=source.name)
