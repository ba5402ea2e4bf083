"""Features that change by whole steps at a cost: categories turn into other levels, counts go up or down by one.

They have a budget of their own, because a category has no distance and one more of a small count is a large step.
"""

from dataclasses import dataclass

import numpy as np

from monitor.robustness.scale import robust_scale
from monitor.schema import Direction, Feature, FloatArray, Kind

SWAP_LEVELS = {"S1": 1.0, "S2": 1.0, "S3": 1.0, "S4": 2.0, "S5": 3.0}  # cost in all, over a row
_SMALL = 2.0  # robust σ: whole numbers that spread less are counts


@dataclass(frozen=True, kw_only=True, eq=False)
class SwapGroup:
    """One such feature in column `index`.

    `costs[i, j]` is the cost from level code i to j, infinite where it is not allowed; the last row is for levels that
    the schema does not know. For a count it is None: each step of one costs 1, within `lower` and `upper`.
    """

    index: int
    costs: FloatArray | None
    up: bool = True
    down: bool = True
    lower: float = -np.inf
    upper: float = np.inf

    def cost(self, clean: FloatArray, value: FloatArray) -> FloatArray:
        """What the change of this cell costs, (n,); infinite where it is not allowed, or a cell is missing."""
        if self.costs is None:
            return self._cost_of_steps(clean, value)
        known = np.isfinite(clean) & np.isfinite(value)
        n_levels = self.costs.shape[1]
        origin = np.where(known, clean, 0).astype(int).clip(0, n_levels)
        goal = np.where(known, value, 0).astype(int)
        inside = known & (goal >= 0) & (goal < n_levels) & (goal == value)
        found = np.where(inside, self.costs[origin, np.where(inside, goal, 0)], np.inf)
        return np.asarray(np.where((clean == value) | (np.isnan(clean) & np.isnan(value)), 0.0, found))

    def _cost_of_steps(self, clean: FloatArray, value: FloatArray) -> FloatArray:
        step = value - clean
        whole = (step == np.round(step)) & (clean == np.round(clean))
        wrong = ~whole | ((step > 0) & (not self.up)) | ((step < 0) & (not self.down))
        wrong = wrong | ((step > 0) & (value > self.upper)) | ((step < 0) & (value < self.lower))
        same = (clean == value) | (np.isnan(clean) & np.isnan(value))
        return np.asarray(np.where(same, 0.0, np.where(wrong | ~np.isfinite(step), np.inf, np.abs(step))))

    def values(self, most_steps: int) -> FloatArray:
        """What a cell may turn into, as level codes; for a count as steps from its value."""
        if self.costs is not None:
            return np.arange(self.costs.shape[1], dtype=np.float64)
        steps = np.arange(1, most_steps + 1, dtype=np.float64)
        return np.concatenate([-steps[::-1] if self.down else [], steps if self.up else []])


def swap_groups(features: tuple[Feature, ...], reference: FloatArray) -> tuple[SwapGroup, ...]:
    """The mutable categories, booleans and counts of a schema, given reference rows (n, d)."""
    groups = []
    for j, (feature, column) in enumerate(zip(features, reference.T, strict=True)):
        if not feature.mutable:
            continue
        if feature.is_categorical and len(feature.levels) > 0:
            groups.append(SwapGroup(index=j, costs=_costs(feature)))
        elif is_count(feature, column):
            groups.append(_count(j, feature, column))
    return tuple(groups)


def is_count(feature: Feature, column: FloatArray) -> bool:
    """Whole numbers so close together that one step is large: quartiles that coincide, or robust σ below 2."""
    if feature.kind is Kind.BOOLEAN:
        return True
    present = column[np.isfinite(column)]
    if feature.kind is not Kind.INTEGER or present.size == 0:
        return False
    q25, q75 = np.quantile(present, [0.25, 0.75])
    return bool(present.min() < present.max() and (q25 == q75 or robust_scale(present) < _SMALL))


def _count(j: int, feature: Feature, column: FloatArray) -> SwapGroup:
    present = column[np.isfinite(column)]
    low, high = (present.min(), present.max()) if present.size else (0.0, 0.0)
    if feature.kind is Kind.BOOLEAN:
        low, high = 0.0, 1.0
    return SwapGroup(
        index=j,
        costs=None,
        up=feature.direction is not Direction.DOWN,
        down=feature.direction is not Direction.UP,
        lower=max(low, -np.inf if feature.lower is None else feature.lower),
        upper=min(high, np.inf if feature.upper is None else feature.upper),
    )


def _costs(feature: Feature) -> FloatArray:
    """Every level, known or not, into every other at cost 1, unless transitions are declared."""
    levels = feature.levels
    if feature.transitions is None:
        return np.ones((len(levels) + 1, len(levels))) - np.eye(len(levels) + 1, len(levels))
    costs = np.full((len(levels) + 1, len(levels)), np.inf)
    for origin, goals in feature.transitions.items():
        for goal, cost in goals.items():
            costs[levels.index(origin), levels.index(goal)] = cost
    np.fill_diagonal(costs, 0.0)
    return costs
