"""What a file says of a model's schema before anybody confirmed it: kinds, levels, bounds, units by their names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from monitor.db.trace_tables import RESERVED
from monitor.drift import unique_columns
from monitor.errors import BadInput, SchemaMismatch
from monitor.intake.sources.times import parse_times
from monitor.schema import Feature, Kind, Schema
from monitor.vectors import MAX_SIZE, Vector, vectors_in

CONFIRM = "to confirm"
_ROWS = 2_000  # at which a column is looked at for being a time
_UNITS = {
    "usd": "USD", "eur": "EUR", "gbp": "GBP", "chf": "CHF", "jpy": "JPY", "cents": "cents", "pct": "%", "percent": "%",
    "kg": "kg", "lbs": "lb", "km": "km", "miles": "mi", "cm": "cm", "mm": "mm", "ms": "ms", "sec": "s", "secs": "s",
    "seconds": "s", "minutes": "min", "mins": "min", "hours": "h", "days": "d", "months": "months", "years": "years",
    "celsius": "°C", "fahrenheit": "°F", "kelvin": "K", "bytes": "B", "kb": "kB", "mb": "MB", "kwh": "kWh",
    "mph": "mph", "kmh": "km/h", "volts": "V", "watts": "W", "age": "years",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A schema, comments by feature and key, and why columns were left out."""

    schema: Schema
    notes: dict[str, dict[str, str]]
    left_out: dict[str, str]


def guess(frame: pd.DataFrame, *, drop: Iterable[str] = ()) -> Guess:
    """What can be told from rows alone.

    Raises:
        BadInput: no column is left that could be a feature.
    """
    left_out = {name: "as said" for name in drop if name in frame.columns}
    rest = frame.drop(columns=list(left_out))
    left_out |= {name: "every trace has one of this name" for name in rest.columns if name in RESERVED}
    rest = frame.drop(columns=list(left_out))
    found, others = vectors_of(rest)
    left_out |= others
    rest = rest.drop(columns=[*(vector.name for vector in found), *others])
    left_out |= {str(name): "a time" for name in rest.columns if _is_time(rest[name])}
    rest = rest.drop(columns=[name for name in rest.columns if name in left_out])
    left_out |= dict.fromkeys(unique_columns(rest), "unique in every row: an identifier")
    rest = rest.drop(columns=[name for name in rest.columns if name in left_out])
    if rest.shape[1] == 0 and not found:
        raise BadInput(f"expected features, every column was left out: {', '.join(left_out)}")
    told = [_guessed(feature, rest[feature.name]) for feature in Schema.infer(rest).features]
    return Guess(
        schema=Schema(tuple(feature for feature, _ in told), vectors=found),
        notes={feature.name: notes for feature, notes in told}
        | {
            vector.name: {"size": f"watched by its norm and {len(vector.summaries) - 1} projections"}
            for vector in found
        },
        left_out=left_out,
    )


def vectors_of(frame: pd.DataFrame) -> tuple[tuple[Vector, ...], dict[str, str]]:
    """The columns that hold vectors, and why other columns of lists hold none."""
    odd = {}
    for name in frame.columns:
        try:
            vectors_in(frame[[name]])
        except SchemaMismatch:
            odd[str(name)] = f"lists that are no vectors: not of 1 to {MAX_SIZE:,} numbers, always as many"
    return vectors_in(frame.drop(columns=list(odd))), odd


def unit_of(name: str) -> str | None:
    """The unit that a name ends in, or None.

    >>> unit_of("amount_usd"), unit_of("distanceKm"), unit_of("age"), unit_of("channel")
    ('USD', 'km', 'years', None)
    """
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    return _UNITS.get(words[-1].lower()) if words else None


def _guessed(feature: Feature, column: "pd.Series[float]") -> tuple[Feature, dict[str, str]]:
    notes = {"mutable": CONFIRM}
    if feature.is_categorical:
        notes["levels"] = f"{len(feature.levels)} seen: {CONFIRM}"
        return feature, notes
    if feature.kind is Kind.BOOLEAN:
        return feature, notes
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return feature, notes | {"kind": f"no value seen: {CONFIRM}"}
    low, high, unit = float(values.min()), float(values.max()), unit_of(feature.name)
    notes["kind"] = f"seen {low:g} to {high:g}"
    if unit is not None:
        notes["unit"] = f"by its name: {CONFIRM}"
    lower, upper = (0.0 if low >= 0 else None), None
    if low >= 0 and high <= 1 and feature.kind is Kind.NUMERIC:
        upper = 1.0
    elif low >= 0 and high <= 100 and unit == "%":
        upper = 100.0
    notes |= {"lower": CONFIRM, "upper": CONFIRM}
    return replace(feature, unit=unit, lower=lower, upper=upper), notes


def _is_time(column: "pd.Series[float]") -> bool:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return True
    sample = column.dropna().iloc[:_ROWS]
    if sample.empty or pd.api.types.is_numeric_dtype(sample.dtype):
        return False
    if pd.to_numeric(sample, errors="coerce").notna().any():
        return False
    try:
        return bool(parse_times(sample.to_frame("t"), ["t"], strict=False).notna().mean() > 0.9)
    except BadInput:
        return False
