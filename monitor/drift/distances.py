"""Distances between two binned distributions.

All take counts over the *same* bins, frozen with the reference, and return a float that grows with the difference and
is 0 for equal proportions; the contingency tests return (statistic, p_value). Bias, stated: counts see nothing that
happens inside a bin, and a divergence of two samples of one population is not 0 but about (B − 1)(1/n + 1/m) for PSI
and half of that for KL.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from monitor.drift.bins import FloatArray
from monitor.drift.scores import Score, ScoreStatus
from monitor.errors import BadInput, BinMismatch


def psi(reference: ArrayLike, current: ArrayLike, *, unbiased: bool = False) -> float:
    """Population stability index: the symmetric Kullback–Leibler divergence, in nats.

    Σ_b (q_b − p_b) · ln(q_b / p_b), with half a row added to every bin so that an empty one stays finite.

    Args:
        reference: row counts, shape (bins,).
        current: row counts over the same bins, shape (bins,).
        unbiased: subtract the value expected from sampling alone, (bins − 1)(1/n + 1/m).

    Raises:
        BinMismatch: the two have different bins.

    Source: Yurdakul & Naranjo, "Statistical properties of the population stability index", 2020.

    >>> round(psi([250, 250, 250, 250], [250, 250, 250, 250]), 6)
    0.0
    >>> round(psi([250, 250, 250, 250], [400, 300, 200, 100]), 3)
    0.227
    """
    p, q = _smoothed(reference, current)
    value = float(np.sum((q - p) * np.log(q / p)))
    if not unbiased:
        return value
    return value - (p.size - 1) * (1 / float(np.sum(reference)) + 1 / float(np.sum(current)))


def kl(reference: ArrayLike, current: ArrayLike) -> float:
    """Kullback–Leibler divergence of current from reference, Σ_b q_b · ln(q_b / p_b), in nats, half a row a bin added.

    >>> round(kl([250, 250, 250, 250], [400, 300, 200, 100]), 3)
    0.106
    """
    p, q = _smoothed(reference, current)
    return float(np.sum(q * np.log(q / p)))


def js(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen–Shannon distance: the square root of the divergence in bits, between 0 and 1 (disjoint).

    √(½·KL(p‖m) + ½·KL(q‖m)), m = (p + q)/2. Source: Endres & Schindelin, 2003.

    >>> js([10, 0], [0, 10])
    1.0
    """
    p, q = _proportions(reference, current)
    middle = (p + q) / 2
    divergence = special.rel_entr(p, middle).sum() + special.rel_entr(q, middle).sum()
    return float(np.sqrt(max(divergence, 0.0) / (2 * np.log(2))))


def hellinger(reference: ArrayLike, current: ArrayLike) -> float:
    """Hellinger distance √(½ Σ (√p − √q)²), between 0 and 1 (disjoint).

    >>> hellinger([10, 0], [0, 10])
    1.0
    """
    p, q = _proportions(reference, current)
    return float(np.sqrt(0.5 * np.sum((np.sqrt(p) - np.sqrt(q)) ** 2)))


def tv(reference: ArrayLike, current: ArrayLike) -> float:
    """Total variation ½ Σ |p − q|: the share of rows that would have to move, between 0 and 1.

    >>> tv([1, 1], [3, 1])
    0.25
    """
    p, q = _proportions(reference, current)
    return float(0.5 * np.abs(p - q).sum())


def linf(reference: ArrayLike, current: ArrayLike) -> float:
    """L∞: the largest change of one bin's share, between 0 and 1.

    >>> linf([1, 1], [3, 1])
    0.25
    """
    p, q = _proportions(reference, current)
    return float(np.abs(p - q).max())


def chi2(reference: ArrayLike, current: ArrayLike) -> tuple[float, float]:
    """Two-sample χ² contingency test (statistic, p): both sides are samples. Bins empty on both sides are left out.

    >>> statistic, p = chi2([50, 50], [70, 30])
    >>> round(statistic, 3), round(p, 4)
    (8.333, 0.0039)
    """
    return _contingency(reference, current, "pearson")


def g_test(reference: ArrayLike, current: ArrayLike) -> tuple[float, float]:
    """Likelihood-ratio form of `chi2` (statistic, p)."""
    return _contingency(reference, current, "log-likelihood")


def ks_from_counts(reference: ArrayLike, current: ArrayLike) -> tuple[float, float]:
    """Kolmogorov–Smirnov over ordered bins (statistic, asymptotic p): a lower bound of the statistic on raw values."""
    p, q = _proportions(reference, current)
    statistic = float(np.abs(np.cumsum(p - q)).max())
    n, m = float(np.sum(reference)), float(np.sum(current))
    return statistic, float(special.kolmogorov(np.sqrt(n * m / (n + m)) * statistic))


def wasserstein_from_counts(reference: ArrayLike, current: ArrayLike, positions: ArrayLike) -> float:
    """Wasserstein-1 with every bin's mass at its representative: units of `positions` (ascending), shape (bins,).

    >>> wasserstein_from_counts([10, 0], [0, 10], [1.0, 3.5])
    2.5
    """
    p, q = _proportions(reference, current)
    return float(np.sum(np.abs(np.cumsum(p - q)[:-1]) * np.diff(np.asarray(positions, dtype=np.float64))))


def score(method: str, reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """One conventional score over counts, by its function's name (`ks`, `g`, `psi_unbiased` too)."""
    n, m = int(np.sum(reference)), int(np.sum(current))
    if min(n, m) < 2:
        return _unreadable(method, n, m, threshold)
    if method in _TESTS:
        statistic, p_value = _TESTS[method](reference, current)
        effect = statistic if method == "ks" else float(np.sqrt(statistic / (n + m)))  # Cramér's V of two rows
        return _score(method, statistic, p_value, effect, threshold, n, m)
    if method not in _DISTANCES:
        raise BadInput(f"no statistic over counts is called {method!r}; there are {', '.join([*_DISTANCES, *_TESTS])}")
    value = _DISTANCES[method](reference, current)
    return _score(method, value, None, value, threshold, n, m)


def wasserstein_score(
    reference: ArrayLike, current: ArrayLike, positions: ArrayLike, std: float, *, threshold: float | None = None
) -> Score:
    """Wasserstein-1 from counts divided by the reference standard deviation `std`."""
    n, m = int(np.sum(reference)), int(np.sum(current))
    if min(n, m) < 2 or std <= 0:
        return _unreadable("wasserstein", n, m, threshold, constant=std <= 0)
    value = wasserstein_from_counts(reference, current, positions) / std
    return _score("wasserstein", value, None, value, threshold, n, m)


_DISTANCES: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "psi": psi,
    "psi_unbiased": partial(psi, unbiased=True),
    "kl": kl,
    "js": js,
    "hellinger": hellinger,
    "tv": tv,
    "linf": linf,
}
_TESTS = {"chi2": chi2, "g": g_test, "ks": ks_from_counts}


def _score(
    method: str, statistic: float, p_value: float | None, effect: float, threshold: float | None, n: int, m: int
) -> Score:
    return Score(
        statistic=statistic,
        p_value=p_value,
        effect=effect,
        threshold=threshold,
        n_reference=n,
        n_current=m,
        method=method,
    )


def _unreadable(method: str, n: int, m: int, threshold: float | None, *, constant: bool = False) -> Score:
    status = ScoreStatus.CONSTANT if constant and min(n, m) >= 2 else ScoreStatus.INSUFFICIENT
    return Score(
        statistic=0.0,
        p_value=None,
        effect=0.0,
        threshold=threshold,
        n_reference=n,
        n_current=m,
        method=method,
        status=status,
    )


def _counts(reference: ArrayLike, current: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if a.shape != b.shape:
        raise BinMismatch(expected=a.size, got=b.size)
    return a, b


def _proportions(reference: ArrayLike, current: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = _counts(reference, current)
    return a / max(float(a.sum()), 1.0), b / max(float(b.sum()), 1.0)


def _smoothed(reference: ArrayLike, current: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = _counts(reference, current)
    return (a + 0.5) / float(a.sum() + a.size / 2), (b + 0.5) / float(b.sum() + b.size / 2)


def _contingency(reference: ArrayLike, current: ArrayLike, family: str) -> tuple[float, float]:
    a, b = _counts(reference, current)
    used = (a + b) > 0
    if used.sum() < 2:
        return 0.0, 1.0
    lambda_ = 1.0 if family == "pearson" else 0.0
    result = stats.chi2_contingency(np.vstack([a[used], b[used]]), correction=False, lambda_=lambda_)
    return float(result.statistic), float(result.pvalue)
