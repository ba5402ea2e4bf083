"""How differently a model treats groups of rows: the largest gap of a rate between two groups of a feature."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.performance.groups import Group
from monitor.performance.intervals import IndexArray
from monitor.performance.metrics import Task

FloatArray = NDArray[np.float64]

LEAST_ROWS = 50  # rows on which a group's rate rests; of fewer it is noise, and the largest gap would be theirs


@dataclass(frozen=True, kw_only=True, eq=False)
class Rate:
    """A mean over rows, such as the share called positive; `counted` are the rows that it is over, shapes (n,)."""

    name: str
    values: FloatArray
    counted: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The largest difference of a rate between two groups, and what each of the two has."""

    feature: str
    rate: str
    value: float
    lowest: str
    lowest_rate: float
    highest: str
    highest_rate: float


def rates(y: FloatArray, found: FloatArray, *, task: Task) -> tuple[Rate, ...]:
    """What is compared between groups: how often positives are found and how often rows are called positive.

    Of several classes none is the positive one, so that accuracy is compared; of values the mean absolute error.

    Args:
        y: labels 0 or 1, class numbers or values, shape (n,).
        found: the classes that the model decides on, or its values, shape (n,).
    """
    everything = np.ones(y.size, dtype=np.bool_)
    if task is Task.MULTICLASS:
        return (Rate(name="accuracy", values=(y == found).astype(np.float64), counted=everything),)
    if task is Task.REGRESSION:
        return (Rate(name="mean absolute error", values=np.abs(y - found), counted=everything),)
    return (
        Rate(name="true-positive rate", values=found, counted=y == 1),
        Rate(name="positive rate", values=found, counted=everything),
    )


def enough(groups: Sequence[Group], rate: Rate, *, least: int = LEAST_ROWS) -> tuple[Group, ...]:
    """The groups whose rate rests on at least `least` rows."""
    return tuple(group for group in groups if int((group.rows & rate.counted).sum()) >= least)


def largest_gap(groups: Sequence[Group], rate: Rate) -> Gap | None:
    """The gap between the groups with the highest and the lowest rate; None with fewer than two groups.

    >>> half = np.arange(8) < 4
    >>> groups = [Group(feature="sex", name="= a", rows=half), Group(feature="sex", name="= b", rows=~half)]
    >>> called = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    >>> gap = largest_gap(groups, Rate(name="positive rate", values=called, counted=np.ones(8, dtype=np.bool_)))
    >>> gap.value, gap.lowest, gap.highest
    (0.5, '= b', '= a')
    """
    if len(groups) < 2:
        return None
    means = [float(rate.values[group.rows & rate.counted].mean()) for group in groups]
    low, high = int(np.argmin(means)), int(np.argmax(means))
    return Gap(
        feature=groups[0].feature, rate=rate.name, value=means[high] - means[low], lowest=groups[low].name,
        lowest_rate=means[low], highest=groups[high].name, highest_rate=means[high],
    )  # fmt: skip


def gap_on(groups: Sequence[Group], rate: Rate, rows: IndexArray) -> float:
    """The largest gap on a choice of rows; NaN where it leaves fewer than two groups with any row."""
    counted, values = rate.counted[rows], rate.values[rows]
    means = [float(values[chosen].mean()) for group in groups if (chosen := group.rows[rows] & counted).any()]
    return max(means) - min(means) if len(means) > 1 else float("nan")
