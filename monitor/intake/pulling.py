"""One look at a source: what is new is taken in part by part, each with its bookmark in one transaction."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from monitor.db.base import Json
from monitor.db.registry import Model, Source, feature_schema, schema_of
from monitor.errors import BadInput, HoldfastError, JobCancelled, JobReleased, LeaseLost, NotFound, StaleDecision
from monitor.intake.columns import Columns, Rows, read_rows
from monitor.intake.ingest import advance_watermark, ingest, quarantine
from monitor.intake.labels import ingest_labels
from monitor.intake.sources.contract import Part, Piece, Secret, TraceSource
from monitor.intake.sources.registry import open_source

PIECES, NEWEST = "pieces", "newest"  # in the bookmark: the marks by piece, and the newest event time that was taken in
PATIENCE = 3  # looks at which something could not be read, after which stream time goes on without it
LONGEST_PAUSE = timedelta(hours=1)  # between two looks at a source that fails
MOST_TOLD = 5  # pieces that are named when they cannot be read
_OURS = (OperationalError, InterfaceError, LeaseLost, JobCancelled, JobReleased)  # not of the source: these go up
Open = Callable[[], AbstractContextManager[Session]]


@dataclass(kw_only=True)
class Pulled:
    """What a look at a source gave. `over`: nothing was left when it ended. `faults` says what could not be read."""

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    labels: int = 0
    over: bool = True
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str | None:
        """What could not be read, by piece."""
        if not self.faults:
            return None
        told = [fault for _, fault in zip(range(MOST_TOLD), self.faults.values(), strict=False)]
        more = len(self.faults) - len(told)
        return "; ".join(told) + (f"; and {more:,} others" if more else "")


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A look at one source. `transaction` opens the transaction of a part; `secret` gives variables of addresses."""

    transaction: Open
    source_id: int
    secret: Secret
    say: Callable[[str], None] = lambda sentence: None
    should_stop: Callable[[], bool] = lambda: False

    def run(self) -> Pulled:
        """Take in all that the bookmark has not seen, piece by piece; one that cannot be read holds up no other."""
        with self.transaction() as session:
            source = _source(session, self.source_id)
            kind, location, settings = source.kind, source.location, dict(source.settings)
            marks = dict(source.bookmark.get(PIECES, {}))
            schema = schema_of(feature_schema(session, session.get_one(Model, source.model_id)))
            categories = tuple(feature.name for feature in schema.features if feature.is_categorical)
            columns = replace(Columns.of(source.mapping), texts=categories)  # the level 007 is not the number 7
        pulled = Pulled()
        with _told(pulled, key=""):
            origin = open_source(kind, location, settings=settings, columns=columns, secret=self.secret)
            for piece in self._pieces(origin, pulled):
                with _told(pulled, key=piece.key):
                    self._take_in_piece(piece, marks.get(piece.key), columns, pulled)
        return pulled

    def _pieces(self, origin: TraceSource, pulled: Pulled) -> Iterator[Piece]:
        for piece in origin.pieces():
            if self.should_stop():
                pulled.over = False
            if not pulled.over:
                return
            yield piece

    def _take_in_piece(self, piece: Piece, mark: Json | None, columns: Columns, pulled: Pulled) -> None:
        for part in piece.parts(mark):
            try:
                self._take_in_part(piece, part, mark, columns, pulled)
            except StaleDecision as error:
                self.say(str(error))
                return
            mark = part.mark
            if self.should_stop():
                pulled.over = False
                return

    def _take_in_part(self, piece: Piece, part: Part, before: Json | None, columns: Columns, pulled: Pulled) -> None:
        rows = _read(piece, part, columns)
        bad = (*part.bad, *rows.bad)
        with self.transaction() as session:
            source = _source(session, self.source_id, lock=True)
            marks = source.bookmark.get(PIECES, {})
            if marks.get(piece.key) != before:
                raise StaleDecision(f"{piece.name}: another process has read on from here; it goes on next time")
            model = session.get_one(Model, source.model_id)
            quarantine(session, model, bad, source.name)
            stored = _store(session, model, source.name, rows, columns)
            newest = _later(source.bookmark.get(NEWEST), stored.newest)
            source.bookmark = {**source.bookmark, PIECES: {**marks, piece.key: part.mark}, **newest}
        pulled.accepted += stored.accepted
        pulled.duplicate += stored.duplicate
        pulled.quarantined += stored.quarantined + len(bad)
        pulled.labels += stored.labels
        self.say(
            f"{piece.name}: {stored.accepted:,} new rows, {stored.duplicate:,} known, "
            f"{stored.quarantined + len(bad):,} quarantined" + (f", {stored.labels:,} labels" if columns.target else "")
        )


def settle(session: Session, source_id: int, pulled: Pulled, now: datetime) -> Source | None:
    """Write down how a look went, when the next one is due, and let stream time go on; None if the source is gone.

    Stream time goes on when nothing was left, since an earlier window may lie in a later piece. It waits for a piece
    that cannot be read, but not for long.
    """
    source = session.get(Source, source_id, with_for_update=True)
    if source is None:
        return None
    source.pulled_at = now
    source.failures = source.failures + 1 if pulled.faults else 0
    source.last_error = pulled.sentence
    if source.every_seconds is not None:
        source.due_at = now + pause(source.every_seconds, source.failures) if pulled.over else now
    newest = source.bookmark.get(NEWEST)
    waits = 0 < source.failures < PATIENCE
    if pulled.over and not waits and newest is not None:
        advance_watermark(session, session.get_one(Model, source.model_id), datetime.fromisoformat(newest))
    return source


def pause(every_seconds: int, failures: int) -> timedelta:
    """How long to wait for the next look: twice as long after each failure in a row, an hour at most.

    >>> [pause(300, failures).total_seconds() for failures in (0, 1, 2, 9)]
    [300.0, 600.0, 1200.0, 3600.0]
    """
    every = timedelta(seconds=every_seconds)
    return min(every * (1 << min(failures, 20)), max(every, LONGEST_PAUSE))


def sentence_of(error: Exception) -> str:
    """What is stored of a failure: never the values of a statement, which may be people's data."""
    if isinstance(error, HoldfastError):
        return str(error)
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"{type(error).__name__}: {(str(cause).splitlines() or [''])[0]}"


@dataclass(frozen=True, kw_only=True)
class _Stored:
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    labels: int = 0
    newest: datetime | None = None


def _read(piece: Piece, part: Part, columns: Columns) -> Rows:
    if part.frame.empty:
        return Rows(good=part.frame)
    try:
        return read_rows(part.frame, columns, name=piece.name)
    except BadInput as error:
        raise BadInput(f"{piece.name}: {error}") from error


def _store(session: Session, model: Model, source: str, rows: Rows, columns: Columns) -> _Stored:
    good = rows.good
    if good.empty:
        return _Stored()
    known = good[good["label"].notna()][["trace_id", "label", "label_time"]] if "label" in good else None
    if columns.labels_only:
        return _Stored(labels=ingest_labels(session, model, known)) if known is not None else _Stored()
    taken = ingest(session, model, good.drop(columns=["label", "label_time"], errors="ignore"), source=source)
    return _Stored(
        accepted=taken.accepted, duplicate=taken.duplicate, quarantined=taken.quarantined, newest=taken.newest,
        labels=ingest_labels(session, model, known) if known is not None else 0,
    )  # fmt: skip


@contextmanager
def _told(pulled: Pulled, *, key: str) -> Iterator[None]:
    """Note what could not be read under the piece's key; what is no fault of the source goes up."""
    try:
        yield
    except _OURS:
        raise
    except Exception as error:
        pulled.faults[key] = sentence_of(error)


def _source(session: Session, source_id: int, *, lock: bool = False) -> Source:
    source = session.get(Source, source_id, with_for_update=lock)
    if source is None:
        raise NotFound("expected the source that is read, it was removed")
    return source


def _later(known: str | None, taken: datetime | None) -> dict[str, str]:
    moments = [datetime.fromisoformat(known)] if known else []
    moments += [taken] if taken else []
    return {NEWEST: max(moments).isoformat()} if moments else {}
