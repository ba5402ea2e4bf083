"""The detector: one window in, one report out. No database, no clock, no global state."""

from datetime import timedelta
from enum import StrEnum
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.drift.budget import FalseAlarmBudget
from monitor.drift.explain import feature_reports, plain_report, status_sentence
from monitor.drift.memory import Memory
from monitor.drift.overrides import Overrides, budget_shares, check_known, tolerances
from monitor.drift.profile import Profile
from monitor.drift.reference import MIN_WINDOW_ROWS, Reference
from monitor.drift.report import DriftReport, FeatureReport, FeatureStatus, State, Status, column_status
from monitor.drift.window_lane import SCALES, Evidence, WindowLane
from monitor.errors import BadInput
from monitor.windows import Window

_CALM_WINDOWS = 3
_SAME_INCIDENT = timedelta(days=7)


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
        overrides: Overrides | None = None,
    ) -> None:
        if sensitivity not in list(Sensitivity):
            raise BadInput(f"expected a sensitivity of {', '.join(Sensitivity)}, got {sensitivity!r}")
        self.overrides = dict(overrides or {})
        check_known(self.overrides, reference.schema.names)
        self.reference = reference
        self.budget = budget or FalseAlarmBudget()
        self.sensitivity = Sensitivity(sensitivity)
        self._normal = reference.normal
        names, feature_of = reference.schema.names, self._normal.feature_of
        self._lane = WindowLane(
            self._normal,
            ticks=self.budget.ticks(reference.width),
            tolerance=tolerances(self.overrides, names, feature_of, self.sensitivity.tolerance),
            shares=budget_shares(self.overrides, names, feature_of, self._normal.budget_share),
        )
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
        overrides: Overrides | None = None,
    ) -> Self:
        """The detector that wrote `state`; its budget and sensitivity unless others are given.

        Overrides are the owner's, and not part of the state: give those that hold now.
        """
        memory, settings = Memory.from_bytes(state, reference)
        if settings["binning_id"] != reference.binning.binning_id or memory.smoothed.size != reference.normal.size:
            raise BadInput(
                f"expected a state made with binning {reference.binning.binning_id}, got {settings['binning_id']}: "
                "restore with the reference that made it, or start afresh"
            )
        kept = FalseAlarmBudget(incidents=settings["incidents"], per_days=settings["per_days"])
        detector = cls(
            reference,
            budget=budget or kept,
            sensitivity=sensitivity or settings["sensitivity"],
            overrides=overrides,
        )
        detector._memory = memory
        return detector

    def update(self, window: Window, data: pd.DataFrame | Profile, *, expected: str | None = None) -> DriftReport:
        """Judge the next window: a frame, or a profile over the reference's binning.

        Args:
            window: when.
            data: what came.
            expected: the event that explains this window beforehand, such as a holiday: its scores are reported with
                status `skipped`, and the detector neither alarms nor remembers it.
        """
        profile = data if isinstance(data, Profile) else Profile.of(data, self.reference.binning)
        strangers = _strangers(data, self.reference)
        if expected is not None:
            text = f"{expected} was expected: shown, and not judged"
            return self._unjudged(window, profile, strangers, text, status=Status.SKIPPED)
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
        was_open, before = memory.state is State.OPEN, memory.active.copy()
        state = self._advance(window, evidence, fired)
        features = feature_reports(
            self.reference, self._lane, profile, evidence,
            active=memory.active, fired=fired, off_season=off_season,
        )  # fmt: skip
        culprits = sorted((f for f in features.values() if f.moved), key=lambda f: (f.lane is None, -f.strength))
        opened = bool(fired.any()) and not was_open
        reopened = opened and self._is_recent(window)
        names = self.reference.schema.names
        fresh = {names[j] for j in self._normal.feature_of[fired]} - {names[j] for j in self._normal.feature_of[before]}
        return DriftReport(
            window=window,
            status=Status.OK,
            alarm=opened and not reopened,
            state=state,
            rows=profile.rows,
            culprits=tuple(feature.name for feature in culprits),
            new_culprits=tuple(feature.name for feature in culprits if feature.name in fresh),
            reopened=reopened,
            sentence=_summary(state, culprits),
            features={**features, **strangers},
        )

    def _is_recent(self, window: Window) -> bool:
        resolved = self._memory.resolved_at
        return resolved is not None and window.start - resolved < _SAME_INCIDENT

    def _advance(self, window: Window, evidence: Evidence, fired: NDArray[np.bool_]) -> State:
        """Move the incident on; the state that this window is reported with."""
        memory = self._memory
        scales = np.array(SCALES[: len(evidence.fired)], dtype=np.float64)
        # Long sums still hold the windows of a shift that is over: an active direction must show as fast as before.
        heard = evidence.fired & fired & (~memory.active | (scales[:, None] <= 2 * memory.reach))
        now = heard.any(axis=0)
        if now.any():
            longest, shortest = len(scales) - 1 - heard[::-1].argmax(axis=0), scales[heard.argmax(axis=0)]
            level = evidence.x[longest, np.arange(self._normal.size)]
            newly = now & ~memory.active
            memory.level = np.where(now, level, memory.level)
            memory.smoothed = np.where(newly, level, memory.smoothed)
            memory.reach = np.where(newly, shortest, memory.reach)
            memory.active, memory.state, memory.calm = memory.active | now, State.OPEN, 0
            return State.OPEN
        if memory.state is not State.OPEN:
            memory.state = State.WATCH if evidence.watched.any() else State.QUIET
            return memory.state
        memory.calm = memory.calm + 1 if self._is_calm() else 0
        if memory.calm < _CALM_WINDOWS:
            return State.OPEN
        memory.forget()
        memory.resolved_at = window.end
        return State.RESOLVED

    def _is_calm(self) -> bool:
        """Near the reference now, and nearer to it than to the incident over four times the windows that showed it.

        The second half keeps a small lasting shift, which a lucky day hides, from being announced again and again.
        """
        memory = self._memory
        limit = self._lane.tolerance + np.sqrt(0.3 * self._normal.dispersion.v / 1.7)
        near = np.abs(memory.smoothed) < limit
        for reach in np.unique(memory.reach[memory.active]):
            lately = np.abs(memory.deviations[-int(4 * reach) :].mean(axis=0)) < np.abs(memory.level) / 2
            if not (near & lately)[memory.active & (memory.reach == reach)].all():
                return False
        return True

    def _unjudged(
        self,
        window: Window,
        profile: Profile,
        strangers: dict[str, FeatureReport],
        sentence: str,
        *,
        status: Status = Status.INSUFFICIENT,
    ) -> DriftReport:
        features = {
            name: plain_report(name, self.reference, profile, column_status(name, self.reference.total, profile))
            for name in self.reference.schema.names
        }
        return DriftReport(
            window=window,
            status=status,
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
    return {n: FeatureReport(name=n, status=status, sentence=status_sentence(n, status)) for n in extra}


def _summary(state: State, culprits: list[FeatureReport]) -> str:
    if state is State.RESOLVED:
        return "back to the reference for three windows"
    if not culprits:
        return "no feature moved beyond the reference" + (", one is being watched" if state is State.WATCH else "")
    return culprits[0].sentence + (f", and {len(culprits) - 1} more" if len(culprits) > 1 else "")
