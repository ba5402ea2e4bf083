"""Rows as lines of JSON: whatever a service holds its values in, as the server would read them."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from numbers import Real
from typing import Any, TypeAlias

_MISSING = frozenset({"NAType", "NaTType"})  # of pandas
_TICKING = frozenset("mM")  # NumPy's times: as numbers they would lose their unit


# As it was logged, the arguments of `trace_line` or `label_line`. No class of its own: making one costs a caller more
# than all the rest of `log`.
Row: TypeAlias = tuple[Any, ...]


def trace_line(
    features: Mapping[Any, Any], trace_id: str, event_time: Any, version: Any, score: Any, prediction: Any
) -> bytes:
    """A trace as a line of JSON with its end.

    Raises:
        ValueError, TypeError, RecursionError: it holds itself, or is nested beyond reason.
    """
    fields = {name if type(name) is str else str(name): value for name, value in features.items()}
    fields["trace_id"] = trace_id
    fields["event_time"] = _moment(event_time)
    if version is not None:
        fields["version"] = version
    if score is not None:
        fields["score"] = score
    if prediction is not None:
        fields["prediction"] = prediction
    return _line(fields)


def label_line(trace_id: str, label: Any, label_time: Any) -> bytes:
    """A label as a line of JSON with its end; it raises as `trace_line` does."""
    return _line({"trace_id": trace_id, "label": label, "label_time": _moment(label_time)})


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


def _line(fields: Mapping[str, Any]) -> bytes:
    return (_ENCODER.encode(fields) + "\n").encode()


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
