"""Exact two-sample statistics on raw values. Missing values are left out; each agrees with SciPy where it has one.

These judge two samples as if all rows were independent. Rows of one day are not, so a p-value here is a description
and not an alarm (the detector's unit is the window).
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from monitor.drift.bins import FloatArray
from monitor.drift.scores import Score, ScoreStatus
from monitor.errors import BadInput


def ks(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Kolmogorov–Smirnov: the largest distance of the distribution functions, 0 to 1, with its two-sided p.

    >>> ks([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).statistic
    1.0
    """
    a, b = _present(reference), _present(current)
    if _too_few(a, b):
        return _insufficient("ks", a, b, threshold)
    result = stats.ks_2samp(a, b, method="exact" if a.size * b.size <= 100_000 else "asymp")
    return _score("ks", float(result.statistic), float(result.pvalue), float(result.statistic), threshold, a, b)


def anderson_darling(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Two-sample Anderson–Darling with midranks, normalised (mean 0, variance 1 under no difference).

    A²_kN of Scholz & Stephens, "K-sample Anderson–Darling tests", 1987, eq. 7; its p is interpolated as in SciPy and
    lies in [.001, .25].
    """
    a, b = _present(reference), _present(current)
    pooled = np.concatenate([a, b])
    if _too_few(a, b) or np.all(pooled == pooled[:1]):
        return _insufficient("anderson_darling", a, b, threshold)
    statistic = (_anderson_midrank(a, b) - 1.0) / _anderson_sigma(a.size, b.size)
    return _score("anderson_darling", statistic, _anderson_p(statistic), statistic, threshold, a, b)


def cramer_von_mises(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Cramér–von Mises: the mean squared distance of the distribution functions, with its p."""
    a, b = _present(reference), _present(current)
    if _too_few(a, b):
        return _insufficient("cramer_von_mises", a, b, threshold)
    result = stats.cramervonmises_2samp(a, b, method="auto" if a.size + b.size <= 60 else "asymptotic")
    return _score("cramer_von_mises", float(result.statistic), float(result.pvalue), result.statistic, threshold, a, b)


def wasserstein(
    reference: ArrayLike, current: ArrayLike, *, standardise: bool = False, threshold: float | None = None
) -> Score:
    """Wasserstein-1 in raw units; its effect, and with `standardise` its statistic, in reference standard deviations.

    >>> wasserstein([0.0, 1.0], [5.0, 6.0]).statistic
    5.0
    """
    a, b = _present(reference), _present(current)
    if _too_few(a, b):
        return _insufficient("wasserstein", a, b, threshold)
    distance, spread = float(stats.wasserstein_distance(a, b)), float(a.std())
    if spread == 0 and standardise:
        return _insufficient("wasserstein", a, b, threshold)
    effect = distance / spread if spread > 0 else 0.0
    return _score("wasserstein", effect if standardise else distance, None, effect, threshold, a, b)


def energy(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Energy distance √(2E|X−Y| − E|X−X′| − E|Y−Y′|), √(2 ∫ (F−G)²). Source: Székely & Rizzo, 2013."""
    a, b = _present(reference), _present(current)
    if _too_few(a, b):
        return _insufficient("energy", a, b, threshold)
    distance = float(stats.energy_distance(a, b))
    return _score("energy", distance, None, distance, threshold, a, b)


def proportions_z(
    reference_hits: int, n_reference: int, current_hits: int, n_current: int, *, threshold: float | None = None
) -> Score:
    """z of two proportions with pooled variance, two-sided p; the effect is the change of the share.

    >>> round(proportions_z(50, 100, 70, 100).statistic ** 2, 3)  # the χ² of the same table
    8.333
    """
    if min(n_reference, n_current) < 1 or not (0 <= reference_hits <= n_reference and 0 <= current_hits <= n_current):
        raise BadInput(
            f"expected hits within 0 … rows and a row on each side, got {reference_hits} of {n_reference} "
            f"and {current_hits} of {n_current}"
        )
    change = current_hits / n_current - reference_hits / n_reference
    pooled = (reference_hits + current_hits) / (n_reference + n_current)
    deviation = np.sqrt(pooled * (1 - pooled) * (1 / n_reference + 1 / n_current))
    statistic = float(change / deviation) if deviation > 0 else 0.0
    return Score(
        statistic=statistic,
        p_value=float(2 * stats.norm.sf(abs(statistic))),
        effect=change,
        threshold=threshold,
        n_reference=n_reference,
        n_current=n_current,
        method="z",
    )


def _present(values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64).ravel()
    return array[~np.isnan(array)]


def _too_few(a: FloatArray, b: FloatArray) -> bool:
    return min(a.size, b.size) < 2


def _score(
    method: str, statistic: float, p: float | None, effect: float, threshold: float | None, a: FloatArray, b: FloatArray
) -> Score:
    return Score(
        statistic=float(statistic),
        p_value=p,
        effect=float(effect),
        threshold=threshold,
        n_reference=a.size,
        n_current=b.size,
        method=method,
    )


def _insufficient(method: str, a: FloatArray, b: FloatArray, threshold: float | None) -> Score:
    status = ScoreStatus.INSUFFICIENT if _too_few(a, b) else ScoreStatus.CONSTANT
    return Score(
        statistic=0.0,
        p_value=None,
        effect=0.0,
        threshold=threshold,
        n_reference=a.size,
        n_current=b.size,
        method=method,
        status=status,
    )


def _anderson_midrank(a: FloatArray, b: FloatArray) -> float:
    """A²_akN, Scholz & Stephens eq. 7, for two samples."""
    pooled = np.sort(np.concatenate([a, b]))
    distinct, ties = np.unique(pooled, return_counts=True)
    total = pooled.size
    below = np.searchsorted(pooled, distinct, side="left") + ties / 2.0
    value = 0.0
    for sample in (np.sort(a), np.sort(b)):
        upto = np.searchsorted(sample, distinct, side="right").astype(np.float64)
        equal = upto - np.searchsorted(sample, distinct, side="left")
        middle = upto - equal / 2.0
        weight = below * (total - below) - total * ties / 4.0
        value += float(np.sum(ties / total * (total * middle - below * sample.size) ** 2 / weight)) / sample.size
    return value * (total - 1.0) / total


def _anderson_sigma(n: int, m: int) -> float:
    """The standard deviation of A²_kN for k = 2, eq. 4."""
    total, k = n + m, 2
    inverse = 1.0 / n + 1.0 / m
    harmonic = np.cumsum(1.0 / np.arange(total - 1, 1, -1))
    h = harmonic[-1] + 1.0
    g = float((harmonic / np.arange(2, total)).sum())
    a = (4 * g - 6) * (k - 1) + (10 - 6 * g) * inverse
    b = (2 * g - 4) * k**2 + 8 * h * k + (2 * g - 14 * h - 4) * inverse - 8 * h + 4 * g - 6
    c = (6 * h + 2 * g - 2) * k**2 + (4 * h - 4 * g + 6) * k + (2 * h - 6) * inverse + 4 * h
    d = (2 * h + 6) * k**2 - 4 * h * k
    variance = (a * total**3 + b * total**2 + c * total + d) / ((total - 1.0) * (total - 2.0) * (total - 3.0))
    return float(np.sqrt(variance))


def _anderson_p(statistic: float) -> float:
    """p by a quadratic through the tabulated percentiles, in [.001, .25] as SciPy reports it."""
    levels = np.array([0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001])
    critical = (
        np.array([0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085])
        + np.array([-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615])
        + np.array([-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154])
    )
    fitted = np.exp(np.polyval(np.polyfit(critical, np.log(levels), 2), statistic))
    return (
        float(np.clip(fitted, 0.001, 0.25))
        if critical[0] <= statistic <= critical[-1]
        else (0.25 if statistic < critical[0] else 0.001)
    )
