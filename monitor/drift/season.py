"""Which part of the week a window belongs to, and whether that matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FloatArray
from monitor.windows import Window

_ROUNDING = 1e-20  # a bin that no window ever filled has a variance of about this
_DAY, _WEEK = timedelta(days=1), timedelta(weeks=1)


class Cycle(StrEnum):
    """How windows are sorted into buckets of the week; NONE has one bucket."""

    NONE = "none"
    DAY_OF_WEEK = "day_of_week"
    HOUR_OF_WEEK = "hour_of_week"
    DAY_PART = "day_part"  # weekday or weekend × six blocks of four hours

    @property
    def buckets(self) -> int:
        return {"none": 1, "day_of_week": 7, "hour_of_week": 168, "day_part": 12}[self.value]

    def bucket(self, window: Window) -> int:
        """The bucket of the window's middle (a window of a day or less)."""
        middle = window.start + window.width / 2
        if self is Cycle.DAY_OF_WEEK:
            return middle.weekday()
        if self is Cycle.HOUR_OF_WEEK:
            return middle.weekday() * 24 + middle.hour
        return (middle.weekday() >= 5) * 6 + middle.hour // 4 if self is Cycle.DAY_PART else 0


def usual_width(windows: Sequence[Window]) -> timedelta:
    """The median width of the windows."""
    return timedelta(seconds=median(window.width.total_seconds() for window in windows))


def cycle_of(windows: Sequence[Window]) -> Cycle:
    """The finest cycle that the reference can show: four weeks for days, eight for hours."""
    width, span = usual_width(windows), windows[-1].end - windows[0].start
    if width > _DAY or span < 4 * _WEEK:
        return Cycle.NONE
    if width > _DAY / 2:
        return Cycle.DAY_OF_WEEK
    return Cycle.HOUR_OF_WEEK if span >= 8 * _WEEK and width <= timedelta(hours=1) else Cycle.DAY_PART


@dataclass(frozen=True, kw_only=True, eq=False)
class Season:
    """The part of a window mean that its place in the week explains.

    Attributes:
        cycle: how windows are sorted.
        offsets: shrunk deviation of each bucket from the overall mean, shape (buckets, D); 0 where the season is off.
        seen: whether the reference has the bucket, shape (buckets,).
        is_on: per direction, whether its feature has a season, shape (D,).
        shrink: how much of a bucket's deviation is believed, max(0, 1 − 1/F) where on, shape (D,).
    """

    cycle: Cycle
    offsets: FloatArray
    seen: NDArray[np.bool_]
    is_on: NDArray[np.bool_]
    shrink: FloatArray


def fit_season(cycle: Cycle, buckets: NDArray[np.int64], means: FloatArray, feature_of: NDArray[np.int64]) -> Season:
    """Decide the season of each feature from reference window means, shape (R, D).

    F_k = MSB/MSW; on for a feature if any of its K directions has F above its 1 − .01/K point. The bucket's deviation
    is shrunk by max(0, 1 − 1/F_k).
    """
    used, index, sizes = np.unique(buckets, return_inverse=True, return_counts=True)
    windows, width = means.shape
    groups, overall = used.size, means.mean(axis=0)
    offsets, seen = np.zeros((cycle.buckets, width)), np.zeros(cycle.buckets, dtype=np.bool_)
    seen[used] = True
    if cycle is Cycle.NONE or windows < 2 * groups or groups < 2:
        none = np.zeros(width)
        return Season(cycle=cycle, offsets=offsets, seen=seen | (cycle is Cycle.NONE), is_on=none > 0, shrink=none)
    sums = np.zeros((groups, width))
    np.add.at(sums, index, means)
    bucket_means = sums / sizes[:, None]
    between = (sizes[:, None] * (bucket_means - overall) ** 2).sum(axis=0) / (groups - 1)
    within = ((means - bucket_means[index]) ** 2).sum(axis=0) / (windows - groups)
    f = np.where(within > _ROUNDING, between / np.maximum(within, _ROUNDING), 0.0)
    directions = np.bincount(feature_of)[feature_of]
    critical = special.fdtri(groups - 1, windows - groups, 1 - 0.01 / directions)
    features_on = np.bincount(feature_of, weights=f > critical) > 0
    is_on = features_on[feature_of]
    shrink = np.where(is_on, np.maximum(0.0, 1 - 1 / np.maximum(f, 1e-12)), 0.0)
    offsets[used] = shrink * (bucket_means - overall)
    return Season(cycle=cycle, offsets=offsets, seen=seen, is_on=is_on, shrink=shrink)
