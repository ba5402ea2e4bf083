"""Why a window fired or not, in words and numbers: from the report that is kept of it, and what it was judged by."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from monitor.drift.budget import SLOW_LANE_SHARE
from monitor.drift.detector import Sensitivity
from monitor.drift.directions import Movement
from monitor.drift.overrides import FeatureOverride
from monitor.drift.reference import Reference
from monitor.drift.report import FeatureStatus, State, Status
from monitor.drift.sentences import percent

_SLOW_LANE_PERIODS = 1 / SLOW_LANE_SHARE  # the slow lane alarms at 5c: its share of the budget is a fifth
_NORMAL_QUANTILE = 1.96
_MAY_MOVE = (FeatureStatus.OK, FeatureStatus.CONSTANT, FeatureStatus.ALL_NULL, FeatureStatus.HIGH_CARDINALITY)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a window was judged by.

    Attributes:
        incidents, per_days: the false-alarm budget.
        ticks: c, the windows between two false incidents that the budget allows.
        tolerance: δ of the model, in normal-score σ.
        sensitivity: its name.
        overrides: what the owner declared of single features.
    """

    incidents: float
    per_days: float
    ticks: float
    tolerance: float
    sensitivity: str
    overrides: Mapping[str, FeatureOverride] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The terms as a check run keeps them."""
        overrides = {name: FeatureOverride.from_document(one) for name, one in document.get("overrides", {}).items()}
        sensitivity = Sensitivity(document["sensitivity"])
        return cls(
            incidents=document["incidents"],
            per_days=document["per_days"],
            ticks=document["ticks"],
            tolerance=document.get("tolerance", sensitivity.tolerance),
            sensitivity=sensitivity.value,
            overrides=overrides,
        )

    @property
    def in_words(self) -> str:
        """The budget as its owner said it.

        >>> Terms(incidents=1, per_days=365, ticks=365, tolerance=0.05, sensitivity="balanced").in_words
        '1 false incident in 365 days'
        """
        return f"{self.incidents:g} false incident{'' if self.incidents == 1 else 's'} in {self.per_days:g} days"

    def of(self, feature: str) -> FeatureOverride:
        return self.overrides.get(feature, FeatureOverride())

    def tolerance_of(self, feature: str) -> float:
        declared = self.of(feature).tolerance
        return self.tolerance if declared is None else declared


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """What the means of a feature's reference windows do by themselves, in the units of its effect.

    Attributes:
        sd: standard deviation of one window's mean, the season taken off.
        from_rows: the part of it that the number of rows explains.
        seasonal: whether the week's rhythm was found and is taken off.
    """

    sd: float
    from_rows: float
    seasonal: bool


@dataclass(frozen=True, kw_only=True)
class Why:
    """Sentences about the model, and about each feature, the one nearest to firing first."""

    model: tuple[str, ...]
    features: Mapping[str, tuple[str, ...]]

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"model": list(self.model), "features": {name: list(said) for name, said in self.features.items()}}


def scatter_of(reference: Reference) -> dict[str, Scatter]:
    """The scatter of each tested feature: of its location, for a categorical feature of its most frequent level."""
    normal, found = reference.normal, {}
    for j, bins in enumerate(reference.binning.features):
        start, end = int(normal.spans[j]), int(normal.spans[j + 1])
        if start == end:
            continue
        directions = normal.directions[j]
        location = directions.find(Movement.LOCATION)
        at = start + (location or 0)
        missing = float(directions.proportions[bins.missing]) if location is not None else 0.0
        unit = math.sqrt(max(1 - missing, 1e-9))
        found[bins.name] = Scatter(
            sd=math.sqrt(float(normal.usual.dispersion.v[at])) / unit,
            from_rows=math.sqrt(1 / normal.usual.dispersion.n_bar) / unit,
            seasonal=bool(normal.usual.season.is_on[start:end].any()),
        )
    return found


def explain(
    report: Mapping[str, Any],
    terms: Terms,
    *,
    scatter: Mapping[str, Scatter] | None = None,
    snoozed: Mapping[str, str] | None = None,
) -> Why:
    """Why this window fired or not.

    Args:
        report: `DriftReport.to_document()`; of a window that was not judged, at least status and sentence.
        terms: what it was judged by.
        scatter: of the reference, by feature; left out of the words where it is not known.
        snoozed: until when messages about a feature are withheld, in words, by feature.
    """
    features: Mapping[str, Mapping[str, Any]] = report.get("features") or {}
    order = sorted(features, key=lambda name: (-nearness(features[name], terms), name))
    asleep = snoozed or {}
    return Why(
        model=tuple(_model(report, terms, features, order)),
        features={
            name: tuple(_feature(features[name], name, terms, (scatter or {}).get(name), asleep.get(name)))
            for name in order
        },
    )


def nearness(feature: Mapping[str, Any], terms: Terms) -> float:
    """How near a feature is to firing, in the lane where it is nearest: 1 is the critical value.

    In the window lane the deviate over its critical value, in the slow lane log e over log 5c.
    """
    e_value = feature.get("e_value")
    slow = math.log(e_value) / math.log(_SLOW_LANE_PERIODS * terms.ticks) if e_value and e_value > 1 else 0.0
    return max(feature.get("strength") or 0.0, slow)


def _model(
    report: Mapping[str, Any], terms: Terms, features: Mapping[str, Mapping[str, Any]], order: list[str]
) -> list[str]:
    said = [_verdict(report, terms)]
    judged = [name for name in order if features[name].get("p_value") is not None]
    if report.get("status") == Status.OK and judged:
        nearest = judged[0]
        share = _share(nearness(features[nearest], terms))
        how = "Strongest" if nearness(features[nearest], terms) >= 1 else "Nearest to firing"
        said.append(f"{how}: {nearest}, with {share} of what the budget of {terms.in_words} asks for.")
        said.append(
            f"The budget allows one false incident in {terms.ticks:,.0f} windows. {len(judged)} features with their "
            "directions and sums over up to 16 windows share it, so each must show more than it would alone."
        )
        said.append(f"Sensitivity {terms.sensitivity}: a change within {terms.tolerance:g}σ is not worth a ticket.")
    muted = [name for name in order if terms.of(name).is_muted]
    if muted:
        said.append(f"Muted by the owner (shown, never alarms): {', '.join(muted)}.")
    unjudged = [name for name in order if name not in judged]
    if unjudged and report.get("status") == Status.OK:
        said += [f"Not judged: {_finished(str(features[name].get('sentence') or name))}" for name in unjudged]
    return said


def _verdict(report: Mapping[str, Any], terms: Terms) -> str:
    """Whether an incident is open after this window, and by what."""
    status, state = report.get("status"), report.get("state")
    still_open = " The incident that was open before stays open." if state == State.OPEN else ""
    if status != Status.OK:
        return f"Not judged ({status}): {report.get('sentence') or 'no reason is known'}.{still_open}"
    named = ", ".join(report.get("culprits") or ())
    if report.get("alarm"):
        return f"Fired: an incident opened with this window, by {named}."
    if state == State.OPEN:
        how = "came back within seven days and is the same one" if report.get("reopened") else "is still open"
        return f"No new alarm: the incident {how}{f', by {named}' if named else ''}."
    if state == State.RESOLVED:
        return "Did not fire: the incident is over, three calm windows in a row."
    if state == State.WATCH:
        return "Did not fire, but one feature is beyond what a tenth of the budget's period asks for: it is watched."
    return f"Did not fire: nothing is beyond what the budget of {terms.in_words} asks for."


def _feature(
    feature: Mapping[str, Any], name: str, terms: Terms, scatter: Scatter | None, snoozed: str | None
) -> list[str]:
    said = [_finished(str(feature.get("sentence") or name))]
    if feature.get("p_value") is not None:
        said += [_effect(feature), *_in_scatter(feature, scatter), _evidence(feature, name, terms)]
        said += [*_threshold(feature), *_slow(feature, terms)]
    elif feature.get("status") in _MAY_MOVE:
        said.append(f"It was not tested in this window; its distance from the reference is {_distance(feature)}.")
    if snoozed:
        said.append(f"Snoozed {snoozed}: no message about it alone until then.")
    return said


def _effect(feature: Mapping[str, Any]) -> str:
    low, high = feature["interval"]
    movement, level = feature.get("movement"), feature.get("level")
    other = movement not in (None, Movement.LOCATION)
    about = f" Most evidence is in its {movement}{f' ({level})' if level else ''}." if other else ""
    return f"Effect {feature['effect']:+.3f}σ, 95 % interval [{low:.3f}, {high:.3f}], {_over(feature)}.{about}"


def _in_scatter(feature: Mapping[str, Any], scatter: Scatter | None) -> list[str]:
    """The effect in units of what window means do by themselves."""
    low, high = feature["interval"]
    half = (high - low) / 2
    if half <= 0:
        return []
    sigma = half / _NORMAL_QUANTILE
    said = [
        f"One σ of a mean {_over(feature)} is {sigma:.3f}: the effect is {abs(feature['effect']) / sigma:.1f} of them."
    ]
    if scatter is None:
        return said
    season = "with the week's rhythm taken off" if scatter.seasonal else "no weekly rhythm was found"
    beyond = math.sqrt(max(scatter.sd**2 - scatter.from_rows**2, 0.0))
    said.append(
        f"Means of single reference windows scatter by {scatter.sd:.3f}σ ({season}): the sampling of rows alone makes "
        f"{scatter.from_rows:.3f}, what differs from day to day {beyond:.3f}."
    )
    return said


def _evidence(feature: Mapping[str, Any], name: str, terms: Terms) -> str:
    strength, tolerance = feature.get("strength") or 0.0, terms.tolerance_of(name)
    if terms.of(name).is_muted:
        return "Muted by the owner: no budget is spent on it, so it never fires."
    begun = f"Window lane: {_share(strength)} of its critical value"
    weight = terms.of(name).weight
    weighed = f" at its weight of {weight:g}" if weight != 1 else ""
    if feature.get("lane"):
        return f"{begun}{weighed}: it fires ({feature['lane']} lane)."
    if strength >= 1:
        return (
            f"{begun}{weighed}; it does not fire, since it is not beyond the tolerance of {tolerance:g}σ for certain."
        )
    if feature.get("moved"):
        return f"{begun}{weighed}: it does not fire by itself now, and is named because the incident is open."
    return f"{begun}{weighed}: it does not fire. Tolerated are {tolerance:g}σ."


def _threshold(feature: Mapping[str, Any]) -> list[str]:
    threshold = feature.get("threshold")
    if threshold is None or feature.get("lane"):
        return []
    lacking = threshold - abs(feature["effect"])
    if lacking <= 0:
        return []
    return [f"By this effect alone it would fire at ±{threshold:.3f}σ, {lacking:.3f}σ from here."]


def _slow(feature: Mapping[str, Any], terms: Terms) -> list[str]:
    """The slow lane's evidence, where it is run."""
    e_value = feature.get("e_value")
    if e_value is None:
        return []
    asked = _SLOW_LANE_PERIODS * terms.ticks
    return [f"Slow lane: e-value {e_value:.3g} of the {asked:,.0f} (5 × {terms.ticks:,.0f} windows) that it asks for."]


def _over(feature: Mapping[str, Any]) -> str:
    scale = feature.get("scale") or 1
    return "over this window" if scale == 1 else f"over the last {scale} windows"


def _share(strength: float) -> str:
    return percent(strength) if math.isfinite(strength) else "more"


def _distance(feature: Mapping[str, Any]) -> str:
    magnitude = feature.get("magnitude")
    return "unknown" if magnitude is None else f"{magnitude:.3f}σ"


def _finished(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
