"""Fits what normal looks like in the reference windows, section by section: directions, season, scatter."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitor.drift.bins import Binning, FeatureBins, FloatArray, IntArray
from monitor.drift.directions import Directions, Movement, directions
from monitor.drift.dispersion import Dispersion, fit_dispersion
from monitor.drift.joint import JointDirections
from monitor.drift.normal import Normal, Tilt, Usual
from monitor.drift.profile import Profile
from monitor.drift.season import Cycle, Season, cycle_of, fit_season
from monitor.drift.tails import ScaleTail
from monitor.windows import Window

_ENOUGH_HITS = 5.0  # expected hits a window below which an indicator's variance says nothing about others
_SHARE_CLASSES = (0.05, 0.15)  # of levels whose variances are alike
_LEAST_FOR_SCATTER = 3  # reference windows
_TILT_POINTS = 481
_DEVIATIONS_KEPT = 112  # windows that a classifier of the whole model is compared on


def fit_normal(binning: Binning, windows: Sequence[Window], profiles: Sequence[Profile]) -> Normal:
    """Fit section by section: directions, season, dispersion."""
    total = sum(profiles, start=Profile.empty(binning))
    found = tuple(directions(bins, total.counts_of(bins.name)) for bins in binning.features)
    found = tuple(
        d if total.counts_of(bins.name)[:-1].any() else _none(d)
        for d, bins in zip(found, binning.features, strict=True)
    )
    spans = np.concatenate([[0], np.cumsum([len(d.movements) for d in found])]).astype(np.int64)
    joint = _joint(binning, profiles, total)
    bare = Normal(
        directions=found,
        spans=spans,
        feature_of=np.repeat(np.arange(len(found)), np.diff(spans)),
        bin_offsets=binning.offsets,
        joint=joint,
        usual=_unknown(total.rows, len(windows), int(spans[-1]) + (joint.size if joint else 0)),
        plain=_unknown(total.rows, len(windows), int(spans[-1])),
        bucket_proportions=np.concatenate([d.proportions for d in found])[None, :],
        share_deviations=np.zeros((0, binning.size)),
        scale_tails=_scale_tails(found, spans),
        tilt=_tilt(found, spans),
    )
    if len(windows) >= _LEAST_FOR_SCATTER:
        return _with_scatter(bare, binning, windows, profiles, total)
    return _with_mean(bare, profiles) if profiles else bare


def _joint(binning: Binning, profiles: Sequence[Profile], total: Profile) -> JointDirections | None:
    """The pairs to watch, if every window of the reference was looked at in pairs."""
    if len(binning.joint) < 2 or not all(profile.joint.rows for profile in profiles) or not profiles:
        return None
    return JointDirections.fit([binning.features[j].name for j in binning.joint], total.joint)


def _unknown(rows: int, windows: int, width: int) -> Usual:
    return Usual(mean=np.zeros(width), season=_no_season(width), dispersion=_sampling_only(rows, windows, width))


def _with_mean(bare: Normal, profiles: Sequence[Profile]) -> Normal:
    means = [bare.plain_means(profile) for profile in profiles]
    freed = [bare.freed(mean, profile) for mean, profile in zip(means, profiles, strict=True)]
    return replace(
        bare,
        usual=replace(bare.usual, mean=np.mean(freed, axis=0)),
        plain=replace(bare.plain, mean=np.mean(means, axis=0)),
    )


def _no_season(width: int) -> Season:
    return Season(
        cycle=Cycle.NONE,
        offsets=np.zeros((1, width)),
        seen=np.ones(1, np.bool_),
        is_on=np.zeros(width, np.bool_),
        shrink=np.zeros(width),
    )


def _none(found: Directions) -> Directions:
    """No direction at all: the reference never had a value."""
    empty = np.zeros(0)
    return Directions(
        movements=(),
        bins_of=(),
        matrix=found.matrix[:, :0],
        weights=empty,
        window_weights=empty,
        shares=empty,
        proportions=found.proportions,
    )


def _sampling_only(rows: int, count: int, width: int) -> Dispersion:
    """The scatter of rows alone, for a reference of one or two windows."""
    windows = max(count, 1)
    n_bar = rows / windows or 1.0
    v, one = np.full(width, 1 / n_bar), np.ones(width)
    return Dispersion(
        windows=windows, n_bar=n_bar, rho=0.0, v=v, nu=one * 4, skewness=0 * v, tau2=0 * v, lrv=v, buckets=one
    )


def _with_scatter(
    bare: Normal, binning: Binning, windows: Sequence[Window], profiles: Sequence[Profile], total: Profile
) -> Normal:
    means = np.array([bare.plain_means(profile) for profile in profiles])
    freed = np.array([bare.freed(mean, profile) for mean, profile in zip(means, profiles, strict=True)])
    rows = np.array([profile.rows for profile in profiles], dtype=np.float64)
    cycle = cycle_of(windows)
    buckets = np.array([cycle.bucket(window) for window in windows])
    novel = _novel(bare, binning, total)
    plain = _usual(bare, means, rows, cycle, buckets, novel)
    counts = np.array([profile.counts for profile in profiles])
    proportions = _bucket_proportions(bare, plain.season, buckets, counts)
    return replace(
        bare,
        usual=_usual(bare, freed, rows, cycle, buckets, novel),
        plain=plain,
        bucket_proportions=proportions,
        share_deviations=(counts / rows[:, None] - proportions[buckets])[-_DEVIATIONS_KEPT:],
    )


def _usual(
    bare: Normal,
    means: FloatArray,
    rows: FloatArray,
    cycle: Cycle,
    buckets: NDArray[np.int64],
    novel: dict[int, FeatureBins],
) -> Usual:
    width = means.shape[1]
    season = fit_season(cycle, buckets, means, bare.subject_of[:width])
    mean = means.mean(axis=0)
    residuals = means - mean - season.offsets[buckets]
    residuals -= residuals.mean(axis=0)
    groups, pooling = _groups(bare, rows)
    dispersion = fit_dispersion(
        residuals, rows, groups=groups[:width], pooling=pooling[:width], season_on=season.is_on, buckets=buckets
    )
    mean[list(novel)] = 0.0  # the directions hold the expected share already
    return Usual(mean=mean, season=season, dispersion=_with_novelty(novel, dispersion, bare))


def _bucket_proportions(bare: Normal, season: Season, buckets: NDArray[np.int64], counts: IntArray) -> FloatArray:
    """p_s = (1 − w)·p + w·(the bucket's share), w the season's shrinkage of the location or, of levels, the largest."""
    overall = bare.bucket_proportions[0]
    found = np.tile(overall, (season.cycle.buckets, 1))
    trust = np.zeros(len(bare.directions))
    for j, known in enumerate(bare.directions):
        of = season.shrink[bare.spans[j] : bare.spans[j + 1]]
        location = known.find(Movement.LOCATION)
        trust[j] = of[location] if location is not None else of.max(initial=0.0)
    weight, of_bin = trust[bare.feature_of_bin], bare.feature_of_bin
    if not weight.any():
        return found
    for bucket in np.unique(buckets):
        total = counts[buckets == bucket].sum(axis=0) + overall * np.bincount(of_bin)[of_bin] / 2
        share = total / np.bincount(of_bin, total)[of_bin]
        found[bucket] = (1 - weight) * overall + weight * share
    return found


def _novel(bare: Normal, binning: Binning, total: Profile) -> dict[int, FeatureBins]:
    """The UNSEEN directions whose bin the reference cannot have filled, because its own rows froze the bins."""
    found = {}
    for j, (known, bins) in enumerate(zip(bare.directions, binning.features, strict=True)):
        for k, marked in enumerate(known.bins_of):
            if bins.unseen is None or marked != (bins.unseen,):
                continue
            if total.counts_of(bins.name)[bins.unseen] <= bins.novelty * total.rows:
                found[int(bare.spans[j]) + k] = bins
    return found


def _with_novelty(novel: dict[int, FeatureBins], dispersion: Dispersion, bare: Normal) -> Dispersion:
    """New values scatter from window to window as left-out windows of the reference showed."""
    v = dispersion.v.copy()
    for at, bins in novel.items():
        found = bare.directions[int(bare.feature_of[at])]
        q = float(found.shares[at - bare.spans[bare.feature_of[at]]])
        v[at] = max(bins.novelty_sd**2 / (q * (1 - q)), 1 / dispersion.n_bar)
    return dispersion.with_variance(v)


def _groups(bare: Normal, rows: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    """Which directions share a prior of their variance, and their weight in the pooled autocorrelation.

    Levels are grouped by their share: what moves all of a day's rows a little moves a frequent level most.
    """
    order = list(Movement)
    n_bar = rows.size / float((1 / rows).sum())
    groups, pooling = [], []
    for found in bare.directions:
        for k, movement in enumerate(found.movements):
            share = float(found.shares[k])
            smaller = min(share, 1 - share)
            rare = not np.isnan(share) and smaller * n_bar < _ENOUGH_HITS
            size = int(np.searchsorted(_SHARE_CLASSES, smaller)) if movement is Movement.LEVEL else 0
            groups.append(-1 if rare else order.index(movement) + len(order) * size)
            pooling.append(0.0 if rare else float(found.weights[k]))
    if bare.joint is not None:
        groups += [len(order) * (len(_SHARE_CLASSES) + 1)] * (bare.joint.size - 1) + [-1]
        pooling += [0.0] * bare.joint.size
    return np.array(groups, dtype=np.int64), np.array(pooling)


def _scale_tails(found: tuple[Directions, ...], spans: NDArray[np.int64]) -> dict[int, ScaleTail]:
    tails = {}
    for d, start in zip(found, spans, strict=False):
        k = d.find(Movement.SCALE)
        if k is not None:
            tails[int(start) + k] = ScaleTail(d.matrix[:, k], d.proportions)
    return tails


def _tilt(found: tuple[Directions, ...], spans: NDArray[np.int64]) -> Tilt:
    at: list[tuple[int, int]] = []
    ends, tables = [], []
    thetas = np.linspace(-3, 3, 121)
    for d, start in zip(found, spans, strict=False):
        location, scale = d.find(Movement.LOCATION), d.find(Movement.SCALE)
        if location is None or scale is None:
            continue
        tilted = d.proportions * np.exp(thetas[:, None] * d.matrix[:, location])
        tilted /= tilted.sum(axis=1, keepdims=True)
        locations, scales = tilted @ d.matrix[:, location], tilted @ d.matrix[:, scale]
        even = np.linspace(locations[0], locations[-1], _TILT_POINTS)
        at.append((int(start) + location, int(start) + scale))
        ends.append((even[0], even[1] - even[0]))
        tables.append(np.interp(even, locations, scales))
    directions_at, lines = np.array(at, np.int64).reshape(-1, 2), np.array(ends, np.float64).reshape(-1, 2)
    return Tilt(
        location=directions_at[:, 0],
        scale=directions_at[:, 1],
        lowest=lines[:, 0],
        step=lines[:, 1],
        scales=np.array(tables, np.float64).reshape(-1, _TILT_POINTS),
    )
