"""Where a model's traces come from, declared once."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.base import Json
from monitor.db.registry import Model, Source
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize


def add_source(
    session: Session, model: Model, *, name: str, kind: str, location: str, mapping: Json, by: Actor, now: datetime
) -> Source:
    """Remember a source with the flags it was given; its bookmark starts empty.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: the model has a source of this name.
    """
    authorize(by, Action.CONFIGURE)
    if session.scalar(select(Source.id).where(Source.model_id == model.id, Source.name == name)) is not None:
        raise BadInput(f"model {model.name} has a source {name!r} already: choose another name")
    source = Source(model_id=model.id, name=name, kind=kind, location=location, mapping=mapping)
    session.add(source)
    session.flush()
    record(
        session, "source.added", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, name=name, kind=kind
    )
    return source
