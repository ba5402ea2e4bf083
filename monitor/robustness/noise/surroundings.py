"""What noise knows of the features, and what a family of noise is."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from monitor.robustness.scale import robust_scale
from monitor.robustness.threat_model import BoolArray
from monitor.schema import Feature, FloatArray, Kind, Schema

SIZES = (0.1, 0.2, 0.5, 1.0, 2.0)  # robust σ: twice the attack levels S1–S5
SHARES = (0.01, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """What noise needs to know of the features: arrays are (d,), and `reference` (n, d) in raw units.

    `levels` counts a feature's categories, 0 for a number. `mistyped`, one a feature, says for each level code which
    code a typing error makes of it: a level one letter away, else `levels`, which is unseen.
    """

    scale: FloatArray
    numeric: BoolArray
    categorical: BoolArray
    whole: BoolArray
    levels: FloatArray
    lower: FloatArray
    upper: FloatArray
    reference: FloatArray
    mistyped: tuple[FloatArray, ...]

    @classmethod
    def of(cls, schema: Schema, reference: FloatArray) -> "Surroundings":
        """From reference rows (n, d), as `schema.encode` gives. A boolean is a category of two levels."""
        features = schema.features
        levels = [len(f.levels) if f.is_categorical else 2 * (f.kind is Kind.BOOLEAN) for f in features]
        return cls(
            scale=np.array([robust_scale(column) for column in reference.T]),
            numeric=np.array([f.kind in (Kind.NUMERIC, Kind.INTEGER) for f in features]),
            categorical=np.array([f.is_categorical for f in features]),
            whole=np.array([f.kind is Kind.INTEGER for f in features]),
            levels=np.array(levels, dtype=np.float64),
            lower=np.array([-np.inf if f.lower is None else f.lower for f in features]),
            upper=np.array([np.inf if f.upper is None else f.upper for f in features]),
            reference=reference,
            mistyped=tuple(_mistyped(feature) for feature in features),
        )


Size = float | FloatArray  # one for all rows, or (n, 1)
Apply = Callable[[FloatArray, Size, Surroundings, np.random.Generator], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of noise: `strengths` are its five severities, in `unit`. `needs` says which features it disturbs."""

    name: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    apply: Apply
    needs: str = "numbers"

    def applies(self, around: Surroundings) -> bool:
        """Whether there is a feature that it can disturb."""
        if self.needs == "two numbers":
            return int(around.numeric.sum()) > 1
        found = {"numbers": around.numeric, "categories": around.categorical, "levels": around.levels > 1}
        return self.needs == "anything" or bool(found[self.needs].any())


def shifted(rows: FloatArray, change: FloatArray, around: Surroundings) -> FloatArray:
    """Rows plus a change in raw units on numeric cells: whole numbers stay whole, and hard bounds hold."""
    moved = rows + np.where(around.numeric, change, 0.0)
    moved = np.where(around.whole, np.round(moved), moved)
    return np.where(around.numeric, np.clip(moved, around.lower, around.upper), rows)


def hit_cells(rows: FloatArray, share: Size, rng: np.random.Generator) -> BoolArray:
    """A share of all cells, each by itself, (n, d)."""
    return np.asarray(rng.random(rows.shape) < share)


def ranks(rows: FloatArray) -> FloatArray:
    """Each cell's place in its column, 0 to 1; missing cells come last."""
    return np.asarray(np.argsort(np.argsort(rows, axis=0), axis=0) / max(len(rows) - 1, 1))


def _mistyped(feature: Feature) -> FloatArray:
    unseen = len(feature.levels)
    codes = np.full(unseen + 1, unseen, dtype=np.float64)
    if feature.is_categorical:
        for a, b in _one_letter_apart(feature.levels):
            codes[a], codes[b] = min(codes[a], b), min(codes[b], a)
    return codes


def _one_letter_apart(levels: tuple[str, ...]) -> set[tuple[int, int]]:
    """Pairs of levels that differ by one letter replaced, added or left out."""
    same = defaultdict(list)
    for code, level in enumerate(levels):
        for i in range(len(level)):
            same[i, level[:i] + level[i + 1 :], len(level)].append(code)
    pairs = {pair for codes in same.values() for pair in combinations(codes, 2)}
    known = {level: code for code, level in enumerate(levels)}
    shorter = ((known.get(level[:i] + level[i + 1 :]), c) for c, level in enumerate(levels) for i in range(len(level)))
    return pairs | {(a, b) for a, b in shorter if a is not None and a != b}
