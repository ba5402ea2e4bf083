"""An independent check of adversarial rows against the declarations of a threat model.

It shares no code with the attacks and never looks at a box: what it accepts was re-derived from the budget itself, and
formulas and relations are evaluated by pandas.
"""

import re

import numpy as np
import pandas as pd

from monitor.robustness.links import Links
from monitor.robustness.swap_groups import SwapGroup
from monitor.robustness.threat_model import BoolArray, Budget, Norm, ThreatModel
from monitor.schema import FloatArray


def feasible(clean: FloatArray, adversarial: FloatArray, threat: ThreatModel, *, tolerance: float = 1e-9) -> BoolArray:
    """Which adversarial rows the threat allows, shape (n,). Rows in raw units, shape (n, d)."""
    missing = np.isnan(clean)
    moved = np.where(missing, ~np.isnan(adversarial), adversarial != clean)
    step = np.where(moved & ~missing, adversarial - np.where(moved, clean, 0.0), 0.0)
    slack = tolerance * (1 + np.abs(np.where(missing, 0.0, clean)))
    wrong = missing | ~threat.mutable
    wrong = wrong | ((step > 0) & ~threat.up) | ((step < 0) & ~threat.down)
    wrong = wrong | (threat.integer & (step != np.round(step)))
    wrong = wrong | _outside(adversarial, clean, threat, slack)
    wrong = wrong | ~_within_budget(clean, adversarial, step, threat, slack)
    bad = (moved & wrong) | (np.isnan(adversarial) & ~missing)
    bad[:, _elsewhere(threat)] = False
    allowed = ~bad.any(axis=1) & _within_ball(step, threat, tolerance) & _within_cost(clean, adversarial, threat)
    if threat.links is not None:
        allowed &= _holds(clean, adversarial, threat.links, tolerance)
    return np.asarray(allowed)


def _elsewhere(threat: ThreatModel) -> list[int]:
    """The columns that other checks answer for: those with a cost, and derived ones."""
    derived = [one.index for one in threat.links.derived] if threat.links is not None else []
    return [group.index for group in threat.groups] + derived


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


def _within_ball(step: FloatArray, threat: ThreatModel, tolerance: float) -> BoolArray:
    if threat.norm is Norm.LINF or threat.budget is Budget.RANK:
        return np.ones(len(step), dtype=bool)
    boxed = threat.mutable & (threat.scale > 0)
    moves = np.where(boxed, np.abs(step) / np.where(threat.scale > 0, threat.scale, 1.0), 0.0)
    size = moves.sum(axis=1) if threat.norm is Norm.L1 else np.sqrt((moves**2).sum(axis=1))
    return np.asarray(size <= threat.epsilon * (1 + 1e-6) + tolerance)


def _within_cost(clean: FloatArray, adversarial: FloatArray, threat: ThreatModel) -> BoolArray:
    """Whether what the steps of categories and counts cost together lies within the budget."""
    cost = np.zeros(len(clean))
    for group in threat.groups:
        before, after = clean[:, group.index], adversarial[:, group.index]
        changed = ~((before == after) | (np.isnan(before) & np.isnan(after)))
        if group.costs is None:
            price = _price_of_steps(before[changed], after[changed], group)
        else:
            price = _price_of_levels(before[changed], after[changed], group.costs)
        cost[changed] += price
    return np.asarray(cost <= threat.swaps + 1e-9)


def _price_of_steps(before: FloatArray, after: FloatArray, group: SwapGroup) -> FloatArray:
    upwards = after > before
    allowed = np.where(upwards, group.up & (after <= group.upper), group.down & (after >= group.lower))
    steps = np.abs(after - before)
    return np.where(allowed & (steps % 1 == 0) & (before % 1 == 0), steps, np.inf)


def _price_of_levels(before: FloatArray, after: FloatArray, costs: FloatArray) -> FloatArray:
    known = pd.Index(np.arange(costs.shape[1], dtype=np.float64))
    goal = known.get_indexer(pd.Index(after))
    origin = np.where(np.isnan(before), -1, np.minimum(np.nan_to_num(before), costs.shape[1])).astype(int)
    return np.where((goal >= 0) & (origin >= 0), costs[origin, goal], np.inf)


def _holds(clean: FloatArray, adversarial: FloatArray, links: Links, tolerance: float) -> BoolArray:
    """Derived cells keep the difference to their formula that the data had; no relation is farther from true."""
    before, after = _Frame(clean, links), _Frame(adversarial, links)
    allowed = np.ones(len(clean), dtype=bool)
    for one in links.derived:
        cells, moved = clean[:, one.index], adversarial[:, one.index]
        value, changed = before.value(one.formula.text), after.value(one.formula.text)
        bound = np.isfinite(cells) & np.isfinite(value)
        slack = 1e-6 * (1 + np.abs(cells) + np.abs(changed))
        same = np.abs((moved - cells) - (changed - value)) <= slack
        inside = (moved <= np.maximum(one.upper, cells) + slack) & (moved >= np.minimum(one.lower, cells) - slack)
        still = (moved == cells) | (np.isnan(moved) & np.isnan(cells))
        allowed &= np.where(bound, same & inside, still)
    for relation in links.relations:
        excess, farther = (
            frame.value(relation.left.text) - frame.value(relation.right.text) for frame in (before, after)
        )
        slack = 1e-6 * (1 + np.abs(after.value(relation.left.text))) + tolerance
        allowed &= ~np.isfinite(excess) | (farther <= np.maximum(excess, 0) + slack)
    return allowed


class _Frame:
    """Rows under plain column names, so that pandas can evaluate any formula over them."""

    def __init__(self, rows: FloatArray, links: Links) -> None:
        self._plain = {name: f"c{j}" for j, name in enumerate(links.names)}
        columns = {f"c{j}": rows[:, j] for _, j in links.reads}
        self._frame = pd.DataFrame(columns, index=range(len(rows)))

    def value(self, text: str) -> FloatArray:
        plain = _WORD.sub(lambda found: self._plain.get(found.group(1) or found.group(2), found.group(0)), text)
        plain = re.sub(r"\b(minimum|maximum)\s*\(", r"@\1(", plain)
        functions = {"minimum": np.minimum, "maximum": np.maximum}
        with np.errstate(all="ignore"):
            found = self._frame.eval(" ".join(plain.split()), engine="python", local_dict=functions, global_dict={})
        return np.broadcast_to(np.asarray(found, dtype=np.float64), len(self._frame)).copy()


_WORD = re.compile(r"`([^`]*)`|(?<![\w.])([^\W\d]\w*)\b(?!\s*\()")
