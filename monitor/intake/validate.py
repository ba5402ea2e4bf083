"""Which rows can be taken, and why the others cannot: the same function for every way in.

Refused are rows that could not be stored, joined or placed in time. What a window's quality check measures (missing,
unseen, out of range, infinite, not a number) is no reason to refuse a row: refusing it would hide the fault. Not so
of a vector: nothing can be computed of one that has another size, or holds what is no finite number.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.batch import Batch, Column
from monitor.errors import SchemaMismatch
from monitor.intake.fields import LONGEST_ID, Reasons, Rows, Taken, class_text, frame_of, names_of, row_of
from monitor.schema import FloatArray, Schema
from monitor.vectors import read

MOST_RAW = 65_536  # bytes of a refused row that are kept
REQUIRED = ("trace_id", "event_time")
TOLD = ("version", "score", "prediction", "entity")  # what a trace may say beside its features
KNOWN = (*REQUIRED, *TOLD)


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that was refused: its position in the batch, why, and what it held."""

    position: int
    reason: str
    raw: str


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The rows to go on with, their positions in the batch, and the others."""

    good: Batch
    positions: NDArray[np.intp]
    bad: tuple[BadRow, ...]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels to go on with (trace_id, label as text, label_time), and the others."""

    good: pd.DataFrame
    bad: tuple[BadRow, ...]


def validate(rows: Rows, schema: Schema, *, oldest: datetime | None, latest: datetime, version: str) -> Validated:
    """Sort rows out by id, time and whether their values can be stored.

    Args:
        rows: trace_id and event_time, features by name, and where given version, score, prediction and entity.
        oldest: rows before it are no longer kept.
        latest: rows after it are from a clock that is wrong.
        version: what rows that name none were served by.

    Raises:
        SchemaMismatch: a required column or every feature is missing, so that no row could be good.
    """
    names = names_of(rows)
    _require_columns(names, schema)
    count, reasons = len(rows), Reasons(len(rows))
    trace_id, times = Taken.of(rows, "trace_id"), Taken.of(rows, "event_time")
    told = {name: Taken.of(rows, name) if name in names else Taken.absent(name, count) for name in TOLD}
    ids = _ids(trace_id, reasons)
    told["version"].refuse_unstorable(reasons, longest=LONGEST_ID)
    moments = _times(times, oldest, latest, reasons)
    score = _score(told["score"], reasons)
    told["prediction"].refuse_unstorable(reasons)
    told["entity"].refuse_unstorable(reasons, longest=LONGEST_ID)
    features, unread = _features(
        {f.name: Taken.of(rows, f.name) for f in schema.features if f.vector is None and f.name in names},
        schema,
        reasons,
    )
    vectors, summaries = _vectors(rows, names, schema, reasons)
    batch = Batch(
        trace_id=ids,
        event_time=moments,
        version=pc.fill_null(told["version"].texts(), version),
        score=score,
        prediction=told["prediction"].texts(class_text),
        features=features | summaries,
        entity=told["entity"].texts() if "entity" in names else None,
        unread=unread,
        vectors=vectors,
    )
    return Validated(
        good=batch.where(reasons.none), positions=np.flatnonzero(reasons.none), bad=_bad_rows(rows, reasons)
    )


def validate_labels(rows: Rows, *, latest: datetime, now: datetime) -> Labels:
    """Sort labels out: trace_id, label, and label_time, which is `now` where it is not given.

    A row without a label says that it is not known yet, and is passed over.

    Raises:
        SchemaMismatch: a required column is missing.
    """
    names = names_of(rows)
    missing = [name for name in ("trace_id", "label") if name not in names]
    if missing:
        there = ", ".join(names) or "none"
        raise SchemaMismatch(f"expected the columns trace_id and label, got {there}: map {' and '.join(missing)}")
    frame = frame_of(rows)
    told = np.flatnonzero(frame["label"].notna().to_numpy())
    known = frame.iloc[told].reset_index(drop=True)
    reasons = Reasons(len(known))
    ids, label = _ids(Taken.of(known, "trace_id"), reasons), Taken.of(known, "label")
    label.refuse_unstorable(reasons)
    given = known["label_time"] if "label_time" in names else pd.Series(None, index=known.index, dtype=object)
    filled = given if given.notna().all() else given.astype(object).where(given.notna(), now)
    moments = _times(Taken.of(pd.DataFrame({"label_time": filled}), "label_time"), None, latest, reasons)
    good = pd.DataFrame(
        {
            "trace_id": pd.Series(ids.to_numpy(zero_copy_only=False), dtype=object),
            "label": pd.Series(label.texts(class_text).to_numpy(zero_copy_only=False), dtype=object),
            "label_time": pd.Series(moments).dt.tz_localize(UTC),
        }
    )
    bad = tuple(replace(row, position=int(told[row.position])) for row in _bad_rows(known, reasons))
    return Labels(good=good[reasons.none], bad=bad)


def parse_event_times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Times in UTC at microseconds, NaT where they cannot be read; a time without a zone is UTC."""
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    elif not isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_localize(UTC)
    times: pd.Series[Any] = column.dt.tz_convert(UTC).dt.as_unit("us")
    return times


def raw_row(rows: Rows, position: int) -> str:
    """A row as it came, as JSON where that is possible, cut to what is kept."""
    return json.dumps(row_of(rows, position), default=as_json)[:MOST_RAW]


def as_json(value: object) -> object:
    """A value that JSON does not know, as it is kept of a refused row: vectors whole, others as texts."""
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _require_columns(names: list[str], schema: Schema) -> None:
    there = ", ".join(names) or "none"
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise SchemaMismatch(f"expected the columns {', '.join(REQUIRED)}, got {there}: map {' and '.join(missing)}")
    if not set(schema.fields) & set(names):
        raise SchemaMismatch(f"expected features such as {', '.join(schema.fields[:5])}, got {there}: map the columns")


def _ids(column: Taken, reasons: Reasons) -> pa.Array:
    column.refuse_unstorable(reasons, longest=LONGEST_ID)
    ids = column.texts()
    empty = pc.fill_null(pc.equal(pc.binary_length(ids), 0), True)
    reasons.add(np.asarray(empty), lambda i: f"{column.name}: expected an id, got none")
    return ids


def _times(column: Taken, oldest: datetime | None, latest: datetime, reasons: Reasons) -> NDArray[np.datetime64]:
    times, name = _moments(column), column.name
    reasons.add(np.isnat(times), lambda i: f"{name}: expected an ISO 8601 time, got {column.shown(i)}")
    reasons.add(
        times > _moment(latest),
        lambda i: f"{name}: expected a time up to {latest:%Y-%m-%d %H:%M}, got {_day(times[i])}",
    )
    if oldest is not None:
        reasons.add(
            times < _moment(oldest),
            lambda i: f"{name}: rows before {oldest:%Y-%m-%d} are no longer kept, got {_day(times[i])}",
        )
    return times


def _moments(column: Taken) -> NDArray[np.datetime64]:
    """UTC at microseconds, NaT where a value is no time."""
    plain = column.plain
    if plain is not None and (pa.types.is_string(plain.type) or pa.types.is_timestamp(plain.type)):
        try:
            plain = plain.cast(_UTC, safe=False)
        except pa.ArrowException:  # a text without a zone, with more digits, or no time at all
            pass
        else:
            return np.asarray(plain.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False))
    if plain is not None and pa.types.is_timestamp(plain.type):
        return np.asarray(plain.cast(pa.timestamp("us"), safe=False).to_numpy(zero_copy_only=False))
    times = parse_event_times(column.objects).dt.tz_localize(None)
    return np.asarray(times.to_numpy("datetime64[us]"))


_UTC = pa.timestamp("us", "UTC")


def _moment(time: datetime) -> np.datetime64:
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "us")


def _day(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, unit="m")).replace("T", " ")


def _score(column: Taken, reasons: Reasons) -> FloatArray:
    scores, unread = column.numbers()
    against = np.isinf(scores) if unread is None else np.isinf(scores) | unread
    reasons.add(against, lambda i: f"{column.name}: expected a finite number, got {column.shown(i)}")
    return scores


def _features(
    columns: dict[str, Taken], schema: Schema, reasons: Reasons
) -> tuple[dict[str, Column], dict[str, NDArray[np.bool_]]]:
    features: dict[str, Column] = {}
    unread: dict[str, NDArray[np.bool_]] = {}
    for name, column in columns.items():
        column.refuse_unstorable(reasons)
        if schema[name].is_categorical:
            features[name] = column.texts()
            continue
        features[name], faults = column.numbers(schema[name])
        if faults is not None:
            unread[name] = faults
    return features, unread


def _vectors(
    rows: Rows, names: list[str], schema: Schema, reasons: Reasons
) -> tuple[dict[str, pa.Array], dict[str, Column]]:
    """The vectors that came, and the summaries of each."""
    vectors: dict[str, pa.Array] = {}
    summaries: dict[str, Column] = {}
    for vector in schema.vectors:
        if vector.name not in names:
            continue
        found = read(Taken.of(rows, vector.name).values, vector.size)
        against = np.zeros(len(rows), np.bool_)
        against[list(found.faults)] = True
        reasons.add(against, partial(_said, vector.name, found.faults))
        vectors[vector.name] = found.to_arrow()
        summaries |= zip(vector.summaries, found.summaries().T.copy(), strict=True)
    return vectors, summaries


def _said(name: str, faults: Mapping[int, str], row: int) -> str:
    return f"{name}: {faults[row]}"


def _bad_rows(rows: Rows, reasons: Reasons) -> tuple[BadRow, ...]:
    found = sorted(reasons.found.items())
    return tuple(BadRow(position=i, reason=reason, raw=raw_row(rows, i)) for i, reason in found)
