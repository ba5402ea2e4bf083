"""Rows as lines of JSON: whatever a service holds its values in, as the server would read them."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Real
from typing import Any, NamedTuple

_MISSING = frozenset({"NAType", "NaTType"})  # of pandas
_TICKING = frozenset("mM")  # NumPy's times: as numbers they would lose their unit


class Trace(NamedTuple):
    """A trace as it was logged."""

    features: dict[Any, Any]
    trace_id: str
    event_time: object
    version: object
    score: object
    prediction: object


class Label(NamedTuple):
    """A label as it was logged."""

    trace_id: str
    label: object
    label_time: object


def line_of(row: Trace | Label) -> bytes:
    """One row as a line of JSON with its end.

    Raises:
        ValueError, TypeError, RecursionError: it holds itself, or is nested beyond reason.
    """
    return (_ENCODER.encode(_fields(row)) + "\n").encode()


def plain(value: Any) -> Any:
    """A value that JSON does not know, as one that it does.

    >>> plain(Decimal("12.50")), plain(date(2026, 3, 2)), plain({"a"})
    (12.5, '2026-03-02', ['a'])
    """
    kind = type(value)
    if kind.__name__ in _MISSING:
        return None
    if getattr(getattr(value, "dtype", None), "kind", "") in _TICKING:
        return None if str(value) == "NaT" else str(value)
    if hasattr(value, "tolist"):  # scalars and arrays of NumPy, tensors of torch, columns of pandas
        found = value.tolist()
        return float(found) if type(found) is kind else found
    if isinstance(value, (Decimal, Real)):
        return _number(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


_ENCODER = json.JSONEncoder(default=plain, separators=(",", ":"))


def _fields(row: Trace | Label) -> dict[str, Any]:
    if isinstance(row, Label):
        return {"trace_id": row.trace_id, "label": row.label, "label_time": _moment(row.label_time)}
    fields = {name if type(name) is str else str(name): value for name, value in row.features.items()}
    fields["trace_id"] = row.trace_id
    fields["event_time"] = _moment(row.event_time)
    if row.version is not None:
        fields["version"] = row.version
    if row.score is not None:
        fields["score"] = row.score
    if row.prediction is not None:
        fields["prediction"] = row.prediction
    return fields


def _moment(told: Any) -> Any:
    """A number is seconds since 1970."""
    if hasattr(told, "tolist") or isinstance(told, Decimal):
        told = plain(told)
    if isinstance(told, (int, float)) and not isinstance(told, bool):
        return datetime.fromtimestamp(told, UTC).isoformat()
    return told


def _number(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, OverflowError):  # a signalling NaN, a fraction beyond what a float holds
        return float("nan")
