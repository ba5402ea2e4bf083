"""A request's rows into the tables: what every way in over the network does with a body that it has read."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from monitor.db.engine import database_now
from monitor.db.registry import Model, model_named
from monitor.errors import StaleDecision
from monitor.intake.fields import Rows, names_of
from monitor.intake.formats import Received
from monitor.intake.ingest import advance_watermark, ingest, quarantine
from monitor.intake.labels import take_labels
from monitor.intake.validate import KNOWN, BadRow

SOURCE = "api"
_STEP = timedelta(seconds=1)  # of stream time: fewer writes to the model's row, which batches would wait for
_MOST_NAMES = 50


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What became of a request: counts, the refused rows by their position in it, and fields that no feature has."""

    accepted: int
    duplicate: int
    bad: tuple[BadRow, ...]
    ignored: tuple[str, ...] = ()


def take_traces(session: Session, name: str, received: Received) -> Taken:
    """Store a request's traces; stream time goes on with them, no further than the database's clock.

    Raises:
        NotFound: no such model.
        StaleDecision: it is retired.
        SchemaMismatch: no row could be good.
    """
    return store_rows(session, open_model(session, name), received, now=database_now(session))


def store_rows(session: Session, model: Model, received: Received, *, now: datetime) -> Taken:
    """The same for a model that is open; a request may hold no rows at all."""
    quarantine(session, model, received.bad, SOURCE)
    if not len(received.rows):
        return Taken(accepted=0, duplicate=0, bad=received.bad)
    taken = ingest(session, model, received.rows, source=SOURCE, now=now)
    if taken.newest is not None:
        advance(session, model, min(taken.newest, now))
    return Taken(
        accepted=taken.accepted,
        duplicate=taken.duplicate,
        bad=_in_request(received, taken.bad),
        ignored=unknown_fields(received.rows, taken.features),
    )


def take_request_labels(session: Session, name: str, received: Received) -> Taken:
    """Store a request's labels; one that is known already counts as a duplicate.

    Raises:
        NotFound: no such model.
        StaleDecision: it is retired.
        SchemaMismatch: no row could be good.
    """
    model = open_model(session, name)
    quarantine(session, model, received.bad, SOURCE)
    if not len(received.rows):
        return Taken(accepted=0, duplicate=0, bad=received.bad)
    taken = take_labels(session, model, received.rows, source=SOURCE)
    return Taken(accepted=taken.changed, duplicate=taken.good - taken.changed, bad=_in_request(received, taken.bad))


def open_model(session: Session, name: str) -> Model:
    """The model, where it takes rows."""
    session.execute(text("SET LOCAL lock_timeout = '10s'"))  # nobody waits for ever on a batch that hangs
    model = model_named(session, name)
    if model.retired_at is not None:
        raise StaleDecision(f"model {name} is retired: it takes no rows any more")
    return model


def advance(session: Session, model: Model, moment: datetime) -> None:
    """Stream time goes on to the newest row."""
    if model.watermark is None or moment >= model.watermark + _STEP:
        advance_watermark(session, model, moment)


def unknown_fields(rows: Rows, features: Collection[str]) -> tuple[str, ...]:
    """Fields that the model's schema does not know, the first of them."""
    return tuple(name for name in names_of(rows) if name not in KNOWN and name not in features)[:_MOST_NAMES]


def _in_request(received: Received, bad: Sequence[BadRow]) -> tuple[BadRow, ...]:
    moved = (replace(row, position=received.positions[row.position]) for row in bad)
    return tuple(sorted((*received.bad, *moved), key=lambda row: row.position))
