"""The detector: one window in, one report out. No database, no clock, no global state."""

from datetime import timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FloatArray
from monitor.drift.budget import FalseAlarmBudget
from monitor.drift.directions import Movement
from monitor.drift.memory import Memory
from monitor.drift.profile import Profile
from monitor.drift.reference import MIN_WINDOW_ROWS, Reference
from monitor.drift.report import (
    DriftReport,
    FeatureReport,
    FeatureStatus,
    Lane,
    State,
    Status,
    column_status,
    magnitude,
)
from monitor.drift.sentences import STATUS_SENTENCES, level_name, movement_sentence
from monitor.drift.window_lane import SCALES, Evidence, WindowLane
from monitor.errors import BadInput
from monitor.windows import Window

_CALM_WINDOWS = 3
_SAME_INCIDENT = timedelta(days=7)


_MOVE_WITH = (FeatureStatus.CONSTANT, FeatureStatus.ALL_NULL, FeatureStatus.HIGH_CARDINALITY)


class Sensitivity(StrEnum):
    """The smallest shift worth a page: .02, .05 or .15 normal-score σ."""

    SENSITIVE = "sensitive"
    BALANCED = "balanced"
    QUIET = "quiet"

    @property
    def tolerance(self) -> float:
        return {"sensitive": 0.02, "balanced": 0.05, "quiet": 0.15}[self.value]


class Detector:
    """Judges windows in time order against a reference.

    An incident opens with one alarm, stays open while its features are away from the reference, and resolves after
    three calm windows. Of windows like the reference's, at most `budget` open an incident by chance; that is measured
    on seeded streams with day effects and weekly seasons, and approximate beyond them.

    >>> from datetime import UTC
    >>> rng = np.random.default_rng(0)
    >>> days = pd.date_range("2026-01-01", periods=31, tz=UTC)
    >>> windows = [Window(day, day + timedelta(days=1)) for day in days]
    >>> frames = [pd.DataFrame({"amount": rng.normal(size=500), "app": rng.random(500) < 0.3}) for _ in days]
    >>> from monitor.schema import Schema
    >>> reference = Reference.fit(list(zip(windows[:28], frames[:28])), schema=Schema.infer(frames[0]))
    >>> detector = Detector(reference, budget=FalseAlarmBudget(incidents=1, per_days=365), sensitivity="balanced")
    >>> detector.update(windows[28], frames[28]).alarm
    False
    >>> report = detector.update(windows[29], frames[29].assign(amount=frames[29].amount + 1))
    >>> report.alarm, report.culprits
    (True, ('amount',))
    """

    def __init__(
        self,
        reference: Reference,
        *,
        budget: FalseAlarmBudget | None = None,
        sensitivity: str | Sensitivity = Sensitivity.BALANCED,
    ) -> None:
        if sensitivity not in list(Sensitivity):
            raise BadInput(f"expected a sensitivity of {', '.join(Sensitivity)}, got {sensitivity!r}")
        self.reference = reference
        self.budget = budget or FalseAlarmBudget()
        self.sensitivity = Sensitivity(sensitivity)
        self._normal = reference.normal
        self._lane = WindowLane(
            self._normal, ticks=self.budget.ticks(reference.width), tolerance=self.sensitivity.tolerance
        )
        self._half_width = -special.stdtrit(self._lane.nu, 0.025)
        self._memory = Memory.fresh(self._normal.size)

    def state(self) -> bytes:
        """Everything that the next window depends on, exact."""
        return self._memory.to_bytes(
            {
                "binning_id": self.reference.binning.binning_id,
                "incidents": self.budget.incidents,
                "per_days": self.budget.per_days,
                "sensitivity": self.sensitivity.value,
            }
        )

    @classmethod
    def restore(
        cls,
        reference: Reference,
        state: bytes,
        *,
        budget: FalseAlarmBudget | None = None,
        sensitivity: str | Sensitivity | None = None,
    ) -> Self:
        """The detector that wrote `state`; its budget and sensitivity unless others are given."""
        memory, settings = Memory.from_bytes(state, reference)
        if settings["binning_id"] != reference.binning.binning_id or memory.smoothed.size != reference.normal.size:
            raise BadInput(
                f"expected a state made with binning {reference.binning.binning_id}, got {settings['binning_id']}: "
                "restore with the reference that made it, or start afresh"
            )
        kept = FalseAlarmBudget(incidents=settings["incidents"], per_days=settings["per_days"])
        detector = cls(reference, budget=budget or kept, sensitivity=sensitivity or settings["sensitivity"])
        detector._memory = memory
        return detector

    def update(self, window: Window, data: pd.DataFrame | Profile) -> DriftReport:
        """Judge the next window: a frame, or a profile over the reference's binning."""
        profile = data if isinstance(data, Profile) else Profile.of(data, self.reference.binning)
        strangers = _strangers(data, self.reference)
        window, profile = self._merged(window, profile)
        if profile.rows < MIN_WINDOW_ROWS:
            self._memory.waiting = window, profile
            text = f"{profile.rows} rows, and at least {MIN_WINDOW_ROWS} are needed: counted with the next window"
            return self._unjudged(window, profile, strangers, text)
        if not self.reference.is_sufficient:
            missing = self.reference.windows_missing
            text = f"learning normal, {missing} more window{'s' if missing > 1 else ''}"
            return self._unjudged(window, profile, strangers, text)
        return self._judged(window, profile, strangers)

    def _merged(self, window: Window, profile: Profile) -> tuple[Window, Profile]:
        waiting, self._memory.waiting = self._memory.waiting, None
        if waiting is None:
            return window, Profile.empty(self.reference.binning) + profile
        return Window(min(waiting[0].start, window.start), window.end), waiting[1] + profile

    def _judged(self, window: Window, profile: Profile, strangers: dict[str, FeatureReport]) -> DriftReport:
        season, memory = self._normal.season, self._memory
        bucket = season.cycle.bucket(window)
        offset, off_season = season.offsets[bucket], season.is_on & ~season.seen[bucket]
        deviation = np.where(off_season, 0.0, self._normal.means(profile) - self._normal.mean - offset)
        memory.remember(deviation, offset, profile.rows)
        evidence = self._lane.evidence(memory.deviations, memory.rows, memory.offsets)
        fired = evidence.fired.any(axis=0) & ~off_season
        before = memory.active.copy()
        was_open = memory.state is State.OPEN
        state = self._advance(window, evidence, fired)
        active = before | fired if was_open or fired.any() else fired
        features = self._features(profile, evidence, active, fired, off_season)
        culprits = tuple(sorted((n for n, f in features.items() if f.moved), key=lambda n: -features[n].strength))
        reopened = fired.any() and not was_open and self._is_recent(window)
        known = {self.reference.schema.names[j] for j in self._normal.feature_of[before]} if was_open else set()
        alarm = bool(fired.any()) and not was_open and not reopened
        return DriftReport(
            window=window,
            status=Status.OK,
            alarm=alarm,
            state=state,
            rows=profile.rows,
            culprits=culprits if state is not State.RESOLVED else (),
            new_culprits=tuple(name for name in culprits if name not in known),
            reopened=bool(reopened),
            sentence=_summary(state, features, culprits),
            features={**features, **strangers},
        )

    def _is_recent(self, window: Window) -> bool:
        resolved = self._memory.resolved_at
        return resolved is not None and window.start - resolved < _SAME_INCIDENT

    def _advance(self, window: Window, evidence: Evidence, fired: NDArray[np.bool_]) -> State:
        """Move the incident on; the state that this window is reported with."""
        memory = self._memory
        if fired.any():
            newly = fired & ~memory.active
            strongest = np.where(evidence.fired, evidence.strength, -1.0).argmax(axis=0)
            at_strongest = evidence.x[strongest, np.arange(self._normal.size)]
            memory.smoothed = np.where(newly, at_strongest, memory.smoothed)
            memory.active, memory.state, memory.calm = memory.active | fired, State.OPEN, 0
            return State.OPEN
        if memory.state is not State.OPEN:
            memory.state = State.WATCH if evidence.watched.any() else State.QUIET
            return memory.state
        limit = self._lane.tolerance + np.sqrt(0.3 * self._normal.dispersion.v / 1.7)
        is_calm = bool((np.abs(memory.smoothed) < limit)[memory.active].all())
        memory.calm = memory.calm + 1 if is_calm else 0
        if memory.calm < _CALM_WINDOWS:
            return State.OPEN
        memory.forget()
        memory.resolved_at = window.end
        return State.RESOLVED

    def _features(
        self,
        profile: Profile,
        evidence: Evidence,
        active: NDArray[np.bool_],
        fired: NDArray[np.bool_],
        off_season: NDArray[np.bool_],
    ) -> dict[str, FeatureReport]:
        spans = self._normal.spans
        usable = np.where(off_season, -1.0, evidence.strength + 1e6 * evidence.fired)
        leads = [
            np.unravel_index(int(usable[:, a:b].argmax()), (usable.shape[0], b - a)) if b > a else (0, 0)
            for a, b in pairwise(spans)
        ]
        scales = np.array([int(s) for s, _ in leads])
        chosen = np.minimum(np.array([int(k) for _, k in leads]) + spans[:-1], max(self._normal.size - 1, 0))
        p_values = self._lane.p_values(evidence, scales, chosen) if self._normal.size else np.ones(len(leads))
        found = {}
        for j, name in enumerate(self.reference.schema.names):
            a, b = int(spans[j]), int(spans[j + 1])
            status = self._status(name, profile, bool(off_season[a:b].any()))
            if a == b:
                found[name] = self._plain(name, profile, status)
                continue
            found[name] = self._feature(
                j, int(scales[j]), int(chosen[j]), profile, evidence, status,
                p_value=float(p_values[j]), fired=bool(fired[a:b].any()), moved=bool(active[a:b].any()),
            )  # fmt: skip
        return found

    def _feature(
        self, j: int, s: int, k: int, profile: Profile, evidence: Evidence, status: FeatureStatus,
        *, p_value: float, fired: bool, moved: bool,
    ) -> FeatureReport:  # fmt: skip
        found, start = self._normal.directions[j], int(self._normal.spans[j])
        bins, total = self.reference.binning.features[j], self.reference.total
        location = found.find(Movement.LOCATION)
        shown = k if location is None else start + location
        unit = 1.0 if location is None else float(np.sqrt(max(1 - found.proportions[bins.missing], 1e-9)))
        x, variance = float(evidence.x[s, shown]), float(evidence.variance[s, shown])
        half = float(self._half_width[shown]) * float(np.sqrt(variance))
        movement, level = found.movements[k - start], level_name(bins, found.bins_of[k - start])
        shares = _shares(evidence, self._lane.sd, s, k) if found.bins_of[k - start] else None
        moved_by = float(evidence.x[s, k]) / (unit if k == shown else 1.0)
        words = movement_sentence(bins, movement, level, moved_by, shares, total, profile, SCALES[s])
        return FeatureReport(
            name=bins.name,
            status=status,
            movement=movement,
            level=level,
            effect=x / unit,
            interval=((x - half) / unit, (x + half) / unit),
            magnitude=magnitude(total.counts_of(bins.name), profile.counts_of(bins.name)),
            p_value=p_value,
            threshold=self._lane.threshold(variance, shown) / unit,
            strength=float(evidence.strength[s, k]),
            scale=SCALES[s],
            lane=Lane.WINDOW if fired else None,
            moved=moved,
            sentence=_sentence(bins.name, status, words, moved),
            missing_share=profile.missing_share(bins.name),
            unseen_share=profile.unseen_share(bins.name),
            compared=(total, profile),
        )

    def _plain(self, name: str, profile: Profile, status: FeatureStatus) -> FeatureReport:
        total = self.reference.total
        return FeatureReport(
            name=name,
            status=status,
            magnitude=magnitude(total.counts_of(name), profile.counts_of(name)),
            sentence=_sentence(name, status, "", False),
            missing_share=profile.missing_share(name),
            unseen_share=profile.unseen_share(name),
            compared=(total, profile),
        )

    def _status(self, name: str, profile: Profile, off_season: bool) -> FeatureStatus:
        status = column_status(name, self.reference.total, profile)
        return FeatureStatus.OUT_OF_SEASON if off_season and status is FeatureStatus.OK else status

    def _unjudged(
        self, window: Window, profile: Profile, strangers: dict[str, FeatureReport], sentence: str
    ) -> DriftReport:
        features = {
            name: self._plain(name, profile, self._status(name, profile, False)) for name in self.reference.schema.names
        }
        return DriftReport(
            window=window,
            status=Status.INSUFFICIENT,
            alarm=False,
            state=self._memory.state,
            rows=profile.rows,
            culprits=(),
            sentence=sentence,
            features={**features, **strangers},
        )


def _strangers(data: pd.DataFrame | Profile, reference: Reference) -> dict[str, FeatureReport]:
    """Columns that the schema does not have."""
    if isinstance(data, Profile):
        return {}
    status = FeatureStatus.UNSEEN_COLUMN
    extra = [str(name) for name in data.columns if str(name) not in reference.schema.names]
    return {n: FeatureReport(name=n, status=status, sentence=_sentence(n, status, "", False)) for n in extra}


def _shares(evidence: Evidence, sd: FloatArray, s: int, k: int) -> tuple[float, float]:
    """The expected and the found share of an indicator's bins."""
    expected = float(np.clip(evidence.expected[s, k], 0.0, 1.0))
    return expected, float(np.clip(expected + evidence.x[s, k] * sd[k], 0.0, 1.0))


def _sentence(name: str, status: FeatureStatus, words: str, moved: bool) -> str:
    if status in STATUS_SENTENCES and not (moved and status in _MOVE_WITH):
        return STATUS_SENTENCES[status].format(name=name)
    return words if moved else f"{name} is within what the reference shows"


def _summary(state: State, features: dict[str, FeatureReport], culprits: tuple[str, ...]) -> str:
    if state is State.RESOLVED:
        return "back to the reference for three windows"
    if not culprits:
        return "no feature moved beyond the reference" + (", one is being watched" if state is State.WATCH else "")
    more = f", and {len(culprits) - 1} more" if len(culprits) > 1 else ""
    return features[culprits[0]].sentence + more
