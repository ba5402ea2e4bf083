"""From evidence to a report on each feature: which moved, by how much, and in what words."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FeatureBins, FloatArray
from monitor.drift.directions import Directions, Movement
from monitor.drift.incident import Heard
from monitor.drift.joint import JointDirections
from monitor.drift.normal import Normal
from monitor.drift.profile import Profile
from monitor.drift.reference import Reference
from monitor.drift.report import FeatureReport, FeatureStatus, Lane, State, StreamReport, column_status, magnitude
from monitor.drift.sentences import STATUS_SENTENCES, level_name, movement_sentence, stream_sentence
from monitor.drift.slow_lane import BetEvidence
from monitor.drift.window_lane import SCALES, Evidence, WindowLane

_FALSE_SHARE = 0.05  # of the culprits that an open incident names
_MOVE_WITH = (FeatureStatus.CONSTANT, FeatureStatus.ALL_NULL, FeatureStatus.HIGH_CARDINALITY)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """All that a window came to, as the detector left it.

    Attributes:
        profile: of the window.
        evidence: of the window lane, shape (S, D).
        bets: of the slow lane.
        heard: the directions beyond their threshold now.
        active: directions of the open incident, shape (D,).
        off_season: directions that cannot be tested in this part of the week, shape (D,).
        is_open: whether the incident is open after this window.
    """

    profile: Profile
    evidence: Evidence
    bets: BetEvidence
    heard: Heard
    active: NDArray[np.bool_]
    off_season: NDArray[np.bool_]
    is_open: bool


class Explanation:
    """Which features moved in a window, and why one says so.

    A feature moved if one of its directions is active in the incident or fired now. While an incident is open, features
    that pass Benjamini and Hochberg's rule at a false share of .05 are named beside those: the budget guards the alarm,
    the false share guards the list.
    """

    def __init__(self, reference: Reference, lane: WindowLane, seen: Seen) -> None:
        self._reference, self._lane, self._seen, self._normal = reference, lane, seen, reference.normal
        self._spans = self._normal.spans

    @cached_property
    def _tested(self) -> NDArray[np.bool_]:
        return np.asarray(np.diff(self._spans) > 0)

    @cached_property
    def _leads(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Scale and direction with most evidence of each feature, those that fired first, shapes (J,)."""
        seen = self._seen
        ranked = seen.evidence.strength + 1e6 * seen.evidence.fired + 1e3 * seen.heard.slow
        ranked = np.where(seen.off_season, -1.0, ranked)
        scales, chosen = np.zeros(len(self._spans) - 1, np.int64), np.array(self._spans[:-1])
        for j, (a, b) in enumerate(pairwise(self._spans)):
            if b > a:
                scale, direction = divmod(int(ranked[:, a:b].argmax()), int(b - a))
                scales[j], chosen[j] = scale, a + direction
        return scales, chosen

    @cached_property
    def _p_values(self) -> FloatArray:
        p_values, (scales, chosen) = np.ones(self._tested.size), self._leads
        p_values[self._tested] = self._lane.p_values(self._seen.evidence, scales[self._tested], chosen[self._tested])
        return p_values

    @cached_property
    def _moved(self) -> NDArray[np.bool_]:
        seen = self._seen
        named = _per_feature(seen.active | seen.heard.any if seen.is_open else seen.heard.any, self._normal)
        if not named.any():
            return named
        scales, chosen = self._leads
        meaningful = np.zeros_like(named)
        at = scales[self._tested], chosen[self._tested]
        meaningful[self._tested] = seen.evidence.meaningful[at] & ~seen.off_season[at[1]]
        return named | _benjamini_hochberg(np.where(meaningful, self._p_values, 1.0), int(self._tested.sum()))

    @cached_property
    def fired(self) -> frozenset[str]:
        """The features beyond a threshold now, alone or in a pair."""
        return self.named(self._seen.heard.any)

    def named(self, marked: NDArray[np.bool_]) -> frozenset[str]:
        """The features of marked directions, those of marked pairs too."""
        names = self._reference.schema.names
        alone = (names[j] for j in self._normal.feature_of[marked[: self._normal.size]])
        pairs = self._normal.joint.pairs if self._normal.joint else ()
        paired = (name for i in np.flatnonzero(marked[self._normal.size :]) for name in pairs[i])
        return frozenset((*alone, *paired))

    def culprits(self) -> tuple[str, ...]:
        """The moved features: those that fired now first, the strongest evidence first; then those of moved pairs."""
        alone = self._moved_alone()
        paired = (name for stream in self.streams for name in stream.features)
        return tuple(dict.fromkeys((*alone, *paired)))

    def _moved_alone(self) -> tuple[str, ...]:
        scales, chosen = self._leads if self._moved.any() else (np.zeros(0, np.int64),) * 2
        names = self._reference.schema.names
        ranked = sorted(
            (names[j] not in self.fired, -float(self._seen.evidence.strength[scales[j], chosen[j]]), int(j))
            for j in np.flatnonzero(self._moved)
        )
        return tuple(names[j] for _, _, j in ranked)

    @cached_property
    def streams(self) -> tuple[StreamReport, ...]:
        """The pairs and the distance, as far as they moved, strongest first."""
        joint, seen, size = self._normal.joint, self._seen, self._normal.size
        if joint is None:
            return ()
        moved = (seen.active | seen.heard.any if seen.is_open else seen.heard.any)[size:]
        found = [self._stream(joint, int(i)) for i in np.flatnonzero(moved)]
        return tuple(sorted(found, key=lambda stream: -stream.strength))

    def _stream(self, joint: JointDirections, i: int) -> StreamReport:
        evidence, k = self._seen.evidence, self._normal.size + i
        s = int((evidence.strength[:, k] + 1e6 * evidence.fired[:, k]).argmax())
        x, sd = float(evidence.x[s, k]), float(np.sqrt(evidence.variance[s, k]))
        half = -float(special.stdtrit(self._lane.nu[k], 0.025)) * sd
        is_pair = i < joint.left.size
        then = float(joint.expected[i]) if is_pair else 0.0
        now = float(np.clip(then + x * joint.spread[i], -1.0, 1.0)) if is_pair else x
        return StreamReport(
            name=joint.stream_names[i],
            features=joint.pairs[i],
            reference=then,
            current=now,
            effect=x,
            interval=(x - half, x + half),
            strength=float(evidence.strength[s, k]),
            scale=SCALES[s],
            moved=True,
            sentence=stream_sentence(joint.pairs[i], then, now, SCALES[s]),
        )

    def summary(self, state: State, culprits: tuple[str, ...]) -> str:
        """The window in one sentence."""
        if state is State.RESOLVED:
            return "back to the reference for three windows"
        if not culprits and self.streams:
            return self.streams[0].sentence
        if not culprits:
            return "no feature moved beyond the reference" + (", one is being watched" if state is State.WATCH else "")
        worst = self._feature(self._reference.binning.position[culprits[0]])
        more = len(culprits) - (1 if self._moved.any() else len(self.streams[0].features))
        return worst.sentence + (f", and {more} more" if more else "")

    def features(self) -> dict[str, FeatureReport]:
        """A report on every feature of the schema."""
        return {name: self._feature(j) for j, name in enumerate(self._reference.schema.names)}

    def _feature(self, j: int) -> FeatureReport:
        bins, seen = self._reference.binning.features[j], self._seen
        status = column_status(bins.name, self._reference.total, seen.profile)
        if not self._tested[j]:
            return plain_report(bins.name, self._reference, seen.profile, status)
        if status is FeatureStatus.OK and seen.off_season[self._spans[j] : self._spans[j + 1]].any():
            status = FeatureStatus.OUT_OF_SEASON
        return self._report(j, bins, self._normal.directions[j], status)

    def _report(self, j: int, bins: FeatureBins, found: Directions, status: FeatureStatus) -> FeatureReport:
        seen, lane, total, start = self._seen, self._lane, self._reference.total, int(self._spans[j])
        (surest_s, surest), (s, k) = ((int(part[j]) for part in self._leads), self._told(j, found))
        paired = next((stream for stream in self.streams if bins.name in stream.features), None)
        location = found.find(Movement.LOCATION)
        shown = k if location is None else start + location
        unit = 1.0 if location is None else float(np.sqrt(max(1 - found.proportions[bins.missing], 1e-9)))
        x, variance = float(seen.evidence.x[s, shown]), float(seen.evidence.variance[s, shown])
        half = -float(special.stdtrit(lane.nu[shown], 0.025)) * float(np.sqrt(variance))
        moved = bool(self._moved[j])
        words = self._words(j, bins, found, unit) if moved else paired.sentence if paired else None
        return FeatureReport(
            name=bins.name,
            status=status,
            movement=found.movements[k - start],
            level=level_name(bins, found.bins_of[k - start]),
            effect=x / unit,
            interval=((x - half) / unit, (x + half) / unit),
            magnitude=magnitude(total.counts_of(bins.name), seen.profile.counts_of(bins.name)),
            p_value=float(self._p_values[j]),
            e_value=float(seen.bets.e_values[j]),
            threshold=lane.threshold(variance, shown) / unit,
            strength=float(seen.evidence.strength[surest_s, surest]),
            scale=SCALES[s],
            lane=self._lane_of(j),
            moved=moved or paired is not None,
            sentence=status_sentence(bins.name, status, words),
            missing_share=seen.profile.missing_share(bins.name),
            unseen_share=seen.profile.unseen_share(bins.name),
            compared=(total, seen.profile),
        )

    def _told(self, j: int, found: Directions) -> tuple[int, int]:
        """Scale and direction that the sentence is of: of levels the one whose share changed most, not the surest."""
        s, k = (int(part[j]) for part in self._leads)
        start, evidence = int(self._spans[j]), self._seen.evidence
        if found.movements[k - start] is not Movement.LEVEL:
            return s, k
        levels = start + np.array([i for i, movement in enumerate(found.movements) if movement is Movement.LEVEL])
        changed = np.abs(evidence.x[s, levels] * self._lane.sd[levels])
        sure = evidence.meaningful[s, levels] & ~self._seen.off_season[levels]
        return (s, int(levels[np.where(sure, changed, -1.0).argmax()])) if sure.any() else (s, k)

    def _lane_of(self, j: int) -> Lane | None:
        of = slice(int(self._spans[j]), int(self._spans[j + 1]))
        if self._seen.heard.window[of].any():
            return Lane.WINDOW
        return Lane.SLOW if self._seen.heard.slow[of].any() else None

    def _words(self, j: int, bins: FeatureBins, found: Directions, unit: float) -> str:
        start, evidence = int(self._spans[j]), self._seen.evidence
        s, k = self._told(j, found)
        movement, marked = found.movements[k - start], found.bins_of[k - start]
        shares = _shares(evidence, self._lane, s, k) if marked else None
        moved_by = float(evidence.x[s, k]) / (unit if movement is Movement.LOCATION else 1.0)
        level = level_name(bins, marked)
        return movement_sentence(
            bins, movement, level, moved_by, shares, self._reference.total, self._seen.profile, SCALES[s]
        )


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


def _per_feature(directions: NDArray[np.bool_], normal: Normal) -> NDArray[np.bool_]:
    """Whether any direction of each feature is marked, shape (J,)."""
    of_features = directions[: normal.size]
    return np.asarray(np.bincount(normal.feature_of, of_features, minlength=len(normal.directions)) > 0)


def _benjamini_hochberg(p_values: FloatArray, tested: int) -> NDArray[np.bool_]:
    """Features to name, with an expected false share of at most .05."""
    order = np.argsort(p_values, kind="stable")
    ranks = np.arange(1, p_values.size + 1)
    passed = np.flatnonzero(p_values[order] <= _FALSE_SHARE * ranks / max(tested, 1))
    named = np.zeros(p_values.size, np.bool_)
    if passed.size:
        named[order[: passed[-1] + 1]] = True
    return named


def _shares(evidence: Evidence, lane: WindowLane, s: int, k: int) -> tuple[float, float]:
    """The expected and the found share of an indicator's bins."""
    share = float(lane.expected_share(evidence.offset, (np.array([s]), np.array([k])))[0])
    expected = float(np.clip(share, 0.0, 1.0))
    return expected, float(np.clip(expected + evidence.x[s, k] * lane.sd[k], 0.0, 1.0))
