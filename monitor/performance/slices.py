"""Where a candidate is worse than the champion although it is better on the whole: levels and quarters of features."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from monitor.performance.groups import Group
from monitor.performance.intervals import of_mean

FloatArray = NDArray[np.float64]

LEAST_ROWS = 30
ALPHA = 0.05  # for all slices of a comparison together
MOST = 10


@dataclass(frozen=True, kw_only=True)
class WorseSlice:
    """A slice in which the candidate loses: `value` is its mean loss less the champion's, [low, high] at 95 %."""

    feature: str
    slice: str
    n: int
    loss: str
    champion: float
    candidate: float
    value: float
    low: float
    high: float
    p_value: float

    @property
    def sentence(self) -> str:
        return (
            f"{self.feature} {self.slice} (n = {self.n:,}): {self.loss} {self.champion:.3g} → {self.candidate:.3g} "
            f"({self.value:+.3g} [{self.low:+.3g}, {self.high:+.3g}])."
        )

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, with the sentence."""
        return asdict(self) | {"sentence": self.sentence}


def worse_slices(
    groups: Iterable[Group], champion: FloatArray, candidate: FloatArray, *, loss: str, least: int = LEAST_ROWS,
    alpha: float = ALPHA,
) -> tuple[WorseSlice, ...]:  # fmt: skip
    """The slices with a significantly higher mean loss, the worst first, at most ten.

    A slice counts when the one-sided paired t-test of its rows rejects "not worse" at `alpha` over the number of slices
    looked at (Bonferroni): without it one slice in twenty would be worse by chance.

    Args:
        champion, candidate: losses of the same rows, shape (n,); lower is better.
        loss: its name for people.
    """
    looked_at = [group for group in groups if group.n >= least]
    found = [_compared(group, champion, candidate, loss) for group in looked_at]
    worse = [one for one in found if one.value > 0 and one.p_value * len(looked_at) <= alpha]
    return tuple(sorted(worse, key=lambda one: -one.value)[:MOST])


def _compared(group: Group, champion: FloatArray, candidate: FloatArray, loss: str) -> WorseSlice:
    before, after = champion[group.rows], candidate[group.rows]
    difference = after - before
    low, high = of_mean(difference)
    return WorseSlice(
        feature=group.feature, slice=group.name, n=group.n, loss=loss, champion=float(before.mean()),
        candidate=float(after.mean()), value=float(difference.mean()), low=low, high=high, p_value=_p_value(difference),
    )  # fmt: skip


def _p_value(difference: FloatArray) -> float:
    """One-sided: how likely so high a mean is where the true one is 0 at most."""
    spread = float(difference.std(ddof=1))
    if spread == 0:
        return 0.0 if difference.mean() > 0 else 1.0
    statistic = float(difference.mean()) / (spread / math.sqrt(difference.size))
    return float(stdtr(difference.size - 1, -statistic))
