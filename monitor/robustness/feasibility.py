"""An independent check of adversarial rows against the declarations of a threat model.

It shares no code with the attacks and never looks at a box: what it accepts was re-derived from the budget itself.
"""

import numpy as np

from monitor.robustness.threat_model import BoolArray, Budget, ThreatModel
from monitor.schema import FloatArray


def feasible(clean: FloatArray, adversarial: FloatArray, threat: ThreatModel, *, tolerance: float = 1e-9) -> BoolArray:
    """Which adversarial rows the threat allows, shape (n,). Rows in raw units, shape (n, d)."""
    missing = np.isnan(clean)
    moved = np.where(missing, ~np.isnan(adversarial), adversarial != clean)
    step = np.where(missing, 0.0, adversarial - np.where(missing, 0.0, clean))
    slack = tolerance * (1 + np.abs(np.where(missing, 0.0, clean)))
    wrong = missing | ~threat.mutable
    wrong = wrong | ((step > 0) & ~threat.up) | ((step < 0) & ~threat.down)
    wrong = wrong | (threat.integer & (step != np.round(step)))
    wrong = wrong | _outside(adversarial, clean, threat, slack)
    wrong = wrong | ~_within_budget(clean, adversarial, step, threat, slack)
    bad = (moved & wrong) | (np.isnan(adversarial) & ~missing)
    return np.asarray(~bad.any(axis=1))


def _outside(adversarial: FloatArray, clean: FloatArray, threat: ThreatModel, slack: FloatArray) -> BoolArray:
    """Beyond a bound, unless the clean value was farther beyond it."""
    low, high = np.fmax(threat.lower, threat.reference_lower), np.fmin(threat.upper, threat.reference_upper)
    below = (adversarial < low - slack) & (adversarial < clean)
    above = (adversarial > high + slack) & (adversarial > clean)
    return np.asarray(below | above)


def _within_budget(
    clean: FloatArray, adversarial: FloatArray, step: FloatArray, threat: ThreatModel, slack: FloatArray
) -> BoolArray:
    if threat.budget is not Budget.RANK:
        return np.asarray(np.abs(step) <= threat.epsilon * threat.scale + slack)
    allowed = np.ones(clean.shape, dtype=bool)
    for j in np.flatnonzero(threat.mutable):
        ordered, x, v = threat.reference[j], clean[:, j], adversarial[:, j]
        size = len(ordered)
        if size == 0:
            continue
        rank = (np.searchsorted(ordered, x, "left") + np.searchsorted(ordered, x, "right")) / (2 * size)
        up = np.searchsorted(ordered, v, "left") / size <= rank + threat.epsilon + 1e-6
        down = np.searchsorted(ordered, v, "right") / size >= rank - threat.epsilon - 1e-6
        allowed[:, j] = np.where(v > x, up, np.where(v < x, down, True))
    return allowed
