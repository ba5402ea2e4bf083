"""From evidence to a report on each feature: which moved, by how much, and in what words."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FeatureBins, FloatArray
from monitor.drift.directions import Directions, Movement
from monitor.drift.profile import Profile
from monitor.drift.reference import Reference
from monitor.drift.report import FeatureReport, FeatureStatus, Lane, column_status, magnitude
from monitor.drift.sentences import STATUS_SENTENCES, level_name, movement_sentence
from monitor.drift.window_lane import SCALES, Evidence, WindowLane

_FALSE_SHARE = 0.05  # of the culprits that an open incident names
_MOVE_WITH = (FeatureStatus.CONSTANT, FeatureStatus.ALL_NULL, FeatureStatus.HIGH_CARDINALITY)


def feature_reports(
    reference: Reference,
    lane: WindowLane,
    profile: Profile,
    evidence: Evidence,
    *,
    active: NDArray[np.bool_],
    fired: NDArray[np.bool_],
    off_season: NDArray[np.bool_],
) -> dict[str, FeatureReport]:
    """A report on every feature of the schema.

    A feature moved if one of its directions is active in the incident or fired now. While an incident is open, features
    that pass Benjamini and Hochberg's rule at a false share of .05 are named beside those: the budget guards the alarm,
    the false share guards the list.

    Args:
        reference: what is compared with.
        lane: the critical values.
        profile: of the window.
        evidence: of the window lane, shape (S, D).
        active: directions of the open incident, shape (D,).
        fired: directions beyond their threshold now, shape (D,).
        off_season: directions that cannot be tested in this part of the week, shape (D,).
    """
    spans, normal = reference.normal.spans, reference.normal
    scales, chosen = _leads(spans, evidence, off_season)
    tested = np.diff(spans) > 0
    p_values = np.ones(tested.size)
    p_values[tested] = lane.p_values(evidence, scales[tested], chosen[tested])
    moved = np.array([bool((active | fired)[a:b].any()) for a, b in pairwise(spans)])
    if moved.any():
        meaningful = np.zeros_like(tested)
        meaningful[tested] = evidence.meaningful[scales[tested], chosen[tested]] & ~off_season[chosen[tested]]
        moved |= _benjamini_hochberg(np.where(meaningful, p_values, 1.0), int(tested.sum()))
    found = {}
    for j, bins in enumerate(reference.binning.features):
        a, b = int(spans[j]), int(spans[j + 1])
        status = column_status(bins.name, reference.total, profile)
        if not tested[j]:
            found[bins.name] = plain_report(bins.name, reference, profile, status)
            continue
        if status is FeatureStatus.OK and off_season[a:b].any():
            status = FeatureStatus.OUT_OF_SEASON
        found[bins.name] = _report(
            bins, normal.directions[j], a, int(scales[j]), int(chosen[j]), reference, lane, profile, evidence, status,
            p_value=float(p_values[j]), fired=bool(fired[a:b].any()), moved=bool(moved[j]),
        )  # fmt: skip
    return found


def plain_report(name: str, reference: Reference, profile: Profile, status: FeatureStatus) -> FeatureReport:
    """Shares and conventional scores of a feature that is not tested."""
    total = reference.total
    return FeatureReport(
        name=name,
        status=status,
        magnitude=magnitude(total.counts_of(name), profile.counts_of(name)),
        sentence=status_sentence(name, status),
        missing_share=profile.missing_share(name),
        unseen_share=profile.unseen_share(name),
        compared=(total, profile),
    )


def status_sentence(name: str, status: FeatureStatus, words: str | None = None) -> str:
    """The movement in words if there is one, else what the status means."""
    if status in STATUS_SENTENCES and (words is None or status not in _MOVE_WITH):
        return STATUS_SENTENCES[status].format(name=name)
    return words or f"{name} is within what the reference shows"


def _leads(
    spans: NDArray[np.int64], evidence: Evidence, off_season: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Scale and direction with most evidence of each feature, those that fired first, shapes (J,)."""
    ranked = np.where(off_season, -1.0, evidence.strength + 1e6 * evidence.fired)
    scales, chosen = np.zeros(len(spans) - 1, np.int64), np.array(spans[:-1])
    for j, (a, b) in enumerate(pairwise(spans)):
        if b > a:
            scale, direction = divmod(int(ranked[:, a:b].argmax()), int(b - a))
            scales[j], chosen[j] = scale, a + direction
    return scales, chosen


def _benjamini_hochberg(p_values: FloatArray, tested: int) -> NDArray[np.bool_]:
    """Features to name, with an expected false share of at most .05."""
    order = np.argsort(p_values, kind="stable")
    ranks = np.arange(1, p_values.size + 1)
    passed = np.flatnonzero(p_values[order] <= _FALSE_SHARE * ranks / max(tested, 1))
    named = np.zeros(p_values.size, np.bool_)
    if passed.size:
        named[order[: passed[-1] + 1]] = True
    return named


def _report(
    bins: FeatureBins, found: Directions, start: int, s: int, k: int, reference: Reference, lane: WindowLane,
    profile: Profile, evidence: Evidence, status: FeatureStatus, *, p_value: float, fired: bool, moved: bool,
) -> FeatureReport:  # fmt: skip
    total, location = reference.total, found.find(Movement.LOCATION)
    shown = k if location is None else start + location
    unit = 1.0 if location is None else float(np.sqrt(max(1 - found.proportions[bins.missing], 1e-9)))
    x, variance = float(evidence.x[s, shown]), float(evidence.variance[s, shown])
    half = -float(special.stdtrit(lane.nu[shown], 0.025)) * float(np.sqrt(variance))
    movement, level = found.movements[k - start], level_name(bins, found.bins_of[k - start])
    shares = _shares(evidence, lane.sd, s, k) if found.bins_of[k - start] else None
    moved_by = float(evidence.x[s, k]) / (unit if k == shown else 1.0)
    words = movement_sentence(bins, movement, level, moved_by, shares, total, profile, SCALES[s]) if moved else None
    return FeatureReport(
        name=bins.name,
        status=status,
        movement=movement,
        level=level,
        effect=x / unit,
        interval=((x - half) / unit, (x + half) / unit),
        magnitude=magnitude(total.counts_of(bins.name), profile.counts_of(bins.name)),
        p_value=p_value,
        threshold=lane.threshold(variance, shown) / unit,
        strength=float(evidence.strength[s, k]),
        scale=SCALES[s],
        lane=Lane.WINDOW if fired else None,
        moved=moved,
        sentence=status_sentence(bins.name, status, words),
        missing_share=profile.missing_share(bins.name),
        unseen_share=profile.unseen_share(bins.name),
        compared=(total, profile),
    )


def _shares(evidence: Evidence, sd: FloatArray, s: int, k: int) -> tuple[float, float]:
    """The expected and the found share of an indicator's bins."""
    expected = float(np.clip(evidence.expected[s, k], 0.0, 1.0))
    return expected, float(np.clip(expected + evidence.x[s, k] * sd[k], 0.0, 1.0))
