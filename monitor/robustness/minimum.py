"""The smallest budget that breaks each row: bisection of its box, from the adversarial rows of a campaign's levels."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.robustness.descent import Descent, Search
from monitor.robustness.objective import Objective
from monitor.robustness.report import MinimumNorm
from monitor.robustness.space import Space
from monitor.robustness.target import Target, Task, is_right
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray

_ROUNDS = 5
_BATCH = 1_024


def minimum_epsilon(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threats: Sequence[ThreatModel],
    adversarial: Sequence[FloatArray],
    *,
    search: Search | None = None,
) -> FloatArray:
    """The smallest ε that breaks each row, (n,), as far as was found: an upper bound; infinite where none did.

    `threats` are levels in rising order and `adversarial` the worst rows (n, d) found at each. Wrong rows need 0. A row
    first broken at a level is bisected between that and the level before, by short descents in boxes of the size asked
    for; categories and counts stay as the adversarial row has them.
    """
    search = search or Search(steps=10, drop_broken=True)
    right = _right(target, rows, y)
    epsilon = np.where(right, np.inf, 0.0)
    before = 0.0
    for threat, worst in zip(threats, adversarial, strict=True):
        broken = np.flatnonzero(np.isinf(epsilon) & ~_right(target, worst, y))
        for begin in range(0, len(broken), _BATCH):
            some = broken[begin : begin + _BATCH]
            shares = _bisected(target, rows[some], y[some], threat, worst[some], before / threat.epsilon, search)
            epsilon[some] = shares * threat.epsilon
        before = threat.epsilon
    return epsilon


def summed_up(epsilon: FloatArray, right: NDArray[np.bool_]) -> MinimumNorm | None:
    """Quantiles over the rows that were right; None when there is none."""
    found = np.sort(epsilon[right])
    if found.size == 0:
        return None
    q05, q25, median = (float(found[min(int(q * found.size), found.size - 1)]) for q in (0.05, 0.25, 0.5))
    return MinimumNorm(
        q05=_finite(q05), q25=_finite(q25), median=_finite(median), unbroken=float(np.isinf(found).mean())
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _right(target: Target, rows: FloatArray, y: FloatArray) -> NDArray[np.bool_]:
    return is_right(target.outputs(rows), y, target.task, decision=target.decision)


def _bisected(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    worst: FloatArray,
    least: float,
    search: Search,
) -> FloatArray:
    """The share of the box that is enough for each row, (n,); `least` is known not to be."""
    low, high = np.full(len(rows), least), np.ones(len(rows))
    if not target.white_box or target.task is Task.REGRESSION:
        return high
    whole = Space.around(target, rows, threat, worst)
    clean, labels = (torch.as_tensor(a, dtype=whole.lower.dtype, device=whole.lower.device) for a in (rows, y))
    begin = torch.as_tensor(worst, dtype=clean.dtype, device=clean.device)
    for _ in range(_ROUNDS):
        share = (low + high) / 2
        space = whole.shrunk(clean, torch.as_tensor(share, dtype=clean.dtype, device=clean.device))
        run = Descent(target, begin, labels, space, search, Objective(task=target.task)).run()
        found = run.margin < 0
        high, low = np.where(found, share, high), np.where(found, low, share)
    return high
