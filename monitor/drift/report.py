"""What the detector says about a window: numbers, a verdict, and a sentence for each feature."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from monitor.drift import distances
from monitor.drift.bins import BinKind, FeatureBins, FloatArray, IntArray
from monitor.drift.directions import Movement
from monitor.drift.profile import Profile
from monitor.drift.scores import DEFAULT_THRESHOLDS, Score
from monitor.windows import Window


class Status(StrEnum):
    """Whether a window could be judged."""

    OK = "ok"
    INSUFFICIENT = "insufficient"
    NO_REFERENCE = "no_reference"
    SKIPPED = "skipped"
    ERROR = "error"


class State(StrEnum):
    """Where the model's incident stands after this window."""

    QUIET = "quiet"
    WATCH = "watch"
    OPEN = "open"
    RESOLVED = "resolved"


class FeatureStatus(StrEnum):
    """What can be said about a feature."""

    OK = "ok"
    CONSTANT = "constant"
    ALL_NULL = "all_null"
    HIGH_CARDINALITY = "high_cardinality"
    UNSEEN_COLUMN = "unseen_column"
    MISSING_COLUMN = "missing_column"
    OUT_OF_SEASON = "out_of_season"


class Lane(StrEnum):
    """Which test spoke."""

    WINDOW = "window"
    SLOW = "slow"


@dataclass(frozen=True, kw_only=True)
class FeatureReport:
    """One feature in one window.

    Attributes:
        status: whether it could be compared.
        movement: the direction with most evidence, None if nothing is tested.
        level: the level or bins it looks at, if it is an indicator.
        effect: numeric: location in normal-score σ; categorical: the largest standardised level effect.
        interval: its 95 % interval.
        magnitude: √PSI, corrected for sampling: comparable across features; a pure shift of d σ gives about d.
        p_value: of the direction with most evidence, corrected for the directions and scales looked at.
        e_value: of the slow lane; None where it is not run.
        threshold: the |effect| beyond which the effect's direction alone fires.
        strength: evidence over what the budget asks for; 1 or more fires.
        scale: over how many windows the evidence is summed.
        lane: the test that fired, None if none did.
        moved: beyond its threshold now, or part of the open incident.
        sentence: the same in plain words.
    """

    name: str
    status: FeatureStatus
    movement: Movement | None = None
    level: str | None = None
    effect: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    magnitude: float = 0.0
    p_value: float | None = None
    e_value: float | None = None
    threshold: float | None = None
    strength: float = 0.0
    scale: int = 1
    lane: Lane | None = None
    moved: bool = False
    sentence: str = ""
    missing_share: float = 0.0
    unseen_share: float = 0.0
    compared: tuple[Profile, Profile] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """Conventional scores of this window by name, over counts: psi, js and ks, wasserstein (numeric) or chi2."""
        if self.compared is None:
            return {}
        return conventional_scores(self.name, *self.compared)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, NaN and infinities as None."""
        plain = {
            key: getattr(self, key)
            for key in (
                *("name", "status", "movement", "level", "effect", "interval", "magnitude", "p_value", "e_value"),
                *("threshold", "strength", "scale", "lane", "moved", "sentence", "missing_share", "unseen_share"),
            )
        }
        scores = {name: vars(score) | {"exceeds": score.exceeds} for name, score in self.scores.items()}
        document: dict[str, Any] = plain_json({**plain, "scores": scores})
        return document


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """One scalar of the whole model in one window: the correlation of a pair, or the distance of rows.

    Attributes:
        name: "a × b", or "distance".
        features: whose correlation it is.
        reference, current: the correlation then and over the last `scale` windows; of the distance, deviations.
        effect, interval: the deviation in units in which n rows scatter by 1/√n, with its 95 % interval.
        strength: evidence over what the budget asks for; 1 or more fires.
        moved: beyond its threshold now, or part of the open incident.
        sentence: the same in plain words.
    """

    name: str
    features: tuple[str, ...]
    reference: float
    current: float
    effect: float
    interval: tuple[float, float]
    strength: float
    scale: int
    moved: bool
    sentence: str


class Reports(Mapping[str, FeatureReport]):
    """The reports of all features, written when the first of them is asked for: most windows are never looked at."""

    def __init__(self, write: Callable[[], dict[str, FeatureReport]]) -> None:
        self._write = write

    @cached_property
    def _written(self) -> dict[str, FeatureReport]:
        return self._write()

    def __getitem__(self, name: str) -> FeatureReport:
        return self._written[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """One window judged against the reference.

    Attributes:
        window: what was judged; wider than what came in if small windows were merged.
        alarm: an incident opened with this window: notify once.
        state: quiet, watch (shown only), open, or resolved (with this window).
        culprits: the moved features, worst first.
        new_culprits: those that the incident did not have before.
        worsened: culprits whose effect is twice what was announced: tell it once more.
        reopened: the incident came back within seven days and is the same one.
        e_value: of the slow lane for the whole model, to be compared with `alarm_at`; None where it was not judged.
        alarm_at: the e-value at which the slow lane alarms, five times the ticks of the budget's period.
        streams: the scalars of the model that moved, strongest first.
    """

    window: Window
    status: Status
    alarm: bool
    state: State
    rows: int
    culprits: tuple[str, ...]
    new_culprits: tuple[str, ...] = ()
    worsened: tuple[str, ...] = ()
    reopened: bool = False
    e_value: float | None = None
    alarm_at: float | None = None
    sentence: str = ""
    features: Mapping[str, FeatureReport]
    streams: tuple[StreamReport, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, NaN and infinities as None."""
        plain = {
            "window": {"start": self.window.start.isoformat(), "end": self.window.end.isoformat()},
            **{
                key: getattr(self, key)
                for key in (
                    *("status", "alarm", "state", "rows", "culprits", "new_culprits", "worsened", "reopened"),
                    *("e_value", "alarm_at", "sentence"),
                )
            },
            "features": {name: feature.to_document() for name, feature in self.features.items()},
            "streams": [vars(stream) for stream in self.streams],
        }
        document: dict[str, Any] = plain_json(plain)
        return document


def over_ticks(reports: Sequence[DriftReport], window: Window, reference: Profile, current: Profile) -> DriftReport:
    """One report for a window through which the detector advanced in several ticks.

    The state and the features are those of the last tick that could be judged; an alarm of any tick is the window's;
    the conventional scores are of the window's rows together (`current` against `reference`).
    """
    last = next((report for report in reversed(reports) if report.status is Status.OK), reports[-1])
    features = {
        name: replace(feature, compared=(reference, current) if feature.compared else None)
        for name, feature in last.features.items()
    }
    return replace(
        last,
        window=window,
        rows=current.rows,
        alarm=any(report.alarm for report in reports),
        new_culprits=tuple(dict.fromkeys(name for report in reports for name in report.new_culprits)),
        worsened=tuple(dict.fromkeys(name for report in reports for name in report.worsened)),
        reopened=any(report.reopened for report in reports),
        features=features,
    )


def conventional_scores(
    name: str, reference: Profile, current: Profile, thresholds: Mapping[str, float] = DEFAULT_THRESHOLDS
) -> dict[str, Score]:
    """The customary scores of one feature over the counts of two profiles."""
    bins = reference.binning[name]
    a, b = reference.counts_of(name), current.counts_of(name)
    scores = {method: distances.score(method, a, b, threshold=thresholds.get(method)) for method in ("psi", "js")}
    if not bins.is_numeric:
        return scores | {"chi2": distances.score("chi2", a, b, threshold=thresholds.get("chi2"))}
    a, b = a[: bins.value_bins], b[: bins.value_bins]
    return scores | {
        "ks": distances.score("ks", a, b, threshold=thresholds.get("ks")),
        "wasserstein": distances.wasserstein_score(
            a, b, _positions(reference, bins), reference.std(name) or 0.0, threshold=thresholds.get("wasserstein")
        ),
    }


def column_status(name: str, reference: Profile, current: Profile) -> FeatureStatus:
    """What can be said about a column of two profiles."""
    if current.is_absent(name):
        return FeatureStatus.MISSING_COLUMN
    values = reference.counts_of(name)[:-1]
    if values.sum() == 0 or current.missing_share(name) == 1.0:
        return FeatureStatus.ALL_NULL
    if reference.binning[name].kind is BinKind.TEXT:
        return FeatureStatus.HIGH_CARDINALITY
    return FeatureStatus.CONSTANT if np.count_nonzero(values) == 1 else FeatureStatus.OK


def magnitude(reference: IntArray, current: IntArray) -> float:
    """√(PSI − its sampling bias), 0 if that is negative: about d for a pure shift of d σ, whatever the kind.

    >>> magnitude(np.array([500, 500]), np.array([500, 500]))
    0.0
    """
    if min(reference.sum(), current.sum()) == 0:
        return 0.0
    filled = int(np.count_nonzero(reference + current))
    expected = (filled - 1) * (1 / reference.sum() + 1 / current.sum())
    return math.sqrt(max(distances.psi(reference, current) - expected, 0.0))


def _positions(reference: Profile, bins: FeatureBins) -> FloatArray:
    """A representative of each value bin, in raw units: its middle, or the value itself."""
    if bins.kind is BinKind.VALUES:
        return np.array(bins.edges)
    low, high = reference.moments[reference.binning.position[bins.name], 3:5]
    ends = np.array([low, *bins.edges, high])
    if not np.isfinite(ends).all():
        return np.arange(bins.value_bins, dtype=np.float64)
    middles: FloatArray = (np.maximum.accumulate(ends)[:-1] + np.maximum.accumulate(ends)[1:]) / 2
    return middles


def plain_json(value: Any) -> Any:
    """Plain JSON values; NaN and infinities become None."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
