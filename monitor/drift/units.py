"""Known unit errors: values multiplied by a factor that people confuse, on all rows or on one part of them.

A part is one or more levels of a low-cardinality categorical. Logarithms of the values turn a factor into a shift, so a
unit error is a shift of the whole distribution by the logarithm of a known factor.
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

TENS = {"10": 10.0, "100": 100.0, "1,000": 1_000.0, "1,000,000": 1_000_000.0}  # cents, kilo, mega
PHYSICAL = {"2.54": 2.54, "1.609": 1.609344, "0.4536": 0.45359237}  # inches, miles, pounds
GRID = np.arange(1, 20) / 20  # of quantiles; the median is in the middle
MEDIAN, LOWER, UPPER = 9, 4, 14
IQR_OF_NORMAL = 1.349
MIN_ROWS = 50  # of a part in either sample
MIN_DISTINCT = 10  # values in either sample: counts and codes have no unit
MAX_LEVELS = 12  # of a categorical that is tried as the boundary of a part
LEAST_SHIFT = 2.0  # robust σ of log values: a factor within the ordinary spread cannot be told from drift
LEAST_PHYSICAL_SHIFT = 4.0  # small factors look like real change: only where values hardly vary, and on all rows
TOLERANCE = 0.15  # of the median, in log units, and of the distribution function, besides sampling error
ALPHA = 1e-6
_ALL = ("", "")
_DIRECTIONS = (("×", 1), ("÷", -1))


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
    """Quantiles of a feature's reference values in a part; of their logarithms where nearly all are positive."""

    n: int
    values: FloatArray
    logs: FloatArray | None


@dataclass(frozen=True, kw_only=True)
class UnitReference:
    """Quantiles of each numeric feature, on all reference rows and on each level of each small categorical."""

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
    """Quantiles of conformed reference rows, a part at a time."""
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
        part: {name: fitted for name in numeric if (fitted := _fit_part(reference[name].iloc[rows])) is not None}
        for part, rows in _parts(reference, small)
    }
    return UnitReference(numeric=numeric, small=small, parts=parts)


def unit_changes(reference: UnitReference, current: pd.DataFrame) -> tuple[UnitChange, ...]:
    """The unit errors of conformed rows: for each feature the one that explains most rows.

    False alarms: the median must have moved by 2 robust σ (4 for inches, miles, pounds and degrees) to within .15 (and
    sampling error) of a known factor, the distribution after undoing it must be the reference's to within .15 (and
    sampling error), and a sign test must give p < 1e-6; on stationary rows this does not happen.
    """
    columns = {name: current[name].to_numpy(np.float64) for name in reference.numeric}
    matches = [
        match
        for part, rows in _parts(current, reference.small)
        for name, known in reference.parts.get(part, {}).items()
        if (match := _match(name, part, known, _present(columns[name][rows]))) is not None
    ]
    matches.sort(key=lambda match: match.feature)
    return tuple(
        _widest(list(of_feature), len(current)) for _, of_feature in groupby(matches, key=lambda match: match.feature)
    )


def _parts(frame: pd.DataFrame, small: Iterable[str]) -> Iterable[tuple[tuple[str, str], NDArray[np.intp]]]:
    """The positions of all rows, and of those of each level."""
    yield _ALL, np.arange(len(frame))
    for name in small:
        codes, levels = pd.factorize(frame[name], sort=True)  # −1 where there is no level
        for code, level in enumerate(levels):
            yield (name, str(level)), np.flatnonzero(codes == code)


def _present(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]


def _fit_part(column: "pd.Series[float]") -> _Part | None:
    values = column.dropna().to_numpy(np.float64)
    if values.size < MIN_ROWS or np.unique(values).size < MIN_DISTINCT:
        return None
    quantiles: FloatArray = np.quantile(values, GRID)
    positive = values[values > 0]
    mostly = positive.size >= 0.9 * values.size and np.unique(positive).size >= MIN_DISTINCT
    logs = np.quantile(np.log(positive), GRID) if mostly else None
    return _Part(n=values.size, values=quantiles, logs=logs)


def _match(name: str, part: tuple[str, str], known: _Part, values: FloatArray) -> _Match | None:
    if values.size < MIN_ROWS:
        return None
    found = _scaled(known, values, TENS, LEAST_SHIFT)
    if found is None and part == _ALL:
        found = _scaled(known, values, PHYSICAL, LEAST_PHYSICAL_SHIFT) or _degrees(known, values)
    if found is None or np.unique(values).size < MIN_DISTINCT:
        return None
    p_value = _sign_test(known.values[MEDIAN], values)
    if p_value >= ALPHA:
        return None
    label, factor, measured = found
    return _Match(
        feature=name, name=label, factor=factor, measured=measured, p_value=p_value, part=part, rows=values.size
    )  # fmt: skip


def _scaled(
    known: _Part, values: FloatArray, factors: dict[str, float], least_shift: float
) -> tuple[str, float, float] | None:
    positive = values[values > 0]
    if known.logs is None or positive.size < 0.9 * values.size:
        return None
    logs, sigma = np.log(positive), _sigma(known.logs)
    moved = float(np.median(logs)) - float(known.logs[MEDIAN])
    if abs(moved) < least_shift * sigma:
        return None
    options = [(f"{symbol}{name}", sign * log(f)) for name, f in factors.items() for symbol, sign in _DIRECTIONS]
    name, shift = min(options, key=lambda option: abs(moved - option[1]))
    error = 4 * 1.2533 * sigma * np.sqrt(1 / logs.size + 1 / known.n)  # 1.2533σ/√n is a normal median's standard error
    if abs(moved - shift) > TOLERANCE + min(error, TOLERANCE) or not _same(known.logs, logs - shift, known.n):
        return None
    return name, float(np.exp(shift)), float(np.exp(moved))


def _degrees(known: _Part, values: FloatArray) -> tuple[str, float, float] | None:
    """Degrees Celsius read as Fahrenheit, or back: undoing 1.8·x + 32 must give the reference's distribution."""
    for label, undone, spread in (("°C→°F", (values - 32) / 1.8, 1.8), ("°F→°C", values * 1.8 + 32, 1 / 1.8)):
        moved = abs(float(np.median(values)) - float(known.values[MEDIAN]))
        wide = max(1.0, spread) * _sigma(known.values)
        if wide > 0 and moved >= LEAST_PHYSICAL_SHIFT / 2 * wide and _same(known.values, undone, known.n):
            return label, 1.8, spread
    return None


def _sigma(quantiles: FloatArray) -> float:
    return float(quantiles[UPPER] - quantiles[LOWER]) / IQR_OF_NORMAL


def _same(quantiles: FloatArray, values: FloatArray, n: int) -> bool:
    """Whether the distribution function of `values` is the reference's to within the tolerance and sampling error.

    1.36·√(1/n + 1/m) is the 95 % point of the Kolmogorov–Smirnov distance.
    """
    ordered = np.sort(values)
    below = (np.searchsorted(ordered, quantiles, "left") + np.searchsorted(ordered, quantiles, "right")) / 2
    distance = float(np.abs(below / values.size - GRID).max())
    return distance <= TOLERANCE + 1.36 * float(np.sqrt(1 / values.size + 1 / n))


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
