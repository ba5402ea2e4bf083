"""Known unit errors: values multiplied by a factor that people confuse, on all rows or on one part of them.

A part is one or more levels of a low-cardinality categorical. Logarithms of the values turn a factor into a shift, so a
unit error is a shift of every quartile by the logarithm of a known factor, with the spread unchanged.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from math import log

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom

from monitor.schema import Schema

FloatArray = NDArray[np.float64]

# Powers of ten (cents, kilo, mega), and inches, miles, pounds.
FACTORS = (10.0, 100.0, 1_000.0, 1_000_000.0, 2.54, 1.609344, 0.45359237)
QUARTILES = (0.25, 0.5, 0.75)
IQR_OF_NORMAL = 1.349
MIN_ROWS = 30  # of a part in either sample
MIN_DISTINCT = 10  # counts and codes have no unit
MAX_LEVELS = 12  # of a categorical that is tried as the boundary of a part
LEAST_SHIFT = 1.5  # robust σ of log values: a factor within the ordinary spread cannot be told from drift
TOLERANCE = 0.15  # of the shift, in log units, besides sampling error
ALPHA = 1e-6
_ALL = ("", "")


@dataclass(frozen=True, kw_only=True)
class UnitChange:
    """`feature` was changed as `name` ("×100", "°C→°F") on `segment` (None: all rows), `share` of the rows."""

    feature: str
    name: str
    factor: float
    measured: float
    p_value: float
    segment: str | None
    share: float


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Quartiles of a feature's reference values in a part; of their logarithms where all are positive, else None."""

    n: int
    quartiles: FloatArray
    log_quartiles: FloatArray | None


@dataclass(frozen=True, kw_only=True)
class UnitReference:
    """Quartiles of each numeric feature, on all reference rows and on each level of each small categorical."""

    numeric: tuple[str, ...]
    small: tuple[str, ...]
    parts: dict[tuple[str, str], dict[str, _Part]]


@dataclass(frozen=True, kw_only=True)
class _Match:
    feature: str
    name: str
    factor: float
    measured: float
    p_value: float
    part: tuple[str, str]
    rows: int


def fit_units(reference: pd.DataFrame, schema: Schema) -> UnitReference:
    """Quartiles of conformed reference rows, a part at a time."""
    numeric = tuple(
        feature.name
        for feature in schema.features
        if not feature.is_categorical and reference[feature.name].nunique() >= MIN_DISTINCT
    )
    small = tuple(
        feature.name
        for feature in schema.features
        if feature.is_categorical and 2 <= reference[feature.name].nunique() <= MAX_LEVELS
    )
    parts = {
        part: {name: fitted for name in numeric if (fitted := _fit_part(rows[name])) is not None}
        for part, rows in _parts(reference, small)
    }
    return UnitReference(numeric=numeric, small=small, parts=parts)


def unit_changes(reference: UnitReference, current: pd.DataFrame) -> tuple[UnitChange, ...]:
    """The unit errors of conformed rows: for each feature the one that explains most rows.

    False alarms: the median must have moved by 1.5 robust σ to within .15 (and sampling error) of a known factor,
    the spread must be the same, and a sign test must give p < 1e-6; on stationary rows this does not happen.
    """
    matches = [
        match
        for part, rows in _parts(current, reference.small)
        for name, known in reference.parts.get(part, {}).items()
        if (match := _match(name, part, known, rows[name].dropna().to_numpy(np.float64))) is not None
    ]
    matches.sort(key=lambda match: match.feature)
    return tuple(
        _widest(list(of_feature), len(current)) for _, of_feature in groupby(matches, key=lambda match: match.feature)
    )


def _parts(frame: pd.DataFrame, small: Iterable[str]) -> Iterable[tuple[tuple[str, str], pd.DataFrame]]:
    yield _ALL, frame
    for name in small:
        for level, rows in frame.groupby(name, sort=True):
            yield (name, str(level)), rows


def _fit_part(column: "pd.Series[float]") -> _Part | None:
    values = column.dropna().to_numpy(np.float64)
    if values.size < MIN_ROWS or np.unique(values).size < MIN_DISTINCT:
        return None
    quartiles: FloatArray = np.quantile(values, QUARTILES)
    positive = values[values > 0]
    mostly = positive.size >= 0.9 * values.size and np.unique(positive).size >= MIN_DISTINCT
    logs = np.quantile(np.log(positive), QUARTILES) if mostly else None
    return _Part(n=values.size, quartiles=quartiles, log_quartiles=logs)


def _match(name: str, part: tuple[str, str], known: _Part, values: FloatArray) -> _Match | None:
    if values.size < MIN_ROWS:
        return None
    scaled = _scaled(known, values)
    found = scaled if scaled is not None else _fahrenheit(known, values)
    if found is None:
        return None
    label, factor, measured = found
    p_value = _sign_test(known.quartiles[1], values)
    if p_value >= ALPHA:
        return None
    return _Match(
        feature=name, name=label, factor=factor, measured=measured, p_value=p_value, part=part, rows=values.size
    )  # fmt: skip


def _scaled(known: _Part, values: FloatArray) -> tuple[str, float, float] | None:
    positive = values[values > 0]
    if known.log_quartiles is None or positive.size < MIN_ROWS:
        return None
    moved = np.quantile(np.log(positive), QUARTILES) - known.log_quartiles
    sigma = float(known.log_quartiles[2] - known.log_quartiles[0]) / IQR_OF_NORMAL
    # 1.36σ/√n is the standard error of a quartile of normal values; four of them on both samples.
    slack = 4 * 1.36 * sigma * np.sqrt(1 / positive.size + 1 / known.n)
    if abs(moved[1]) < LEAST_SHIFT * sigma or float(np.ptp(moved)) > TOLERANCE + 1.5 * slack:
        return None
    for factor in FACTORS:
        for sign, symbol in ((1, "×"), (-1, "÷")):
            if abs(moved[1] - sign * log(factor)) <= TOLERANCE + min(slack, TOLERANCE):
                return (
                    f"{symbol}{factor:.4g}" if factor < 1e6 else f"{symbol}1,000,000",
                    factor,
                    float(np.exp(moved[1])),
                )
    return None


def _fahrenheit(known: _Part, values: FloatArray) -> tuple[str, float, float] | None:
    """Degrees Celsius read as Fahrenheit, or back: every quartile must land where 1.8·x + 32 puts it."""
    quartiles = np.quantile(values, QUARTILES)
    for label, expected in (("°C→°F", 1.8 * known.quartiles + 32), ("°F→°C", (known.quartiles - 32) / 1.8)):
        sigma = float(expected[2] - expected[0]) / IQR_OF_NORMAL
        moved = abs(float(expected[1] - known.quartiles[1]))
        slack = 4 * 1.36 * sigma * np.sqrt(1 / values.size + 1 / known.n)
        near = float(np.abs(quartiles - expected).max()) <= TOLERANCE * sigma + min(slack, 0.3 * sigma)
        if sigma > 0 and near and moved >= 2 * LEAST_SHIFT * sigma:
            return label, 1.8, float((quartiles[2] - quartiles[0]) / (known.quartiles[2] - known.quartiles[0]))
    return None


def _sign_test(median: float, values: FloatArray) -> float:
    """Two-sided p-value of the values' lying on one side of the reference's median."""
    decided = int((values != median).sum())
    above = int((values > median).sum())
    return min(1.0, 2 * float(binom.sf(max(above, decided - above) - 1, decided, 0.5))) if decided else 1.0


def _widest(matches: list[_Match], rows: int) -> UnitChange:
    """All rows if a feature matches as a whole, else the categorical and factor that cover most rows."""
    whole = [match for match in matches if match.part == _ALL]
    covered: dict[tuple[str, str], list[_Match]] = {}
    for match in whole or matches:
        covered.setdefault((match.part[0], match.name), []).append(match)
    chosen = max(covered.values(), key=lambda levels: sum(match.rows for match in levels))
    largest = max(chosen, key=lambda match: match.rows)
    levels = ", ".join(match.part[1] for match in chosen)
    return UnitChange(
        feature=largest.feature, name=largest.name, factor=largest.factor, measured=largest.measured,
        p_value=largest.p_value, segment=None if whole else f"{largest.part[0]}={levels}",
        share=sum(match.rows for match in chosen) / rows,
    )  # fmt: skip
