"""The ways in which a feature can move: unit-variance contrasts over its bins, whose mean is an effect."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from monitor.drift.feature_bins import BinKind, FeatureBins
from monitor.drift.placing import FloatArray, IntArray

_LEFT_OVER = 1e-6  # of a polynomial's own variance; below it Gram–Schmidt returns rounding noise
_LEVELS_TESTED = 32


class Movement(StrEnum):
    """What a direction looks at."""

    LOCATION = "location"
    SCALE = "scale"
    SKEW = "skew"
    KURTOSIS = "kurtosis"
    LOW = "low"
    HIGH = "high"
    MISSING = "missing"
    LEVEL = "level"


_POLYNOMIALS = (Movement.LOCATION, Movement.SCALE, Movement.SKEW, Movement.KURTOSIS)
WEIGHTS = {  # of the slow lane, and of the pooling of autocorrelation
    Movement.LOCATION: 0.30,
    Movement.SCALE: 0.20,
    Movement.SKEW: 0.08,
    Movement.KURTOSIS: 0.08,
    Movement.LOW: 0.07,
    Movement.HIGH: 0.07,
    Movement.MISSING: 0.20,
}
WINDOW_WEIGHTS = {  # skew and kurtosis have no usable t approximation at small n
    Movement.LOCATION: 0.5,
    Movement.SCALE: 0.2,
    Movement.SKEW: 0.0,
    Movement.KURTOSIS: 0.0,
    Movement.LOW: 0.1,
    Movement.HIGH: 0.1,
    Movement.MISSING: 0.1,
}
_VALUES_LOCATION = 0.3  # the location's weight beside the levels of a numeric feature with few distinct values


@dataclass(frozen=True, kw_only=True, eq=False)
class Directions:
    """K contrasts over the B bins of one feature.

    Attributes:
        movements: what each looks at, length K.
        bins_of: the bins that an indicator marks, empty for a polynomial, length K.
        matrix: a_k(b), shape (B, K), with Σ_b p_b·a_k = 0 and Σ_b p_b·a_k² = 1.
        weights, window_weights: shares of the feature's budget in the two lanes, each sums to 1 (or K = 0), shape (K,).
        shares: the reference share q of an indicator's bins, NaN for a polynomial, shape (K,).
        proportions: the reference proportions p_b = (C_b + ½)/(N + B/2), shape (B,); UNSEEN has at
            least the binning's novelty.
    """

    movements: tuple[Movement, ...]
    bins_of: tuple[tuple[int, ...], ...]
    matrix: FloatArray
    weights: FloatArray
    window_weights: FloatArray
    shares: FloatArray
    proportions: FloatArray

    def find(self, movement: Movement) -> int | None:
        """The first direction of this movement."""
        return self.movements.index(movement) if movement in self.movements else None


def directions(bins: FeatureBins, counts: IntArray) -> Directions:
    """The directions of one feature under its reference counts, shape (B,).

    Numeric: Gram–Schmidt of z, z², z³, z⁴ with z_b the mean of N(0,1) over the bin, zero on MISSING; indicators of the
    lowest three bins, the highest three, and MISSING. Categorical: one indicator a level. A direction that would repeat
    another is dropped and its share goes to the rest.

    >>> found = directions(FeatureBins(name="x", kind=BinKind.RANGES, edges=(1.0, 2.0, 3.0)), np.array([25] * 4 + [0]))
    >>> [str(movement) for movement in found.movements]
    ['location', 'scale', 'skew', 'missing']
    """
    expected = counts.astype(np.float64)
    if bins.unseen is not None:
        expected[bins.unseen] = max(expected[bins.unseen], bins.novelty * counts.sum())
    proportions: FloatArray = (expected + 0.5) / (expected.sum() + bins.size / 2)
    polynomials = _polynomials(bins, counts, proportions)
    indicators = _indicators(bins, counts)
    columns = list(polynomials.values())
    for _, marked in indicators:
        columns.append(_standardised_indicator(marked, proportions))
    movements = (*polynomials, *(movement for movement, _ in indicators))
    shares = [np.nan] * len(polynomials) + [float(proportions[list(marked)].sum()) for _, marked in indicators]
    return Directions(
        movements=movements,
        bins_of=(*(() for _ in polynomials), *(marked for _, marked in indicators)),
        matrix=np.column_stack(columns) if columns else np.zeros((bins.size, 0)),
        weights=_weights(bins, movements, WEIGHTS),
        window_weights=_weights(bins, movements, WINDOW_WEIGHTS),
        shares=np.asarray(shares, dtype=np.float64),
        proportions=proportions,
    )


def normal_scores(proportions: FloatArray) -> FloatArray:
    """z_b = (φ(Φ⁻¹F_{b−1}) − φ(Φ⁻¹F_b)) / (F_b − F_{b−1}): the mean of a standard normal over each ordered bin."""
    cumulative = np.clip(np.concatenate([[0.0], np.cumsum(proportions)]), 0.0, 1.0)
    cumulative[-1] = 1.0
    quantiles = special.ndtri(cumulative)
    densities = np.exp(-(quantiles**2) / 2) / np.sqrt(2 * np.pi)
    scores: FloatArray = (densities[:-1] - densities[1:]) / np.maximum(np.diff(cumulative), 1e-300)
    return scores


def _polynomials(bins: FeatureBins, counts: IntArray, proportions: FloatArray) -> dict[Movement, FloatArray]:
    if not bins.is_numeric or counts[: bins.value_bins].sum() == 0:
        return {}
    present = proportions[: bins.value_bins]
    weight = present / present.sum()
    z = normal_scores(weight)
    found: dict[Movement, FloatArray] = {}
    basis = [np.ones_like(z)]
    wanted = _POLYNOMIALS if bins.kind is BinKind.RANGES else _POLYNOMIALS[:1]
    for power, movement in enumerate(wanted, start=1):
        column = z**power
        own = float(weight @ (column - weight @ column) ** 2)
        for other in basis * 2:  # twice, for orthogonality to rounding
            column = column - float(weight @ (column * other)) * other
        left = float(weight @ column**2)
        if own <= 0 or left < _LEFT_OVER * own or np.count_nonzero(counts[: bins.value_bins]) <= power:
            continue
        basis.append(column / np.sqrt(left))
        contrast = np.zeros(bins.size)
        contrast[: bins.value_bins] = basis[-1] / np.sqrt(present.sum())
        found[movement] = contrast
    if bins.kind is BinKind.VALUES and np.count_nonzero(counts[: bins.value_bins]) < 3:
        return {}  # two values: the indicator of one says it all
    return found


def _indicators(bins: FeatureBins, counts: IntArray) -> list[tuple[Movement, tuple[int, ...]]]:
    """Sets of bins, the rare kinds first, so that a level that complements them is the one to be dropped."""
    wanted: list[tuple[Movement, tuple[int, ...]]] = [(Movement.MISSING, (bins.missing,))]
    if bins.kind is BinKind.RANGES:
        wanted += [(Movement.LOW, (0, 1, 2)), (Movement.HIGH, tuple(range(bins.value_bins - 3, bins.value_bins)))]
        wanted = [(m, marked) for m, marked in wanted if m is Movement.MISSING or 2 * len(marked) < bins.value_bins]
    elif bins.unseen is not None:
        wanted += [(Movement.LEVEL, marked) for marked in _level_sets(bins, counts)]
    present = {int(b) for b in np.flatnonzero(counts)}
    kept: list[tuple[Movement, tuple[int, ...]]] = []
    seen: set[frozenset[int]] = {frozenset(present)}
    for movement, marked in wanted:
        met = frozenset(marked) & present  # bins that the reference never filled do not tell two sets apart
        if met and (met in seen or frozenset(present - met) in seen):
            continue
        kept.append((movement, marked))
        if met:
            seen.add(met)
    return kept


def _level_sets(bins: FeatureBins, counts: IntArray) -> list[tuple[int, ...]]:
    unseen = bins.value_bins
    sets: list[tuple[int, ...]] = [] if bins.kind is BinKind.TEXT else [(unseen,)]
    values = [int(b) for b in np.argsort(-counts[:unseen], kind="stable") if counts[b] > 0]
    rest = tuple(values[_LEVELS_TESTED + 1 :])
    return sets + [(b,) for b in values[: _LEVELS_TESTED + 1]] + ([rest] if rest else [])


def _standardised_indicator(marked: tuple[int, ...], proportions: FloatArray) -> FloatArray:
    indicator = np.zeros(proportions.size)
    indicator[list(marked)] = 1.0
    q = float(proportions @ indicator)
    contrast: FloatArray = (indicator - q) / np.sqrt(q * (1 - q))
    return contrast


def _weights(bins: FeatureBins, movements: tuple[Movement, ...], table: dict[Movement, float]) -> FloatArray:
    if not movements:
        return np.zeros(0)
    if bins.kind is BinKind.RANGES:
        raw = np.array([table[movement] for movement in movements])
    else:
        raw = np.full(len(movements), 1.0 / len(movements))
        if Movement.LOCATION in movements:
            raw[:] = (1 - _VALUES_LOCATION) / (len(movements) - 1)
            raw[movements.index(Movement.LOCATION)] = _VALUES_LOCATION
    weights: FloatArray = raw / raw.sum()
    return weights
