"""What normal looks like in the reference windows: directions, season, scatter; `fit_normal` learns it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from monitor.drift.bins import FloatArray, IntArray
from monitor.drift.directions import Directions
from monitor.drift.dispersion import Dispersion
from monitor.drift.joint import JointDirections
from monitor.drift.profile import Profile
from monitor.drift.season import Season
from monitor.drift.tails import ScaleTail

_MULTIVARIATE = 0.1 / 0.7  # of the budget of features and pairs together
_PAIRS = 0.8  # of that; the rest is the distance's


@dataclass(frozen=True, kw_only=True, eq=False)
class Tilt:
    """The scale that the tilted proportions p·e^{θa₁} have at evenly spaced locations, of all features with both.

    Attributes:
        location, scale: the directions of each of J′ features, shape (J′,).
        lowest, step: the first location and the distance of two, shape (J′,).
        scales: at the locations, shape (J′, points).
    """

    location: NDArray[np.int64]
    scale: NDArray[np.int64]
    lowest: FloatArray
    step: FloatArray
    scales: FloatArray

    def at(self, locations: FloatArray) -> FloatArray:
        """The scales at the features' locations, interpolated, shape (J′,)."""
        last = self.scales.shape[1] - 1
        position = np.clip((locations - self.lowest) / self.step, 0.0, last - 1e-9)
        left = position.astype(np.int64)
        rows = np.arange(left.size)
        part = position - left
        found: FloatArray = (1 - part) * self.scales[rows, left] + part * self.scales[rows, left + 1]
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Usual:
    """Where window means usually lie and how far they scatter, over all directions that they are of.

    Attributes:
        mean: overall mean of window means, shape (D,).
        season: deviations of the part of the week.
        dispersion: scatter of window means.
    """

    mean: FloatArray
    season: Season
    dispersion: Dispersion

    def centre(self, bucket: int) -> FloatArray:
        """What a part of the week is expected to show, shape (D,)."""
        expected: FloatArray = self.mean + self.season.offsets[bucket]
        return expected


@dataclass(frozen=True, kw_only=True, eq=False)
class Normal:
    """What normal looks like, over all D directions of all features laid end to end.

    Behind those of the features, the window lane tests the directions of pairs of features: D′ in all.

    Attributes:
        directions: of each feature, in the schema's order.
        spans: feature j owns the directions [spans[j], spans[j + 1]).
        feature_of: the feature of each direction, shape (D,).
        bin_offsets: feature j owns the bins [bin_offsets[j], bin_offsets[j + 1]).
        joint: the directions of pairs, None if no rows were looked at in pairs.
        usual: of the means that the window lane judges, the scale freed of what the location brings along, shape (D′,).
        plain: of the features' means as they are, which the slow lane bets on, shape (D,).
        bucket_proportions: reference proportions by part of the week, shrunk as the season is, shape (buckets, bins).
        share_deviations: bin shares of the newest reference windows less those expected, shape (windows, bins).
        scale_tails: the saddle-point tail of each scale direction, by direction.
        tilt: the scales that pure shifts of location bring along.
    """

    directions: tuple[Directions, ...]
    spans: NDArray[np.int64]
    feature_of: NDArray[np.int64]
    bin_offsets: IntArray
    joint: JointDirections | None
    usual: Usual
    plain: Usual
    bucket_proportions: FloatArray
    share_deviations: FloatArray
    scale_tails: dict[int, ScaleTail]
    tilt: Tilt

    @property
    def size(self) -> int:
        """D, directions of features."""
        return int(self.spans[-1])

    @property
    def stream_names(self) -> tuple[str, ...]:
        """The directions behind those of the features."""
        return self.joint.stream_names if self.joint else ()

    @cached_property
    def subject_of(self) -> NDArray[np.int64]:
        """The feature of each direction; each stream behind them is a subject of its own, shape (D′,)."""
        return np.append(self.feature_of, len(self.directions) + np.arange(len(self.stream_names)))

    @cached_property
    def tested(self) -> int:
        """Features that have a direction at all."""
        return int((np.diff(self.spans) > 0).sum())

    @cached_property
    def shares(self) -> FloatArray:
        """The reference share of an indicator's bins, NaN for others, shape (D′,)."""
        return np.concatenate([*(found.shares for found in self.directions), np.full(len(self.stream_names), np.nan)])

    @cached_property
    def slow_weights(self) -> FloatArray:
        """w_k·v_j of the slow lane, sums to 1, shape (D,)."""
        return np.concatenate([found.weights for found in self.directions]) / max(self.tested, 1)

    @cached_property
    def window_weights(self) -> FloatArray:
        """w_k·v_j of the window lane, sums to 1, shape (D′,)."""
        features = np.concatenate([found.window_weights for found in self.directions]) / max(self.tested, 1)
        if self.joint is None:
            return features
        pairs = np.full(self.joint.size, _PAIRS / max(self.joint.size - 1, 1))
        pairs[-1] = 1 - _PAIRS
        return np.concatenate([(1 - _MULTIVARIATE) * features, _MULTIVARIATE * pairs])

    @cached_property
    def bin_spans(self) -> list[tuple[int, int]]:
        """First and last-but-one bin of each feature."""
        return [(int(a), int(b)) for a, b in zip(self.bin_offsets, self.bin_offsets[1:], strict=False)]

    @cached_property
    def feature_of_bin(self) -> NDArray[np.int64]:
        """The feature of each bin, shape (bins,)."""
        return np.repeat(np.arange(len(self.directions)), np.diff(self.bin_offsets))

    @cached_property
    def blocks(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]]:
        """Features of equal shape together: their bins (J', B), their directions (J', K) and matrices (J', B, K)."""
        shapes: dict[tuple[int, int], list[int]] = {}
        for j, found in enumerate(self.directions):
            if found.matrix.shape[1]:
                shapes.setdefault(found.matrix.shape, []).append(j)
        blocks = []
        for (bins, width), members in shapes.items():
            rows = self.bin_offsets[members][:, None] + np.arange(bins)
            columns = self.spans[members][:, None] + np.arange(width)
            blocks.append((rows, columns, np.stack([self.directions[j].matrix for j in members])))
        return blocks

    def means(self, profile: Profile) -> FloatArray:
        """Σ_b (c_b/n)·a_k(b) of every direction, the scale freed of what the location brings along, shape (D′,)."""
        return self.freed(self.plain_means(profile), profile)

    def plain_means(self, profile: Profile) -> FloatArray:
        """Σ_b (c_b/n)·a_k(b) of every direction, shape (D,)."""
        counts = profile.counts / max(profile.rows, 1)
        means = np.zeros(self.size)
        for rows, columns, matrices in self.blocks:
            means[columns] = np.matmul(counts[rows][:, None, :], matrices)[:, 0, :]
        return means

    def freed(self, means: FloatArray, profile: Profile) -> FloatArray:
        """Each scale less what a pure shift of the location to where it is brings along, and the pairs; shape (D′,)."""
        freed = means.copy()
        freed[self.tilt.scale] -= self.tilt.at(means[self.tilt.location])
        return freed if self.joint is None else np.append(freed, self.joint.means(profile.joint))
