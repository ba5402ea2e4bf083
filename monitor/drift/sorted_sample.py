"""Every exact two-sample statistic from one merge of two sorted samples.

Kolmogorov–Smirnov, Anderson–Darling, Cramér–von Mises, Wasserstein-1 and the energy distance are all a maximum or a sum
over the pooled order of the values. The merge walks that order in runs that fit the cache; a value never falls into two
runs, so that ties are counted once. With F, G the two distribution functions, n, m the sizes and N = n + m:

- KS: max |F − G|; Wasserstein: ∫ |F − G|; energy: √(2 ∫ (F − G)²);
- Cramér–von Mises: Anderson, "On the distribution of the two-sample Cramér–von Mises criterion", 1962, with midranks;
- Anderson–Darling: A²_akN of Scholz & Stephens, "K-sample Anderson–Darling tests", 1987, eq. 7, for two samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from monitor.drift.placing import FloatArray, IntArray

_RUN = 32_768  # values of either sample


@dataclass(frozen=True, eq=False)
class SortedSample:
    """The values of a sample that are not missing, ascending. Sort a reference once and compare it often.

    >>> SortedSample.of([3.0, np.nan, 1.0]).values
    array([1., 3.])
    """

    values: FloatArray

    @classmethod
    def of(cls, values: ArrayLike) -> "SortedSample":
        array = np.asarray(values, dtype=np.float64).ravel()
        return cls(np.sort(array[~np.isnan(array)]))

    @property
    def size(self) -> int:
        return self.values.size

    @cached_property
    def std(self) -> float:
        """The population standard deviation."""
        return float(self.values.std())


@dataclass(frozen=True, kw_only=True)
class Divergences:
    """What the merge found, each 0 for equal distributions but `cramer_von_mises` and `anderson_darling`.

    `cramer_von_mises` is T, `anderson_darling` A²_akN as published: not normalised, about 1 for equal distributions,
    NaN if all values are equal.
    """

    ks: float
    wasserstein: float
    energy: float
    cramer_von_mises: float
    anderson_darling: float

    @classmethod
    def of(cls, reference: SortedSample, current: SortedSample) -> "Divergences":
        """Compare two samples of at least one value each."""
        n, m = reference.size, current.size
        total, widest, area, squares, ranks, weighted = n + m, 0.0, 0.0, 0.0, 0.0, 0.0
        last, gap = reference.values[0], 0.0  # where the run before ended, and F − G there
        for run in _runs(reference.values, current.values):
            between = run.upto_a / n - run.upto_b / m
            widest = max(widest, float(np.abs(between).max()))
            before, steps = np.concatenate([[gap], between[:-1]]), np.diff(run.values, prepend=last)
            with np.errstate(invalid="ignore"):  # infinite values are at no distance from each other
                area += float((np.abs(before) * steps).sum())
                squares += float((np.square(before) * steps).sum())
            last, gap = run.values[-1], between[-1]
            middle_a, middle_b = run.upto_a - run.ties_a / 2, run.upto_b - run.ties_b / 2
            ranks += n * _squares(run.ties_a, middle_b) + m * _squares(run.ties_b, middle_a)
            below, ties = middle_a + middle_b, run.ties_a + run.ties_b
            weight = below * (total - below) - total * ties / 4
            with np.errstate(invalid="ignore", divide="ignore"):
                weighted += float((ties * (m * middle_a - n * middle_b) ** 2 / weight).sum())
        pairs = float(n) * m
        return cls(
            ks=widest,
            wasserstein=area,
            energy=float(np.sqrt(2 * squares)),
            cramer_von_mises=ranks / (pairs * total) - (4 * pairs - 1) / (6 * total),
            anderson_darling=weighted / total * (1 / n + 1 / m) * (total - 1) / total,
        )


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Distinct values in order, how many of each sample equal one, and how many are at most it."""

    values: FloatArray
    ties_a: IntArray
    upto_a: IntArray
    ties_b: IntArray
    upto_b: IntArray


def _runs(a: FloatArray, b: FloatArray) -> Iterator[_Run]:
    """Cut both sorted samples at the same values and merge the pieces."""
    cuts = np.unique(np.concatenate([a[_RUN::_RUN], b[_RUN::_RUN]]))
    ends_a = [0, *np.searchsorted(a, cuts, side="right").tolist(), a.size]
    ends_b = [0, *np.searchsorted(b, cuts, side="right").tolist(), b.size]
    for (start_a, end_a), (start_b, end_b) in zip(pairwise(ends_a), pairwise(ends_b), strict=True):
        if end_a - start_a + end_b - start_b:
            yield _merged(a[start_a:end_a], b[start_b:end_b], start_a, start_b)


def _merged(a: FloatArray, b: FloatArray, before_a: int, before_b: int) -> _Run:
    pooled = np.concatenate([a, b])
    pooled.sort(kind="stable")  # which merges two sorted halves
    last = np.append(np.flatnonzero(pooled[1:] != pooled[:-1]), pooled.size - 1)
    values = pooled[last]
    in_a = np.searchsorted(a, values, side="right")
    in_b = last + 1 - in_a
    return _Run(
        values=values,
        ties_a=np.diff(in_a, prepend=0),
        upto_a=in_a + before_a,
        ties_b=np.diff(in_b, prepend=0),
        upto_b=in_b + before_b,
    )


def _squares(ties: IntArray, others: FloatArray) -> float:
    """Σ (rank in the pool − rank in the sample)² over tied values, whose midrank exceeds their own by `others`."""
    return float((ties * others * others).sum()) + float((ties * (ties * ties - 1)).sum()) / 12
