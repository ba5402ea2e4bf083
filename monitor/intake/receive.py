"""A request's rows into the tables: what every way in over the network does with a body that it has read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from monitor.db.engine import database_now
from monitor.db.registry import Model, model_named
from monitor.errors import StaleDecision
from monitor.intake.fields import names_of
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
    model, now = _open(session, name), database_now(session)
    quarantine(session, model, received.bad, SOURCE)
    if not len(received.rows):
        return Taken(accepted=0, duplicate=0, bad=received.bad)
    taken = ingest(session, model, received.rows, source=SOURCE, now=now)
    if taken.newest is not None:
        _advance(session, model, min(taken.newest, now))
    known = {*KNOWN, *taken.features}
    return Taken(
        accepted=taken.accepted,
        duplicate=taken.duplicate,
        bad=_in_request(received, taken.bad),
        ignored=tuple(name for name in names_of(received.rows) if name not in known)[:_MOST_NAMES],
    )


def take_request_labels(session: Session, name: str, received: Received) -> Taken:
    """Store a request's labels; one that is known already counts as a duplicate.

    Raises:
        NotFound: no such model.
        StaleDecision: it is retired.
        SchemaMismatch: no row could be good.
    """
    model = _open(session, name)
    quarantine(session, model, received.bad, SOURCE)
    if not len(received.rows):
        return Taken(accepted=0, duplicate=0, bad=received.bad)
    taken = take_labels(session, model, received.rows, source=SOURCE)
    return Taken(accepted=taken.changed, duplicate=taken.good - taken.changed, bad=_in_request(received, taken.bad))


def _open(session: Session, name: str) -> Model:
    session.execute(text("SET LOCAL lock_timeout = '10s'"))  # nobody waits for ever on a batch that hangs
    model = model_named(session, name)
    if model.retired_at is not None:
        raise StaleDecision(f"model {name} is retired: it takes no rows any more")
    return model


def _advance(session: Session, model: Model, moment: datetime) -> None:
    if model.watermark is None or moment >= model.watermark + _STEP:
        advance_watermark(session, model, moment)


def _in_request(received: Received, bad: Sequence[BadRow]) -> tuple[BadRow, ...]:
    moved = (replace(row, position=received.positions[row.position]) for row in bad)
    return tuple(sorted((*received.bad, *moved), key=lambda row: row.position))
