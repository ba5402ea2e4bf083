"""What an attacker or a fault may change: a box of feasible values around every cell, in raw units.

The box is budget ∩ bounds ∩ mutability ∩ direction. It always holds the row itself, and missing cells stay missing.
Categories and counts lie outside the box: they move by steps, within a cost budget (swap_groups.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput
from monitor.robustness.links import Links
from monitor.robustness.scale import robust_scale
from monitor.robustness.swap_groups import SWAP_LEVELS, SwapGroup, is_count, swap_groups
from monitor.schema import Direction, FloatArray, Kind, Schema

BoolArray = NDArray[np.bool_]

SIGMA_LEVELS = {"S1": 0.05, "S2": 0.1, "S3": 0.25, "S4": 0.5, "S5": 1.0}  # robust σ
RANK_LEVELS = {"S1": 0.005, "S2": 0.01, "S3": 0.025, "S4": 0.05, "S5": 0.10}  # share of the reference


class Budget(StrEnum):
    """The unit in which a level says how far a feature may move."""

    SIGMA = "sigma"
    RANK = "rank"
    RAW = "raw"


class Norm(StrEnum):
    """How the moves of a row's numbers add up to its budget: each by itself, by length, or by their sum."""

    LINF = "linf"
    L2 = "l2"
    L1 = "l1"


@dataclass(frozen=True, kw_only=True)
class RawBudget:
    """How far one feature may move at a level, in raw units; `swap` for a category, which has no distance."""

    feature: str
    down: float
    up: float
    unit: str | None = None
    swap: bool = False

    @property
    def text(self) -> str:
        """As a person says it.

        >>> RawBudget(feature="amount", down=37.0, up=37.0, unit="EUR").text
        'amount ± 37 EUR'
        """
        unit = f" {self.unit}" if self.unit else ""
        if self.swap:
            return f"{self.feature}: another level"
        if self.down == self.up:
            return f"{self.feature} ± {self.up:.4g}{unit}"
        return f"{self.feature} −{self.down:.4g} … +{self.up:.4g}{unit}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ThreatModel:
    """What may change, and how far. Arrays are (d,), or (1,) when the model holds for any number of features.

    `epsilon` is in units of `budget`: robust σ, share of the reference, or raw units. `lower` and `upper` are the hard
    bounds of the schema; `reference_lower` and `reference_upper` the .1 and 99.9 % quantiles. `mutable` says what moves
    within the box, `groups` what moves by steps that cost at most `swaps` a row in all, `links` what must hold between
    features. `frozen` says why a feature that is declared mutable cannot move at this level. In the norms l2 and l1 the
    moves in units of `scale` lie in a ball of radius `epsilon`, within the box.
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
    norm: Norm = Norm.LINF
    groups: tuple[SwapGroup, ...] = ()
    swaps: float = 0.0
    own_swaps: bool = False
    links: Links | None = None

    @classmethod
    def from_schema(
        cls,
        schema: Schema,
        reference: FloatArray,
        *,
        level: str = "S2",
        budget: Budget | str = Budget.SIGMA,
        swaps: float | None = None,
        norm: Norm | str = Norm.LINF,
        reality_cap: float | None = None,
    ) -> "ThreatModel":
        """Compile the schema's declarations with the spread of reference rows, shape (n, d), as `schema.encode` gives.

        `swaps` is the cost that changes of categories and counts may reach in all; by default 1 up to S3, 2 at S4 and
        3 at S5. `reality_cap` in robust σ comes from `reality_cap(...)`: a level above it moves rows into another
        class.
        """
        rows = np.asarray(reference, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(schema) or len(rows) == 0:
            raise BadInput(
                f"expected reference rows of shape (n, {len(schema)}) with n > 0, got {rows.shape}: use schema.encode"
            )
        columns = [column[np.isfinite(column)] for column in rows.T]
        extremes = [np.quantile(c, [0.001, 0.999]) if c.size else np.array([0.0, 0.0]) for c in columns]
        kind = Budget(budget)
        if kind is Budget.RANK and Norm(norm) is not Norm.LINF:
            raise BadInput(f"expected norm linf with a rank budget, whose shares have no length, got {norm}")
        features = schema.features
        counts = np.array([f.mutable and is_count(f, c) for f, c in zip(features, columns, strict=True)])
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
            mutable=np.array([f.mutable and not f.is_categorical for f in features]) & ~counts,
            up=np.array([f.direction is not Direction.DOWN for f in features]),
            down=np.array([f.direction is not Direction.UP for f in features]),
            integer=np.array([f.kind in (Kind.INTEGER, Kind.BOOLEAN) for f in features]),
            reference=tuple(np.sort(column) for column in columns) if kind is Budget.RANK else (),
            frozen={},
            reality_cap=reality_cap,
            norm=Norm(norm),
            groups=swap_groups(features, rows),
            swaps=_swaps(level) if swaps is None else swaps,
            own_swaps=swaps is not None,
            links=Links.of(schema, rows),
        )
        return replace(threat, frozen=_frozen(threat))

    @classmethod
    def linf(cls, *, epsilon: float, lower: float = -np.inf, upper: float = np.inf) -> "ThreatModel":
        """The plain box |x' − x| ≤ epsilon within [lower, upper] on every feature, to compare with other libraries."""
        return cls.ball("linf", epsilon=epsilon, lower=lower, upper=upper)

    @classmethod
    def ball(cls, norm: Norm | str, *, epsilon: float, lower: float = -np.inf, upper: float = np.inf) -> "ThreatModel":
        """The plain ball ‖x' − x‖ ≤ epsilon in a norm, within [lower, upper] on every feature."""
        if not epsilon >= 0 or not lower <= upper:
            raise BadInput(f"expected epsilon ≥ 0 and lower ≤ upper, got {epsilon}, {lower}, {upper}")
        yes, no = np.array([True]), np.array([False])
        return cls(
            names=("every feature",),
            units=(None,),
            level=f"{Norm(norm)} {epsilon:g}",
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
            norm=Norm(norm),
        )

    def at(self, level: str) -> "ThreatModel":
        """The same threat at another level."""
        if self.budget is Budget.RAW:
            raise BadInput("a raw box has no levels: make one with ThreatModel.linf(epsilon=...)")
        swaps = self.swaps if self.own_swaps else _swaps(level)
        moved = replace(self, level=level, epsilon=_epsilon(self.budget, level), swaps=swaps)
        return replace(moved, frozen=_frozen(moved))

    @property
    def movable(self) -> BoolArray:
        """The features that can move at this level, within the box or by steps, shape (d,)."""
        able = self.boxed.copy()
        if self.swaps >= 1:
            able[[group.index for group in self.groups]] = True
        return able

    @property
    def boxed(self) -> BoolArray:
        """The features that can move within the box at this level, shape (d,)."""
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
        fixed = ~self.boxed | ~np.isfinite(rows)
        if self.integer.any():
            low, high = np.where(self.integer, np.ceil(low), low), np.where(self.integer, np.floor(high), high)
            fixed |= self.integer & (rows != np.round(rows))
        low, high = np.minimum(low, rows), np.maximum(high, rows)
        np.copyto(low, rows, where=fixed | ~self.down)
        np.copyto(high, rows, where=fixed | ~self.up)
        return low, high

    def reach(self, rows: FloatArray) -> FloatArray:
        """How far each number may go to its farther side, (n, d) in raw units; 0 where it cannot move."""
        low, high = self.box(rows)
        reach = np.asarray(np.nan_to_num(np.maximum(high - rows, rows - low)))
        for group in self.counts:
            reach[:, group.index] = np.where(np.isfinite(rows[:, group.index]), np.floor(self.swaps), 0.0)
        return reach

    def limits(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest value of every number without a budget: bounds, mutability and direction alone."""
        able = self.boxed.copy()
        able[[group.index for group in self.counts]] = True
        still = ~able | ~np.isfinite(rows)
        low = np.where(still | ~self.down, rows, np.minimum(rows, self.lower))
        high = np.where(still | ~self.up, rows, np.maximum(rows, self.upper))
        return low, high

    @property
    def counts(self) -> tuple[SwapGroup, ...]:
        """The counts that can take a step at this level."""
        return tuple(group for group in self.groups if group.costs is None and self.swaps >= 1)

    def raw_budget(self) -> tuple[RawBudget, ...]:
        """How far each movable feature may go; for a rank budget, as it is at the median of the reference."""
        steps = {group.index: group for group in self.groups}
        return tuple(
            self._steps_of(steps[j]) if j in steps else self._raw_budget_of(j)
            for j in np.flatnonzero(self.movable).tolist()
        )

    def _steps_of(self, group: SwapGroup) -> RawBudget:
        name, unit, most = self.names[group.index], self.units[group.index], float(np.floor(self.swaps))
        if group.costs is not None:
            return RawBudget(feature=name, down=0.0, up=0.0, swap=True)
        return RawBudget(feature=name, down=most if group.down else 0.0, up=most if group.up else 0.0, unit=unit)

    def _within_budget(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        if self.budget is not Budget.RANK:
            reach = self.epsilon * self.scale
            reach = np.where(self.integer, np.floor(reach + 1e-9), reach)
            return rows - reach, rows + reach
        low, high = rows.copy(), rows.copy()
        for j in np.flatnonzero(self.boxed):
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


def _swaps(level: str) -> float:
    return SWAP_LEVELS.get(level, 0.0)


def _frozen(threat: ThreatModel) -> dict[str, str]:
    """Why features that are declared mutable cannot move."""
    stuck: dict[str, str] = {}
    for j in np.flatnonzero(threat.mutable & ~threat.boxed):
        constant = threat.scale[j] == 0
        stuck[threat.names[j]] = (
            "constant in the reference" if constant else f"whole numbers, and {threat.level} is less than one step"
        )
    for group in threat.groups if threat.swaps < 1 else ():
        stuck[threat.names[group.index]] = "it moves by steps, and the budget is less than one"
    return stuck


def _rank_interval(ordered: FloatArray, values: FloatArray, share: float) -> tuple[FloatArray, FloatArray]:
    """[Q(F − share), Q(F + share)] with F the mid-distribution, so that an atom has one rank."""
    size = len(ordered)
    middle = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * size)
    low = np.clip(np.ceil((middle - share) * size - 1e-9).astype(int) - 1, 0, size - 1)
    high = np.clip(np.ceil((middle + share) * size - 1e-9).astype(int) - 1, 0, size - 1)
    return ordered[low], ordered[high]
