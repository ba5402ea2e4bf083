"""What an attacker or a fault may change: a box of feasible values around every cell, in raw units.

The box is budget ∩ bounds ∩ mutability ∩ direction. It always holds the row itself, and missing cells stay missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput
from monitor.robustness.scale import robust_scale
from monitor.schema import Direction, Feature, FloatArray, Kind, Schema

BoolArray = NDArray[np.bool_]

SIGMA_LEVELS = {"S1": 0.05, "S2": 0.1, "S3": 0.25, "S4": 0.5, "S5": 1.0}  # robust σ
RANK_LEVELS = {"S1": 0.005, "S2": 0.01, "S3": 0.025, "S4": 0.05, "S5": 0.10}  # share of the reference


class Budget(StrEnum):
    """The unit in which a level says how far a feature may move."""

    SIGMA = "sigma"
    RANK = "rank"
    RAW = "raw"


@dataclass(frozen=True, kw_only=True)
class RawBudget:
    """How far one feature may move at a level, in raw units."""

    feature: str
    down: float
    up: float
    unit: str | None = None

    @property
    def text(self) -> str:
        """As a person says it.

        >>> RawBudget(feature="amount", down=37.0, up=37.0, unit="EUR").text
        'amount ± 37 EUR'
        """
        unit = f" {self.unit}" if self.unit else ""
        if self.down == self.up:
            return f"{self.feature} ± {self.up:.4g}{unit}"
        return f"{self.feature} −{self.down:.4g} … +{self.up:.4g}{unit}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreatModel:
    """What may change, and how far. Arrays are (d,), or (1,) when the model holds for any number of features.

    `epsilon` is in units of `budget`: robust σ, share of the reference, or raw units. `lower` and `upper` are the hard
    bounds of the schema; `reference_lower` and `reference_upper` the .1 and 99.9 % quantiles. `frozen` says why a
    feature that is declared mutable cannot move at this level.
    """

    names: tuple[str, ...]
    units: tuple[str | None, ...]
    level: str
    budget: Budget
    epsilon: float
    scale: FloatArray
    lower: FloatArray
    upper: FloatArray
    reference_lower: FloatArray
    reference_upper: FloatArray
    mutable: BoolArray
    up: BoolArray
    down: BoolArray
    integer: BoolArray
    reference: tuple[FloatArray, ...] = ()
    frozen: Mapping[str, str]
    reality_cap: float | None = None

    @classmethod
    def from_schema(
        cls,
        schema: Schema,
        reference: FloatArray,
        *,
        level: str = "S2",
        budget: Budget | str = Budget.SIGMA,
        reality_cap: float | None = None,
    ) -> "ThreatModel":
        """Compile the schema's declarations with the spread of reference rows, shape (n, d), as `schema.encode` gives.

        `reality_cap` in robust σ comes from `reality_cap(...)`: a level above it moves rows into the other class.
        """
        rows = np.asarray(reference, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(schema) or len(rows) == 0:
            raise BadInput(
                f"expected reference rows of shape (n, {len(schema)}) with n > 0, got {rows.shape}: use schema.encode"
            )
        columns = [column[np.isfinite(column)] for column in rows.T]
        extremes = [np.quantile(c, [0.001, 0.999]) if c.size else np.array([0.0, 0.0]) for c in columns]
        kind = Budget(budget)
        features = schema.features
        threat = cls(
            names=schema.names,
            units=tuple(feature.unit for feature in features),
            level=level,
            budget=kind,
            epsilon=_epsilon(kind, level),
            scale=np.array(
                [0.0 if f.is_categorical else robust_scale(c) for f, c in zip(features, rows.T, strict=True)]
            ),
            lower=np.array([-np.inf if f.lower is None else f.lower for f in features]),
            upper=np.array([np.inf if f.upper is None else f.upper for f in features]),
            reference_lower=np.array([low for low, _ in extremes]),
            reference_upper=np.array([high for _, high in extremes]),
            mutable=np.array([f.mutable and not f.is_categorical for f in features]),
            up=np.array([f.direction is not Direction.DOWN for f in features]),
            down=np.array([f.direction is not Direction.UP for f in features]),
            integer=np.array([f.kind in (Kind.INTEGER, Kind.BOOLEAN) for f in features]),
            reference=tuple(np.sort(column) for column in columns) if kind is Budget.RANK else (),
            frozen={},
            reality_cap=reality_cap,
        )
        return replace(threat, frozen=_frozen(threat, features))

    @classmethod
    def linf(cls, *, epsilon: float, lower: float = -np.inf, upper: float = np.inf) -> "ThreatModel":
        """The plain box |x' − x| ≤ epsilon within [lower, upper] on every feature, to compare with other libraries."""
        if not epsilon >= 0 or not lower <= upper:
            raise BadInput(f"expected epsilon ≥ 0 and lower ≤ upper, got {epsilon}, {lower}, {upper}")
        yes, no = np.array([True]), np.array([False])
        return cls(
            names=("every feature",),
            units=(None,),
            level=f"linf {epsilon:g}",
            budget=Budget.RAW,
            epsilon=epsilon,
            scale=np.array([1.0]),
            lower=np.array([lower]),
            upper=np.array([upper]),
            reference_lower=np.array([-np.inf]),
            reference_upper=np.array([np.inf]),
            mutable=yes,
            up=yes,
            down=yes,
            integer=no,
            frozen={},
        )

    def at(self, level: str) -> "ThreatModel":
        """The same threat at another level."""
        if self.budget is Budget.RAW:
            raise BadInput("a raw box has no levels: make one with ThreatModel.linf(epsilon=...)")
        moved = replace(self, level=level, epsilon=_epsilon(self.budget, level))
        return replace(moved, frozen=_refrozen(moved))

    @property
    def movable(self) -> BoolArray:
        """The features that can move at this level, shape (d,)."""
        reach = self.epsilon * self.scale
        if self.budget is Budget.RANK:
            return self.mutable & (self.scale > 0)
        return self.mutable & (np.where(self.integer, np.floor(reach + 1e-9), reach) > 0)

    @property
    def beyond_reality(self) -> bool:
        """True when the level is so wide that honest rows of different classes lie within it; it must not gate."""
        return self.budget is Budget.SIGMA and self.reality_cap is not None and self.epsilon > self.reality_cap

    def box(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest feasible value of every cell, both (n, d) in raw units."""
        low, high = self._within_budget(rows)
        low = np.maximum(low, np.maximum(self.lower, self.reference_lower))
        high = np.minimum(high, np.minimum(self.upper, self.reference_upper))
        low, high = np.where(self.integer, np.ceil(low), low), np.where(self.integer, np.floor(high), high)
        fixed = ~self.movable | ~np.isfinite(rows) | (self.integer & (rows != np.round(rows)))
        low = np.where(fixed | ~self.down, rows, np.minimum(low, rows))
        high = np.where(fixed | ~self.up, rows, np.maximum(high, rows))
        return low, high

    def reach(self, rows: FloatArray) -> FloatArray:
        """How far each cell may go to its farther side, (n, d) in raw units; 0 where it cannot move."""
        low, high = self.box(rows)
        return np.asarray(np.nan_to_num(np.maximum(high - rows, rows - low)))

    def limits(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest value of every cell without a budget: bounds, mutability and direction alone."""
        still = ~self.movable | ~np.isfinite(rows)
        low = np.where(still | ~self.down, rows, np.minimum(rows, self.lower))
        high = np.where(still | ~self.up, rows, np.maximum(rows, self.upper))
        return low, high

    def raw_budget(self) -> tuple[RawBudget, ...]:
        """How far each movable feature may go; for a rank budget, as it is at the median of the reference."""
        return tuple(self._raw_budget_of(int(j)) for j in np.flatnonzero(self.movable))

    def _within_budget(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self.budget is not Budget.RANK:
            reach = self.epsilon * self.scale
            reach = np.where(self.integer, np.floor(reach + 1e-9), reach)
            return rows - reach, rows + reach
        low, high = rows.copy(), rows.copy()
        for j in np.flatnonzero(self.movable):
            low[:, j], high[:, j] = _rank_interval(self.reference[j], rows[:, j], self.epsilon)
        return low, high

    def _raw_budget_of(self, j: int) -> RawBudget:
        if self.budget is Budget.RANK:
            middle = np.median(self.reference[j])
            low, high = _rank_interval(self.reference[j], np.array([middle]), self.epsilon)
            down, up = float(middle - low[0]), float(high[0] - middle)
        else:
            reach = self.epsilon * self.scale[j]
            down = up = float(np.floor(reach + 1e-9)) if self.integer[j] else float(reach)
        return RawBudget(
            feature=self.names[j],
            down=down if self.down[j] else 0.0,
            up=up if self.up[j] else 0.0,
            unit=self.units[j],
        )


def _epsilon(budget: Budget, level: str) -> float:
    levels: dict[str, float] = {Budget.SIGMA: SIGMA_LEVELS, Budget.RANK: RANK_LEVELS}.get(budget, {})
    if level not in levels:
        raise BadInput(
            f"expected a level among {', '.join(SIGMA_LEVELS)} and budget sigma or rank, got {level!r}, {budget}"
        )
    return levels[level]


def _frozen(threat: ThreatModel, features: tuple[Feature, ...]) -> dict[str, str]:
    reasons = _refrozen(threat)
    for feature in features:
        if feature.mutable and feature.is_categorical:
            reasons[feature.name] = "a category: it moves by swaps, not within a box"
    return reasons


def _refrozen(threat: ThreatModel) -> dict[str, str]:
    stuck: dict[str, str] = {n: reason for n, reason in threat.frozen.items() if reason.startswith("a category")}
    for j in np.flatnonzero(threat.mutable & ~threat.movable):
        constant = threat.scale[j] == 0
        stuck[threat.names[j]] = (
            "constant in the reference" if constant else f"whole numbers, and {threat.level} is less than one step"
        )
    return stuck


def _rank_interval(ordered: FloatArray, values: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """[Q(F − share), Q(F + share)] with F the mid-distribution, so that an atom has one rank."""
    size = len(ordered)
    middle = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * size)
    low = np.clip(np.ceil((middle - share) * size - 1e-9).astype(int) - 1, 0, size - 1)
    high = np.clip(np.ceil((middle + share) * size - 1e-9).astype(int) - 1, 0, size - 1)
    return ordered[low], ordered[high]


def reality_cap(schema: Schema, rows: FloatArray, labels: NDArray[Any], *, most: int = 20_000) -> float | None:
    """Half the 5th-percentile L∞ distance in robust σ to the nearest row of another class, categories equal.

    Beyond it an "attack" turns rows into honest rows of the other class. None when no such pair of rows exists.
    """
    from scipy.spatial import cKDTree

    rows, labels = np.asarray(rows[:most], dtype=np.float64), np.asarray(labels)[:most]
    points = _comparable(schema, rows)
    distances = []
    for label in np.unique(labels):
        mine, others = points[labels == label], points[labels != label]
        if len(mine) and len(others):
            distances.append(cKDTree(others).query(mine[:1_000], p=np.inf, distance_upper_bound=_APART / 2)[0])
    found = np.concatenate(distances) if distances else np.array([])
    found = found[np.isfinite(found)]
    return float(np.quantile(found, 0.05) / 2) if found.size else None


_APART = 1e6


def _comparable(schema: Schema, rows: FloatArray) -> FloatArray:
    """Numbers in robust σ; categories and missing cells so far apart that only equal ones are neighbours."""
    points = np.empty((len(rows), 2 * len(schema)))
    for j, feature in enumerate(schema.features):
        scale = robust_scale(rows[:, j]) or 1.0
        missing = ~np.isfinite(rows[:, j])
        unit = _APART if feature.is_categorical else 1 / scale
        points[:, 2 * j] = np.where(missing, 0.0, rows[:, j]) * unit
        points[:, 2 * j + 1] = missing * _APART
    return points
