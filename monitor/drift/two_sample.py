"""Exact two-sample statistics on raw values. Missing values are left out; each agrees with SciPy where it has one.

These judge two samples as if all rows were independent. Rows of one day are not, so a p-value here is a description
and not an alarm (the detector's unit is the window).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from monitor.drift.scores import Score, ScoreStatus
from monitor.drift.sorted_sample import Divergences, SortedSample
from monitor.errors import BadInput


def exact_scores(
    reference: ArrayLike | SortedSample,
    current: ArrayLike | SortedSample,
    *,
    thresholds: Mapping[str, float] | None = None,
) -> dict[str, Score]:
    """`ks`, `anderson_darling`, `cramer_von_mises`, `wasserstein` (standardised) and `energy`, from one merge.

    Args:
        reference: its values, or those already sorted.
        current: likewise.
        thresholds: the customary threshold of each, by name.

    >>> {name: round(score.statistic, 3) for name, score in exact_scores([0.0, 1.0, 2.0], [2.0, 3.0, 4.0]).items()}
    {'ks': 0.667, 'anderson_darling': 2.056, 'cramer_von_mises': 0.389, 'wasserstein': 2.449, 'energy': 1.491}
    """
    pair, chosen = _Pair.of(reference, current), thresholds or {}
    scores = {name: score(pair, chosen.get(name)) for name, score in _EXACT.items()}
    return scores | {"wasserstein": _wasserstein(pair, chosen.get("wasserstein"), standardise=True)}


def ks(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Kolmogorov–Smirnov: the largest distance of the distribution functions, 0 to 1, with its two-sided p.

    p is exact for n·m ≤ 100,000 and asymptotic beyond.

    >>> ks([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).statistic
    1.0
    """
    return _ks(_Pair.of(reference, current), threshold)


def anderson_darling(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Two-sample Anderson–Darling with midranks, normalised (mean 0, variance 1 under no difference).

    A²_kN of Scholz & Stephens, "K-sample Anderson–Darling tests", 1987, eq. 7; its p is interpolated as in SciPy and
    lies in [.001, .25].
    """
    return _anderson_darling(_Pair.of(reference, current), threshold)


def cramer_von_mises(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Cramér–von Mises T: the mean squared distance of the distribution functions times nm/(n + m), with its p.

    p is exact for two samples of at most 20 and asymptotic beyond.
    """
    return _cramer_von_mises(_Pair.of(reference, current), threshold)


def wasserstein(
    reference: ArrayLike, current: ArrayLike, *, standardise: bool = False, threshold: float | None = None
) -> Score:
    """Wasserstein-1 in raw units; its effect, and with `standardise` its statistic, in reference standard deviations.

    >>> wasserstein([0.0, 1.0], [5.0, 6.0]).statistic
    5.0
    """
    return _wasserstein(_Pair.of(reference, current), threshold, standardise=standardise)


def energy(reference: ArrayLike, current: ArrayLike, *, threshold: float | None = None) -> Score:
    """Energy distance √(2E|X−Y| − E|X−X′| − E|Y−Y′|), √(2 ∫ (F−G)²). Source: Székely & Rizzo, 2013."""
    return _energy(_Pair.of(reference, current), threshold)


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


@dataclass(frozen=True, eq=False)
class _Pair:
    reference: SortedSample
    current: SortedSample

    @classmethod
    def of(cls, reference: ArrayLike | SortedSample, current: ArrayLike | SortedSample) -> "_Pair":
        a, b = (s if isinstance(s, SortedSample) else SortedSample.of(s) for s in (reference, current))
        return cls(a, b)

    @cached_property
    def found(self) -> Divergences:
        return Divergences.of(self.reference, self.current)

    @property
    def status(self) -> ScoreStatus:
        if min(self.reference.size, self.current.size) < 2:
            return ScoreStatus.INSUFFICIENT
        low, high = (f(end(self.reference), end(self.current)) for f, end in ((min, _first), (max, _last)))
        return ScoreStatus.CONSTANT if low == high else ScoreStatus.OK


def _first(sample: SortedSample) -> float:
    return float(sample.values[0])


def _last(sample: SortedSample) -> float:
    return float(sample.values[-1])


def _ks(pair: _Pair, threshold: float | None) -> Score:
    if pair.status is ScoreStatus.INSUFFICIENT:
        return _unread("ks", pair, threshold)
    n, m = pair.reference.size, pair.current.size
    if n * m <= _EXACT_PAIRS:
        exact = stats.ks_2samp(pair.reference.values, pair.current.values, method="exact")
        return _score("ks", float(exact.statistic), float(exact.pvalue), float(exact.statistic), threshold, pair)
    return _score("ks", pair.found.ks, _ks_p(pair.found.ks, n * m / (n + m)), pair.found.ks, threshold, pair)


def _ks_p(statistic: float, size: float) -> float:
    """The asymptotic p, as SciPy's; below 1e-13 by Smirnov's exponential, whose error is smaller than that.

    There SciPy would sum as many terms as there are rows: half a second at a million.
    """
    bound = 2 * float(np.exp(-2 * size * statistic**2))
    if bound < 1e-13:
        return bound * float(np.exp(-2 * statistic / 3 - 1 / (18 * size)))
    return float(np.clip(stats.kstwo.sf(statistic, np.round(size)), 0, 1))


def _anderson_darling(pair: _Pair, threshold: float | None) -> Score:
    if pair.status is not ScoreStatus.OK:
        return _unread("anderson_darling", pair, threshold)
    sigma = _anderson_sigma(pair.reference.size, pair.current.size)
    statistic = (pair.found.anderson_darling - 1.0) / sigma
    return _score("anderson_darling", statistic, _anderson_p(statistic), statistic, threshold, pair)


def _cramer_von_mises(pair: _Pair, threshold: float | None) -> Score:
    if pair.status is ScoreStatus.INSUFFICIENT:
        return _unread("cramer_von_mises", pair, threshold)
    n, m = pair.reference.size, pair.current.size
    if max(n, m) <= _EXACT_ROWS:
        exact = stats.cramervonmises_2samp(pair.reference.values, pair.current.values, method="exact")
        return _score("cramer_von_mises", exact.statistic, float(exact.pvalue), exact.statistic, threshold, pair)
    statistic = pair.found.cramer_von_mises
    return _score("cramer_von_mises", statistic, _cramer_von_mises_p(statistic, n, m), statistic, threshold, pair)


def _wasserstein(pair: _Pair, threshold: float | None, *, standardise: bool = False) -> Score:
    if pair.status is ScoreStatus.INSUFFICIENT or (standardise and pair.reference.std == 0):
        return _unread("wasserstein", pair, threshold)
    distance, spread = pair.found.wasserstein, pair.reference.std
    effect = distance / spread if spread > 0 else 0.0
    return _score("wasserstein", effect if standardise else distance, None, effect, threshold, pair)


def _energy(pair: _Pair, threshold: float | None) -> Score:
    if pair.status is ScoreStatus.INSUFFICIENT:
        return _unread("energy", pair, threshold)
    return _score("energy", pair.found.energy, None, pair.found.energy, threshold, pair)


_EXACT_PAIRS, _EXACT_ROWS = 100_000, 20  # up to which a p-value is counted out
_EXACT = {
    "ks": _ks,
    "anderson_darling": _anderson_darling,
    "cramer_von_mises": _cramer_von_mises,
    "wasserstein": _wasserstein,
    "energy": _energy,
}


def _score(
    method: str, statistic: float, p: float | None, effect: float, threshold: float | None, pair: _Pair
) -> Score:
    return Score(
        statistic=float(statistic),
        p_value=p,
        effect=float(effect),
        threshold=threshold,
        n_reference=pair.reference.size,
        n_current=pair.current.size,
        method=method,
    )


def _unread(method: str, pair: _Pair, threshold: float | None) -> Score:
    few = pair.status is ScoreStatus.INSUFFICIENT
    return Score(
        statistic=0.0,
        p_value=None,
        effect=0.0,
        threshold=threshold,
        n_reference=pair.reference.size,
        n_current=pair.current.size,
        method=method,
        status=ScoreStatus.INSUFFICIENT if few else ScoreStatus.CONSTANT,
    )


def _cramer_von_mises_p(statistic: float, n: int, m: int) -> float:
    """Anderson 1962, eq. 14: T is shifted and scaled to the mean 1/6 and variance 1/45 of its limit."""
    total, pairs = float(n + m), float(n) * m
    mean = (1 + 1 / total) / 6
    variance = (total + 1) * (4 * pairs * total - 3 * (float(n) ** 2 + float(m) ** 2) - 2 * pairs)
    variance /= 45 * total**2 * 4 * pairs
    limit = 1 / 6 + (statistic - mean) / np.sqrt(45 * variance)
    return 1.0 if limit < 0.003 else max(0.0, 1.0 - _cramer_von_mises_limit(limit))


def _cramer_von_mises_limit(x: float) -> float:
    """The limiting distribution function: Csörgő & Faraway, 1996, eq. 1.2, up to its first term below 1e-7 as SciPy."""
    k = np.arange(30)
    y = (4 * k + 1) ** 2 / (16 * x)
    size = np.exp(special.gammaln(k + 0.5) - special.gammaln(k + 1)) / (np.pi**1.5 * np.sqrt(x))
    terms = size * np.sqrt(4 * k + 1) * np.exp(-2 * y) * special.kve(0.25, y)
    return float(terms[: int(np.argmax(terms < 1e-7)) + 1].sum())


def _anderson_sigma(n: int, m: int) -> float:
    """The standard deviation of A²_kN for k = 2, eq. 4."""
    total, k = n + m, 2
    inverse = 1.0 / n + 1.0 / m
    h = float(special.digamma(total)) + np.euler_gamma  # Σ 1/i up to N − 1
    # The double sum g = Σ_{i<j<N} 1/((N − i)·j) in closed form, from Σ_{k≤N} (H_N − H_{N−k})/k = Σ_{k≤N} 1/k².
    g = np.pi**2 / 6 - float(special.polygamma(1, total + 1)) - (2 * h + 1 / total) / total
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
    if statistic < critical[0]:
        return 0.25
    if statistic > critical[-1]:
        return 0.001
    return float(np.clip(np.exp(np.polyval(np.polyfit(critical, np.log(levels), 2), statistic)), 0.001, 0.25))
