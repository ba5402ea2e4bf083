"""Confidence intervals of performance figures, 95 % two-sided unless told otherwise: closed forms and one bootstrap."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit
from scipy.stats import rankdata

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]
Interval = tuple[float, float]


def wilson(successes: float, trials: float, *, confidence: float = 0.95) -> Interval:
    """The score interval of a proportion: never outside [0, 1], useful at 0 and at n successes.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    >>> tuple(round(edge, 4) for edge in wilson(8, 10))
    (0.4902, 0.9433)
    """
    z = float(ndtri(0.5 + confidence / 2))
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def delong(y: ArrayLike, score: ArrayLike, *, confidence: float = 0.95) -> tuple[float, Interval]:
    """The area under the ROC curve and its interval, by DeLong's variance on the logit scale.

    The variance is that of the placement values: S(V10)/positives + S(V01)/negatives. A perfect separation has none, so
    there the area is treated as a proportion of the rarer class.

    Args:
        y: labels 0 or 1, shape (n,), at least two of each.
        score: higher means more likely 1, shape (n,).

    Source: DeLong et al., 1988; fast form of Sun & Xu, "Fast implementation of DeLong's algorithm", 2014.
    """
    labels, scores = np.asarray(y, dtype=np.float64), np.asarray(score, dtype=np.float64)
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = positive.size, negative.size
    both = rankdata(np.concatenate([positive, negative]))
    v10 = (both[:m] - rankdata(positive)) / n
    v01 = 1 - (both[m:] - rankdata(negative)) / m
    area = float(v10.mean())
    variance = float(v10.var(ddof=1)) / m + float(v01.var(ddof=1)) / n
    if variance <= 0 or not 0 < area < 1:
        return area, wilson(area * min(m, n), min(m, n), confidence=confidence)
    logit = math.log(area / (1 - area))
    half = float(ndtri(0.5 + confidence / 2)) * math.sqrt(variance) / (area * (1 - area))
    return area, (1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit)))


def of_mean(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of `values`, shape (n,)."""
    losses = np.asarray(values, dtype=np.float64)
    half = float(stdtrit(losses.size - 1, 0.5 + confidence / 2)) * float(losses.std(ddof=1)) / math.sqrt(losses.size)
    return float(losses.mean()) - half, float(losses.mean()) + half


def bootstrap(
    statistic: Callable[[IndexArray], float], strata: ArrayLike, *, seed: int, resamples: int = 400,
    confidence: float = 0.95,
) -> Interval:  # fmt: skip
    """The percentile bootstrap of `statistic`, a function of row numbers, resampled within each stratum.

    Strata keep both classes present in every resample, so the statistic is always defined.
    """
    groups = [np.flatnonzero(np.asarray(strata) == level) for level in np.unique(np.asarray(strata))]
    rng = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([group[rng.integers(0, group.size, group.size)] for group in groups]))
        for _ in range(resamples)
    ]
    low, high = np.quantile(draws, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)
