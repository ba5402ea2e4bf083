"""The reference: profiles of known-good windows, and what normal looks like in them."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.drift.bins import Binning, FeatureBins, FloatArray
from monitor.drift.directions import Directions, Movement, directions
from monitor.drift.dispersion import Dispersion, fit_dispersion
from monitor.drift.profile import Profile
from monitor.drift.season import Cycle, Season, cycle_of, fit_season, usual_width
from monitor.drift.tails import ScaleTail
from monitor.errors import BadInput, NotEnoughData
from monitor.schema import Schema
from monitor.windows import Window

MIN_WINDOW_ROWS = 50
MIN_WINDOWS = 14
MIN_ROWS = 1_000
_ENOUGH_HITS = 5.0  # expected hits a window below which an indicator's variance says nothing about others


@dataclass(frozen=True, eq=False)
class Reference:
    """Profiles of the reference windows over one binning; windows of fewer than 50 rows are merged into the next.

    >>> from datetime import UTC
    >>> days = pd.date_range("2026-01-01", periods=21, tz=UTC)
    >>> rng = np.random.default_rng(0)
    >>> entries = [(Window(d, d + timedelta(days=1)), pd.DataFrame({"x": rng.normal(size=100)})) for d in days]
    >>> reference = Reference.fit(entries, schema=Schema.infer(entries[0][1]))
    >>> reference.is_sufficient, reference.rows
    (True, 2100)
    """

    binning: Binning
    windows: tuple[Window, ...]
    profiles: tuple[Profile, ...]

    @classmethod
    def fit(
        cls,
        entries: Sequence[tuple[Window, pd.DataFrame | Profile]],
        *,
        schema: Schema,
        binning: Binning | None = None,
    ) -> Self:
        """From one frame or profile a reference window. Without a binning, one is frozen on all frames together.

        Raises:
            NotEnoughData: there is no entry, or no frame to freeze bins on.
        """
        frames = [data for _, data in entries if isinstance(data, pd.DataFrame)]
        made = [data.binning for _, data in entries if isinstance(data, Profile)]
        if binning is None and made:
            binning = made[0]
        if binning is None and not any(len(frame) for frame in frames):
            raise NotEnoughData("expected at least one reference window with rows, got none: send good rows first")
        if binning is None:
            index = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
            binning = Binning.fit(pd.concat(frames, ignore_index=True), schema, windows=index)
        chosen = binning
        profiles = [
            (window, data if isinstance(data, Profile) else Profile.of(data, chosen)) for window, data in entries
        ]
        return cls.from_profiles(profiles, schema=schema, binning=chosen)

    @classmethod
    def from_profiles(cls, entries: Sequence[tuple[Window, Profile]], *, schema: Schema, binning: Binning) -> Self:
        """From profiles alone; no raw row is read.

        Raises:
            BadInput: the schema has other features than the binning, or a profile another binning.
        """
        if schema.names != binning.schema.names:
            raise BadInput(
                f"expected a binning of {', '.join(schema.names)}, got one of {', '.join(binning.schema.names)}"
            )
        merged: list[tuple[Window, Profile]] = []
        waiting: tuple[Window, Profile] | None = None
        for window, profile in sorted(entries, key=lambda entry: entry[0]):
            start, total = (window.start, Profile.empty(binning) + profile)
            if waiting is not None:
                start, total = waiting[0].start, waiting[1] + profile
            waiting = Window(start, window.end), total
            if total.rows >= MIN_WINDOW_ROWS:
                merged.append(waiting)
                waiting = None
        return cls(binning, tuple(w for w, _ in merged), tuple(p for _, p in merged))

    @property
    def schema(self) -> Schema:
        return self.binning.schema

    @property
    def rows(self) -> int:
        return sum(profile.rows for profile in self.profiles)

    @cached_property
    def total(self) -> Profile:
        """All reference windows added up."""
        return sum(self.profiles, start=Profile.empty(self.binning))

    @property
    def windows_missing(self) -> int:
        """How many more windows of the usual size are needed before alarms can keep their budget."""
        usual = max(self.rows / max(len(self.windows), 1), MIN_WINDOW_ROWS)
        return max(MIN_WINDOWS - len(self.windows), int(np.ceil((MIN_ROWS - self.rows) / usual)), 0)

    @property
    def is_sufficient(self) -> bool:
        return self.windows_missing == 0

    @cached_property
    def width(self) -> timedelta:
        """The usual width of a window."""
        return usual_width(self.windows) if self.windows else timedelta(days=1)

    @cached_property
    def reference_id(self) -> str:
        """Sixteen hex digits over the binning and every window's counts."""
        return hashlib.sha256(json.dumps(self.to_document(), sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def normal(self) -> "Normal":
        """Directions, season and dispersion, fitted once."""
        return fit_normal(self)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values; profiles are base64 of `Profile.to_bytes`."""
        return {
            "binning": self.binning.to_document(),
            "windows": [
                {
                    "start": window.start.isoformat(),
                    "end": window.end.isoformat(),
                    "profile": base64.b64encode(profile.to_bytes()).decode(),
                }
                for window, profile in zip(self.windows, self.profiles, strict=True)
            ],
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The reference that `to_document` wrote."""
        try:
            binning = Binning.from_document(document["binning"])
            windows = tuple(
                Window(datetime.fromisoformat(entry["start"]), datetime.fromisoformat(entry["end"]))
                for entry in document["windows"]
            )
            packed = [base64.b64decode(entry["profile"]) for entry in document["windows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"expected a reference document with binning and windows: {error}") from error
        return cls(binning, windows, tuple(Profile.from_bytes(data, binning) for data in packed))


@dataclass(frozen=True, kw_only=True, eq=False)
class Normal:
    """What normal looks like, over all D directions of all features laid end to end.

    Attributes:
        directions: of each feature, in the schema's order.
        spans: feature j owns the directions [spans[j], spans[j + 1]).
        feature_of: the feature of each direction, shape (D,).
        budget_share: w_k·v_j of the window lane, sums to 1, shape (D,).
        mean: overall mean of window means, shape (D,).
        season: deviations of the part of the week.
        dispersion: scatter of window means.
        scale_tails: the saddle-point tail of each scale direction, by direction.
        tilts: per feature with location and scale, the scale that a pure location shift brings along.
    """

    directions: tuple[Directions, ...]
    spans: NDArray[np.int64]
    feature_of: NDArray[np.int64]
    budget_share: FloatArray
    mean: FloatArray
    season: Season
    dispersion: Dispersion
    scale_tails: dict[int, ScaleTail]
    tilts: tuple["Tilt", ...]
    offsets: NDArray[np.int64]

    @property
    def size(self) -> int:
        return int(self.spans[-1])

    def means(self, profile: Profile) -> FloatArray:
        """Σ_b (c_b/n)·a_k(b) of every direction, the scale freed of what the location brings along, shape (D,)."""
        counts = profile.counts / max(profile.rows, 1)
        parts = [
            counts[self.offsets[j] : self.offsets[j + 1]] @ found.matrix for j, found in enumerate(self.directions)
        ]
        means: FloatArray = np.concatenate(parts) if parts else np.zeros(0)
        for tilt in self.tilts:
            means[tilt.scale] -= np.interp(means[tilt.location], tilt.locations, tilt.scales)
        return means


@dataclass(frozen=True, kw_only=True, eq=False)
class Tilt:
    """Location and scale of the tilted proportions p·e^{θa₁}, tabulated over θ."""

    location: int
    scale: int
    locations: FloatArray
    scales: FloatArray


def fit_normal(reference: Reference) -> Normal:
    """Fit section by section: directions, season, dispersion."""
    binning, total = reference.binning, reference.total
    found = tuple(directions(bins, total.counts_of(bins.name)) for bins in binning.features)
    found = tuple(
        d if total.counts_of(bins.name)[:-1].any() else _none(d)
        for d, bins in zip(found, binning.features, strict=True)
    )
    spans = np.concatenate([[0], np.cumsum([len(d.movements) for d in found])]).astype(np.int64)
    feature_of = np.repeat(np.arange(len(found)), np.diff(spans))
    tested = sum(len(d.movements) > 0 for d in found)
    bare = Normal(
        directions=found,
        spans=spans,
        feature_of=feature_of,
        budget_share=np.concatenate([d.window_weights for d in found]) / max(tested, 1),
        mean=np.zeros(int(spans[-1])),
        season=Season(
            cycle=Cycle.NONE,
            offsets=np.zeros((1, int(spans[-1]))),
            seen=np.ones(1, np.bool_),
            is_on=np.zeros(int(spans[-1]), np.bool_),
        ),
        dispersion=_sampling_only(reference, int(spans[-1])),
        scale_tails=_scale_tails(found, spans),
        tilts=_tilts(found, spans),
        offsets=binning.offsets,
    )
    return _with_scatter(bare, reference) if len(reference.windows) >= 3 else _with_mean(bare, reference)


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


def _sampling_only(reference: Reference, width: int) -> Dispersion:
    """The scatter of rows alone, for a reference of one or two windows."""
    n_bar = reference.rows / max(len(reference.windows), 1) or 1.0
    v, one = np.full(width, 1 / n_bar), np.ones(width)
    windows = max(len(reference.windows), 1)
    return Dispersion(windows=windows, n_bar=n_bar, rho=0.0, v=v, nu=one * 4, tau2=0 * v, lrv=v, buckets=one)


def _with_mean(bare: Normal, reference: Reference) -> Normal:
    if not reference.windows:
        return bare
    return _replaced(bare, np.mean([bare.means(p) for p in reference.profiles], axis=0), bare.season, bare.dispersion)


def _with_scatter(bare: Normal, reference: Reference) -> Normal:
    means = np.array([bare.means(profile) for profile in reference.profiles])
    rows = np.array([profile.rows for profile in reference.profiles], dtype=np.float64)
    cycle = cycle_of(reference.windows)
    buckets = np.array([cycle.bucket(window) for window in reference.windows])
    season = fit_season(cycle, buckets, means, bare.feature_of)
    mean = means.mean(axis=0)
    residuals = means - mean - season.offsets[buckets]
    residuals -= residuals.mean(axis=0)
    groups, pooling = _groups(bare, rows)
    dispersion = fit_dispersion(
        residuals, rows, groups=groups, pooling=pooling, season_on=season.is_on, buckets=buckets
    )
    novel = _novel(bare, reference)
    mean[list(novel)] = 0.0  # the directions hold the expected share already
    return _replaced(bare, mean, season, _with_novelty(novel, dispersion, bare))


def _replaced(bare: Normal, mean: FloatArray, season: Season, dispersion: Dispersion) -> Normal:
    return replace(bare, mean=mean, season=season, dispersion=dispersion)


def _novel(bare: Normal, reference: Reference) -> dict[int, FeatureBins]:
    """The UNSEEN directions whose bin the reference cannot have filled, because its own rows froze the bins."""
    found = {}
    for j, (known, bins) in enumerate(zip(bare.directions, reference.binning.features, strict=True)):
        for k, marked in enumerate(known.bins_of):
            if bins.unseen is None or marked != (bins.unseen,):
                continue
            if reference.total.counts_of(bins.name)[bins.unseen] <= bins.novelty * reference.rows:
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
    """Which directions share a prior of their variance, and their weight in the pooled autocorrelation."""
    order = list(Movement)
    n_bar = rows.size / float((1 / rows).sum())
    groups, pooling = [], []
    for found in bare.directions:
        for k, movement in enumerate(found.movements):
            share = float(found.shares[k])
            rare = not np.isnan(share) and min(share, 1 - share) * n_bar < _ENOUGH_HITS
            groups.append(-1 if rare else order.index(movement))
            pooling.append(0.0 if rare else float(found.weights[k]))
    return np.array(groups, dtype=np.int64), np.array(pooling)


def _scale_tails(found: tuple[Directions, ...], spans: NDArray[np.int64]) -> dict[int, ScaleTail]:
    tails = {}
    for d, start in zip(found, spans, strict=False):
        k = d.find(Movement.SCALE)
        if k is not None:
            tails[int(start) + k] = ScaleTail(d.matrix[:, k], d.proportions)
    return tails


def _tilts(found: tuple[Directions, ...], spans: NDArray[np.int64]) -> tuple[Tilt, ...]:
    tilts = []
    thetas = np.linspace(-3, 3, 121)
    for d, start in zip(found, spans, strict=False):
        location, scale = d.find(Movement.LOCATION), d.find(Movement.SCALE)
        if location is None or scale is None:
            continue
        tilted = d.proportions * np.exp(thetas[:, None] * d.matrix[:, location])
        tilted /= tilted.sum(axis=1, keepdims=True)
        tilts.append(
            Tilt(
                location=int(start) + location,
                scale=int(start) + scale,
                locations=tilted @ d.matrix[:, location],
                scales=tilted @ d.matrix[:, scale],
            )
        )
    return tuple(tilts)
