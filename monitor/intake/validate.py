"""Which rows can be taken, and why the others cannot: the same function for every way in.

Refused are rows that could not be stored, joined or placed in time. What a window's quality check measures (missing,
unseen, out of range, infinite, not a number) is no reason to refuse a row: refusing it would hide the fault.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.errors import SchemaMismatch
from monitor.schema import Schema

LONGEST_ID = 256  # characters, of ids and version names
LONGEST_TEXT = 8_192  # characters of any other value
MOST_RAW = 65_536  # bytes of a refused row that are kept
REQUIRED = ("trace_id", "event_time")
_SPARE = {"version": None, "score": None, "prediction": None}


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that was refused: its position in the batch, why, and what it held."""

    position: int
    reason: str
    raw: str


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The rows to go on with, and the others. Positions of `good` in the batch are its index."""

    good: pd.DataFrame
    bad: tuple[BadRow, ...]


def validate(
    frame: pd.DataFrame, schema: Schema, *, oldest: datetime | None, latest: datetime, version: str
) -> Validated:
    """Sort rows out by id, time and whether their values can be stored.

    Args:
        frame: trace_id and event_time, features by name, and where given version, score and prediction.
        oldest: rows before it are no longer kept.
        latest: rows after it are from a clock that is wrong.
        version: what rows that name none were served by.

    Raises:
        SchemaMismatch: a required column or every feature is missing, so that no row could be good.
    """
    _require_columns(frame, schema)
    rows = frame.reset_index(drop=True).assign(
        **{name: spare for name, spare in _SPARE.items() if name not in frame.columns}
    )
    reasons = _Reasons(len(rows))
    _check_id(rows["trace_id"], reasons)
    _check_values(rows["version"], "version", reasons, longest=LONGEST_ID)
    times = _check_times(rows["event_time"], "event_time", oldest, latest, reasons)
    scores = pd.to_numeric(rows["score"], errors="coerce").astype(np.float64)
    unread = np.isnan(scores.to_numpy()) & rows["score"].notna().to_numpy()
    reasons.add(
        unread | np.isinf(scores.to_numpy()), lambda i: f"score: expected a finite number, got {rows['score'][i]!r}"
    )
    for name in ("prediction", *(name for name in schema.names if name in rows.columns)):
        _check_values(rows[name], name, reasons)
    accepted = reasons.none
    good = rows[accepted].assign(
        trace_id=rows["trace_id"][accepted].map(str).astype(object),
        event_time=times[accepted],
        version=_filled(rows["version"], version)[accepted].map(str).astype(object),
        score=scores[accepted],
        prediction=as_text(rows["prediction"])[accepted],
    )
    return Validated(good=good, bad=reasons.rows(frame))


def validate_labels(frame: pd.DataFrame, *, latest: datetime, now: datetime) -> Validated:
    """Sort labels out: trace_id, label, and label_time, which is `now` where it is not given.

    A row without a label says that it is not known yet, and is passed over.

    Raises:
        SchemaMismatch: a required column is missing.
    """
    missing = [name for name in ("trace_id", "label") if name not in frame.columns]
    if missing:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise SchemaMismatch(f"expected the columns trace_id and label, got {there}: map {' and '.join(missing)}")
    rows = frame[frame["label"].notna()].reset_index(drop=True)
    given = rows["label_time"] if "label_time" in rows.columns else pd.Series(None, index=rows.index, dtype=object)
    reasons = _Reasons(len(rows))
    _check_id(rows["trace_id"], reasons)
    _check_values(rows["label"], "label", reasons)
    times = _check_times(_filled(given, now), "label_time", None, latest, reasons)
    good = pd.DataFrame({"trace_id": rows["trace_id"].map(str), "label": as_text(rows["label"]), "label_time": times})
    return Validated(good=good[reasons.none], bad=reasons.rows(rows))


def parse_event_times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Times in UTC at microseconds, NaT where they cannot be read; a time without a zone is UTC."""
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    elif not isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_localize(UTC)
    times: pd.Series[Any] = column.dt.tz_convert(UTC).dt.as_unit("us")
    return times


def as_text(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Classes and labels as text objects with None: whole numbers without a decimal point, booleans as 1 and 0."""
    return pd.Series([_text(value) for value in column], index=column.index, dtype=object)


def _text(value: object) -> str | None:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)


def _filled(column: "pd.Series[Any]", spare: object) -> "pd.Series[Any]":
    return column if column.notna().all() else column.astype(object).where(column.notna(), spare)


class _Reasons:
    """The first reason against each row."""

    def __init__(self, rows: int) -> None:
        self._found: dict[int, str] = {}
        self.none: NDArray[np.bool_] = np.ones(rows, dtype=np.bool_)

    def add(self, against: NDArray[np.bool_], reason: Callable[[int], str]) -> None:
        for i in np.flatnonzero(against & self.none):
            self._found[int(i)] = reason(int(i))
        self.none &= ~against

    def rows(self, frame: pd.DataFrame) -> tuple[BadRow, ...]:
        return tuple(
            BadRow(position=i, reason=reason, raw=_raw(frame.iloc[i])) for i, reason in sorted(self._found.items())
        )


def _require_columns(frame: pd.DataFrame, schema: Schema) -> None:
    there = ", ".join(map(str, frame.columns)) or "none"
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise SchemaMismatch(f"expected the columns {', '.join(REQUIRED)}, got {there}: map {' and '.join(missing)}")
    if not set(schema.names) & set(frame.columns):
        raise SchemaMismatch(f"expected features such as {', '.join(schema.names[:5])}, got {there}: map the columns")


def _check_id(ids: "pd.Series[Any]", reasons: _Reasons) -> None:
    blank = np.fromiter((isinstance(value, str) and not value for value in ids), np.bool_, len(ids))
    reasons.add(blank | ids.isna().to_numpy(), lambda i: "trace_id: expected an id, got none")
    _check_values(ids, "trace_id", reasons, longest=LONGEST_ID)


def _check_times(
    column: "pd.Series[Any]", name: str, oldest: datetime | None, latest: datetime, reasons: _Reasons
) -> "pd.Series[Any]":
    times = parse_event_times(column)
    reasons.add(times.isna().to_numpy(), lambda i: f"{name}: expected an ISO 8601 time, got {_short(column[i])}")
    reasons.add(
        (times > latest).to_numpy(),
        lambda i: f"{name}: expected a time up to {latest:%Y-%m-%d %H:%M}, got {times[i]:%Y-%m-%d %H:%M}",
    )
    if oldest is not None:
        reasons.add(
            (times < oldest).to_numpy(),
            lambda i: f"{name}: rows before {oldest:%Y-%m-%d} are no longer kept, got {times[i]:%Y-%m-%d %H:%M}",
        )
    return times


def _check_values(column: "pd.Series[Any]", name: str, reasons: _Reasons, *, longest: int = LONGEST_TEXT) -> None:
    """Values that no column of the database holds. Numbers and times by their type are fine as they are."""
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return
    values = column.to_numpy(object)
    if not any(_fault(value, longest) for value in _distinct(values)):
        return
    faults = [_fault(value, longest) for value in values]
    against = np.fromiter((fault is not None for fault in faults), np.bool_, len(faults))
    reasons.add(against, lambda i: f"{name}: {faults[i]}")


def _distinct(values: NDArray[np.object_]) -> Iterable[object]:
    try:
        return set(values)
    except TypeError:  # a list or an object among them
        return values


def _fault(value: object, longest: int) -> str | None:
    if isinstance(value, str):
        if len(value) > longest:
            return f"expected at most {longest:,} characters, got {len(value):,}"
        if "\x00" in value or not (value.isascii() or _is_unicode(value)):
            return f"expected readable text, got {_short(value)}"
    elif isinstance(value, Sequence | Mapping | set | np.ndarray):
        return f"expected one value, got {_short(value)}"
    return None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _raw(row: "pd.Series[Any]") -> str:
    return json.dumps(row.to_dict(), default=str)[:MOST_RAW]
