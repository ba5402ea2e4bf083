"""How far two scorings of the same rows differ in many figures at once: one paired bootstrap for all of them."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from monitor.performance.intervals import IndexArray, Interval

Differences = Mapping[str, float]


def paired_intervals(
    differences: Callable[[IndexArray], Differences], strata: ArrayLike, *, seed: int = 0, resamples: int = 400,
    confidence: float = 0.95,
) -> dict[str, Interval]:  # fmt: skip
    """The percentile intervals of every figure that `differences` gives for a choice of rows.

    Rows are resampled within each stratum, so that both classes stay present; both scorings see the same rows, so the
    difficulty of the rows cancels. A figure that a resample leaves undefined (NaN) is left out of its quantiles.

    Args:
        differences: figures of B minus figures of A on the rows with these numbers.
        strata: shape (n,), such as the class of each row.

    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(0, 1, 500), rng.normal(0.1, 1, 500)
    >>> found = paired_intervals(lambda rows: {"mean": float((b - a)[rows].mean())}, np.zeros(500))
    >>> found["mean"][0] < float((b - a).mean()) < found["mean"][1]
    True
    """
    given = np.asarray(strata)
    groups = [np.flatnonzero(given == level) for level in np.unique(given)]
    rng = np.random.default_rng(seed)
    draws = [
        dict(differences(np.concatenate([group[rng.integers(0, group.size, group.size)] for group in groups])))
        for _ in range(resamples)
    ]
    tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
    found = {}
    for name in draws[0]:
        values = np.array([draw[name] for draw in draws])
        known = values[np.isfinite(values)]
        if known.size:
            low, high = np.quantile(known, tails)
            found[name] = (float(low), float(high))
    return found
