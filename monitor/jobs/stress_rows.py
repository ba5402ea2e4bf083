"""Which labelled rows a stress test outside the tick takes: the newest ones, or those that define normal."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from monitor.db.read_training import broken_windows
from monitor.db.traces import label_coverage, read_traces, span
from monitor.errors import NotEnoughData
from monitor.jobs.samples import reference_sample
from monitor.jobs.stream import Subject
from monitor.schema import FloatArray, Schema
from monitor.windows import Window

LEAST_ROWS = 50  # fewer say nothing: a share of fifty has an interval of fourteen points to each side
MOST_READ = 20_000
_LEAST_POSITIVE = 0.25  # share of the rows where there are as many: an AUC of six positives says nothing
_LONGEST_REACH = 16  # periods looked back for labels


class On(StrEnum):
    """Which rows are attacked."""

    RECENT = "recent"
    REFERENCE = "reference"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where rows come from. `note` says why other rows were taken than were asked for, if so.

    `ids_sha256` is of the trace ids in order: campaigns with the same one attacked the same rows.
    """

    on: On
    window: Window
    ids_sha256: str
    note: str = ""

    @property
    def seed(self) -> int:
        """The same rows are chosen, and attacked the same way, whichever version is under test."""
        return _seed(self.window)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        span = {"starts": self.window.start.isoformat(), "ends": self.window.end.isoformat()}
        return {"on": str(self.on), **span, "ids_sha256": self.ids_sha256, "note": self.note}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The origin that `to_document` wrote."""
        window = Window(datetime.fromisoformat(document["starts"]), datetime.fromisoformat(document["ends"]))
        return cls(on=On(document["on"]), window=window, ids_sha256=document["ids_sha256"], note=document["note"])


@dataclass(frozen=True, kw_only=True, eq=False)
class StressRows:
    """Encoded rows (n, d) with targets (n,); the threat model takes its spread from `reference` (m, d)."""

    origin: Origin
    rows: FloatArray
    y: FloatArray
    reference: FloatArray


def rows_to_stress(session: Session, subject: Subject, schema: Schema, *, on: On | None, most: int) -> StressRows:
    """At most `most` labelled rows; without `on` recent ones, or those of the reference when too few have labels.

    Raises:
        NotEnoughData: too few rows have labels, or all are of one class.
    """
    sample = reference_sample(session, subject, labelled=False)
    normal = schema.encode(sample) if len(sample) else None
    lacking = ""
    if on is not On.REFERENCE:
        window = _recent(session, subject, most)
        found = _labelled(session, subject, window) if window is not None else None
        lacking = _lacking(found, window, subject)
        if found is not None and window is not None and not lacking:
            return _rows(found, subject, schema, window, On.RECENT, normal, most)
        if on is On.RECENT or subject.normal_from is None:
            raise NotEnoughData(f"{lacking}: wait for labels, or stress the reference once there is one")
    if subject.normal_from is None:
        raise NotEnoughData(f"{subject.model.name} has no reference yet: it is learning what is normal")
    kept = _labelled(session, subject, subject.normal_from)
    if still := _lacking(kept, subject.normal_from, subject):
        raise NotEnoughData(f"{still}, the reference: send labels first")
    note = f"{lacking}: the rows of the reference were taken" if lacking else ""
    return _rows(kept, subject, schema, subject.normal_from, On.REFERENCE, normal, most, note=note)


def chosen_rows(y: FloatArray, most: int, task: str, seed: int) -> NDArray[np.intp]:
    """At most `most` rows in their order, with a quarter of positives where the data have so many."""
    rng = np.random.default_rng(seed)
    if len(y) <= most:
        return np.arange(len(y))
    if task != "classification":
        return np.sort(rng.choice(len(y), most, replace=False))
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y != 1)
    wanted = min(positive.size, max(int(most * _LEAST_POSITIVE), round(most * positive.size / len(y))))
    wanted = max(wanted, most - negative.size)
    taken = rng.choice(positive, wanted, replace=False), rng.choice(negative, most - wanted, replace=False)
    return np.sort(np.concatenate(taken))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Labelled:
    frame: pd.DataFrame
    y: FloatArray


def _recent(session: Session, subject: Subject, most: int) -> Window | None:
    """The newest span after the reference with labels enough, in whole periods of the stress monitor."""
    until = subject.model.watermark or _newest(session, subject)
    period = subject.settings.width * subject.settings.stress_every_windows
    begins = subject.normal_from.end if subject.normal_from is not None else None
    if begins is not None and until <= begins:
        return None
    reach = period
    while True:
        start = until - reach if begins is None else max(until - reach, begins)
        _, labelled = label_coverage(session, subject.model, Window(start, until))
        if labelled >= most or reach >= _LONGEST_REACH * period or start == begins:
            return Window(start, until)
        reach *= 2


def _newest(session: Session, subject: Subject) -> datetime:
    seen = span(session, subject.model)
    if seen is None:
        raise NotEnoughData(f"{subject.model.name} has no traces yet: send some with labels first")
    return seen[1] + timedelta(microseconds=1)


def _labelled(session: Session, subject: Subject, window: Window) -> _Labelled:
    """The labelled rows of a window, whichever version scored them, without those of broken windows."""
    frame = read_traces(session, subject.model, window, labelled=True, limit=MOST_READ)
    for one in broken_windows(session, subject.model, window):
        frame = frame[(frame["event_time"] < one.start) | (frame["event_time"] >= one.end)]
    labels = subject.settings.labels(subject.model.task)
    y = labels.numbers(frame["label"])
    known = labels.usable(y)
    return _Labelled(frame=frame[known], y=y[known])


def _lacking(found: _Labelled | None, window: Window | None, subject: Subject) -> str:
    """What these rows lack for a stress test; empty when nothing."""
    if found is None or window is None:
        return f"expected at least {LEAST_ROWS} labelled rows since the reference, got none"
    span = f"from {window.start:%-d %b %Y} to {window.end:%-d %b %Y}"
    if len(found.y) < LEAST_ROWS:
        return f"expected at least {LEAST_ROWS} labelled rows {span}, got {len(found.y)}"
    if not subject.settings.labels(subject.model.task).tells_apart(found.y):
        return f"expected rows of two classes or more {span}, got {len(found.y):,} of one"
    return ""


def _rows(
    found: _Labelled, subject: Subject, schema: Schema, window: Window, on: On, normal: FloatArray | None, most: int,
    *, note: str = "",
) -> StressRows:  # fmt: skip
    chosen = chosen_rows(found.y, most, subject.model.task, _seed(window))
    encoded = schema.encode(found.frame)
    ids = "\n".join(found.frame["trace_id"].iloc[chosen].astype(str))
    sha256 = hashlib.sha256(ids.encode()).hexdigest()
    return StressRows(
        origin=Origin(on=on, window=window, ids_sha256=sha256, note=note),
        rows=encoded[chosen],
        y=found.y[chosen],
        reference=encoded if normal is None else normal,
    )


def _seed(window: Window) -> int:
    return int(window.start.timestamp()) // 60
