"""The life of a model's incident in the detector: it opens once, is held open while features are away, and resolves."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from monitor.drift.bins import FloatArray
from monitor.drift.memory import Memory
from monitor.drift.report import State
from monitor.drift.window_lane import LONGEST, SCALES, Evidence
from monitor.windows import Window

BoolArray = NDArray[np.bool_]
_CALM_WINDOWS = 3
_SAME_INCIDENT = timedelta(days=7)
_SMOOTHING_VARIANCE = 0.3 / 1.7  # of an EWMA with .3, relative to a window's own
_WORSE = 2.0  # times the effect that was announced, from which a change is announced again


@dataclass(frozen=True, kw_only=True, eq=False)
class Heard:
    """Which directions spoke in a window, by lane, shapes (D,)."""

    window: BoolArray
    slow: BoolArray

    @property
    def any(self) -> BoolArray:
        return self.window | self.slow


def advance(
    memory: Memory,
    window: Window,
    evidence: Evidence,
    heard: Heard,
    *,
    watched: bool,
    tolerance: FloatArray,
    variance: FloatArray,
) -> State:
    """Move the incident on; the state that this window is reported with.

    Args:
        memory: what is changed.
        window: the one that was judged.
        evidence: of the window lane.
        heard: directions beyond their threshold; the slow lane speaks only of features that are not known already.
        watched: whether a lane is beyond a tenth of what an alarm needs.
        tolerance: δ of each direction, shape (D,).
        variance: of one window's mean, shape (D,).
    """
    scales = np.array(SCALES[: len(evidence.fired)], dtype=np.float64)
    # Long sums still hold the windows of a shift that is over: an active direction must show as fast as before.
    fast = evidence.fired & heard.window & (~memory.active | (scales[:, None] <= 2 * memory.reach))
    slow = heard.slow & ~fast.any(axis=0)
    if fast.any() or slow.any():
        _open(memory, evidence, fast, slow, scales)
        return State.OPEN
    if memory.state is not State.OPEN:
        memory.state = State.WATCH if watched else State.QUIET
        return memory.state
    memory.calm = memory.calm + 1 if _is_calm(memory, tolerance, variance) else 0
    if memory.calm < _CALM_WINDOWS:
        return State.OPEN
    memory.forget()
    memory.resolved_at = window.end
    return State.RESOLVED


def is_recent(memory: Memory, window: Window) -> bool:
    """Whether the last incident ended within seven days: what opens now is the same one."""
    return memory.resolved_at is not None and window.start - memory.resolved_at < _SAME_INCIDENT


def worsened(memory: Memory, evidence: Evidence, heard: Heard) -> BoolArray:
    """Directions whose effect is twice what was announced, and beyond its threshold; they count as announced now."""
    scale = np.minimum(np.searchsorted(SCALES, memory.reach), len(evidence.x) - 1)
    at = np.arange(memory.active.size)
    effect = np.abs(evidence.x[scale, at])
    grown = memory.active & heard.window & evidence.fired[scale, at] & (memory.announced > 0)
    grown &= effect >= _WORSE * memory.announced
    memory.announced = np.where(grown, effect, memory.announced)
    return grown


def _open(memory: Memory, evidence: Evidence, fast: BoolArray, slow: BoolArray, scales: FloatArray) -> None:
    """Enter the directions that spoke, with the mean over the longest scale at which they did."""
    at = np.arange(memory.active.size)
    now = fast.any(axis=0)
    longest = np.where(now, len(scales) - 1 - fast[::-1].argmax(axis=0), len(scales) - 1)
    shortest = np.where(now, scales[fast.argmax(axis=0)], min(LONGEST, len(memory.rows)))
    level = evidence.x[longest, at]
    spoke, newly = now | slow, (now | slow) & ~memory.active
    memory.level = np.where(spoke, level, memory.level)
    memory.announced = np.where(newly, np.abs(level), memory.announced)
    memory.smoothed = np.where(newly, level, memory.smoothed)
    memory.reach = np.where(newly, shortest, memory.reach)
    memory.active, memory.state, memory.calm = memory.active | spoke, State.OPEN, 0


def _is_calm(memory: Memory, tolerance: FloatArray, variance: FloatArray) -> bool:
    """Near the reference now, and nearer to it than to the incident over four times the windows that showed it.

    The second half keeps a small lasting shift, which a lucky day hides, from being announced again and again.
    """
    near = np.abs(memory.smoothed) < tolerance + np.sqrt(_SMOOTHING_VARIANCE * variance)
    for reach in np.unique(memory.reach[memory.active]):
        lately = np.abs(memory.deviations[-int(4 * reach) :].mean(axis=0)) < np.abs(memory.level) / 2
        if not (near & lately)[memory.active & (memory.reach == reach)].all():
            return False
    return True
