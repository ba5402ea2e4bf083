"""The detector: one window in, one report out. No database, no clock, no global state."""

from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.drift.budget import FalseAlarmBudget
from monitor.drift.explain import Explanation, Seen, plain_report, status_sentence
from monitor.drift.incident import Heard, advance, is_recent, worsened
from monitor.drift.memory import Memory
from monitor.drift.overrides import FeatureOverride, Overrides, budget_shares, check_known, tolerances
from monitor.drift.predictions import BUDGET
from monitor.drift.profile import Profile, require_same
from monitor.drift.reference import MIN_WINDOW_ROWS, Reference
from monitor.drift.report import DriftReport, FeatureReport, FeatureStatus, Reports, State, Status, column_status
from monitor.drift.slow_lane import SlowLane
from monitor.drift.window_lane import WindowLane
from monitor.errors import BadInput
from monitor.windows import Window


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

    Args:
        reference: what is normal.
        budget: of false incidents; one a year unless given.
        sensitivity: the change that is not worth an incident.
        overrides: what the owner declared of single features.
        predictions: features that are what the model said; together they may spend a quarter of the budget.

    >>> from datetime import UTC, timedelta
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
        predictions: Collection[str] = (),
    ) -> None:
        if sensitivity not in list(Sensitivity):
            raise BadInput(f"expected a sensitivity of {', '.join(Sensitivity)}, got {sensitivity!r}")
        self.overrides = dict(overrides or {})
        check_known(self.overrides, reference.schema.names)
        self.predictions = tuple(name for name in reference.schema.names if name in predictions)
        self.reference = reference
        self.budget = budget or FalseAlarmBudget()
        self.sensitivity = Sensitivity(sensitivity)
        self._normal = reference.normal
        ticks, size = self.budget.ticks(reference.width), self._normal.size
        names, subject_of = (*reference.schema.names, *self._normal.stream_names), self._normal.subject_of
        known = self._with_streams()
        tolerance = tolerances(known, names, subject_of, self.sensitivity.tolerance)
        weighed = partial(budget_shares, known, names)
        self._window_lane = WindowLane(
            self._normal, ticks=ticks, tolerance=tolerance, shares=weighed(subject_of, self._normal.window_weights)
        )
        self._slow_lane = SlowLane(
            self._normal,
            ticks=ticks,
            tolerance=tolerance[:size],
            weights=weighed(subject_of[:size], self._normal.slow_weights),
        )
        self._memory = Memory.fresh(subject_of.size, self._slow_lane.fresh())

    def _with_streams(self) -> dict[str, FeatureOverride]:
        """The overrides, and those of what a muted feature has a part in: its pairs, and the distance."""
        joint, boosted = self._normal.joint, self._with_predictions()
        muted = {name for name, override in self.overrides.items() if override.is_muted}
        if joint is None:
            return boosted
        involved = zip(joint.stream_names, (set(pair or joint.names) for pair in joint.pairs), strict=True)
        return boosted | {name: FeatureOverride(weight=0) for name, features in involved if muted & features}

    def _with_predictions(self) -> dict[str, FeatureOverride]:
        """The overrides, and the larger share of the budget that predictions have."""
        others = max(len(self.reference.schema.names) - len(self.predictions), 1)
        boost = BUDGET * others / max(len(self.predictions), 1)
        own = {name: self.overrides.get(name, FeatureOverride()) for name in self.predictions}
        return self.overrides | {name: replace(one, weight=one.weight * boost) for name, one in own.items()}

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
        predictions: Collection[str] = (),
    ) -> Self:
        """The detector that wrote `state`; its budget and sensitivity unless others are given.

        Overrides are the owner's, and not part of the state: give those that hold now.
        """
        memory, settings = Memory.from_bytes(state, reference)
        if (
            settings["binning_id"] != reference.binning.binning_id
            or memory.smoothed.size != reference.normal.subject_of.size
        ):
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
            predictions=predictions,
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
            require_same(self.reference.binning, profile.binning)
            return window, profile
        return Window(min(waiting[0].start, window.start), window.end), waiting[1] + profile

    def _judged(self, window: Window, profile: Profile, strangers: dict[str, FeatureReport]) -> DriftReport:
        usual, season, memory = self._normal.usual, self._normal.usual.season, self._memory
        bucket = season.cycle.bucket(window)
        offset, off_season = season.offsets[bucket], season.is_on & ~season.seen[bucket]
        deviation = np.where(off_season, 0.0, self._normal.means(profile) - usual.mean - offset)
        memory.remember(deviation, offset, profile.rows)
        evidence = self._window_lane.evidence(memory.deviations, memory.rows, memory.offsets)
        size = self._normal.size
        self._slow_lane.update(memory.bets, profile.counts, profile.rows, bucket, ~off_season[:size])
        bets = self._slow_lane.evidence(memory.bets)
        was_open, before = memory.state is State.OPEN, memory.active.copy()
        slow = np.zeros_like(before)
        slow[:size] = bets.fired
        heard = Heard(window=evidence.fired.any(axis=0) & ~off_season, slow=slow & ~self._of_known(before))
        state = advance(
            memory, window, evidence, heard,
            watched=bool(evidence.watched.any()) or bets.is_watched,
            tolerance=self._window_lane.tolerance, variance=usual.dispersion.v,
        )  # fmt: skip
        grown = worsened(memory, evidence, heard) if was_open and state is State.OPEN else np.zeros_like(before)
        opened = state is State.OPEN and not was_open
        reopened = opened and is_recent(memory, window)
        seen = Seen(
            profile=profile, evidence=evidence, bets=bets, heard=heard, active=memory.active.copy(),
            off_season=off_season, is_open=state is State.OPEN,
        )  # fmt: skip
        explained = Explanation(self.reference, self._window_lane, seen)
        culprits = explained.culprits()
        known = explained.named(before)
        return DriftReport(
            window=window,
            status=Status.OK,
            alarm=opened and not reopened,
            state=state,
            rows=profile.rows,
            culprits=culprits,
            new_culprits=tuple(name for name in culprits if name in explained.fired and name not in known),
            worsened=tuple(name for name in culprits if name in explained.named(grown)),
            reopened=reopened,
            e_value=bets.e_value,
            alarm_at=self._slow_lane.alarm_at,
            sentence=explained.summary(state, culprits),
            features=Reports(lambda: explained.features() | strangers),
            streams=explained.streams,
        )

    def _of_known(self, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Directions of features that the incident names: the slow lane's sums outlast a shift that is over."""
        subject_of = self._normal.subject_of
        known: NDArray[np.bool_] = np.bincount(subject_of, active) > 0
        return known[subject_of]

    def _unjudged(
        self,
        window: Window,
        profile: Profile,
        strangers: dict[str, FeatureReport],
        sentence: str,
        *,
        status: Status = Status.INSUFFICIENT,
    ) -> DriftReport:

        def write() -> dict[str, FeatureReport]:
            total = self.reference.total
            return {
                name: plain_report(name, self.reference, profile, column_status(name, total, profile))
                for name in self.reference.schema.names
            } | strangers

        return DriftReport(
            window=window,
            status=status,
            alarm=False,
            state=self._memory.state,
            rows=profile.rows,
            culprits=(),
            sentence=sentence,
            features=Reports(write),
        )


def _strangers(data: pd.DataFrame | Profile, reference: Reference) -> dict[str, FeatureReport]:
    """Columns that the schema does not have."""
    if isinstance(data, Profile):
        return {}
    status = FeatureStatus.UNSEEN_COLUMN
    extra = [str(name) for name in data.columns if str(name) not in reference.schema.names]
    return {n: FeatureReport(name=n, status=status, sentence=status_sentence(n, status)) for n in extra}
