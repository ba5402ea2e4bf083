"""Noise and faults: what sensors, pipelines and people do to rows without meaning harm. Five severities each.

Faults do not ask what an attacker may change: numbers are disturbed in every numeric feature, categories in every
categorical one. Sizes are in robust σ of the reference, shares are of the cells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from monitor.errors import BadInput
from monitor.robustness.scale import robust_scale
from monitor.robustness.threat_model import BoolArray
from monitor.schema import FloatArray, Kind, Schema

SEVERITIES = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """What noise needs to know of the features: arrays are (d,)."""

    scale: FloatArray
    numeric: BoolArray
    categorical: BoolArray
    whole: BoolArray
    levels: FloatArray
    lower: FloatArray
    upper: FloatArray
    reference: FloatArray

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
        )


Size = float | FloatArray  # one for all rows, or (n, 1)
Apply = Callable[[FloatArray, Size, Surroundings, np.random.Generator], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One kind of noise: `strengths` are its five severities, in `unit`."""

    name: str
    unit: str
    strengths: tuple[float, float, float, float, float]
    apply: Apply


def corrupt(
    family: str, rows: FloatArray, severity: int, surroundings: Surroundings, rng: np.random.Generator
) -> FloatArray:
    """A disturbed copy of rows (n, d); severity 1 (mild) to 5."""
    if family not in FAMILIES or not 1 <= severity <= SEVERITIES:
        known = ", ".join(FAMILIES)
        raise BadInput(f"expected a noise family among {known} and severity 1 to 5, got {family!r}, {severity}")
    chosen = FAMILIES[family]
    return chosen.apply(rows, chosen.strengths[severity - 1], surroundings, rng)


def _shifted(rows: FloatArray, change: FloatArray, around: Surroundings) -> FloatArray:
    """Rows plus a change in raw units on numeric cells: whole numbers stay whole, and hard bounds hold."""
    moved = rows + np.where(around.numeric, change, 0.0)
    moved = np.where(around.whole, np.round(moved), moved)
    return np.where(around.numeric, np.clip(moved, around.lower, around.upper), rows)


def _gaussian(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    return _shifted(rows, size * around.scale * rng.standard_normal(rows.shape), around)


def _student_t(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    return _shifted(rows, size * around.scale * rng.standard_t(3, rows.shape) / np.sqrt(3), around)


def _offset(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    return _shifted(rows, size * around.scale * rng.choice([-1.0, 1.0], rows.shape[1]), around)


def _gain(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    factor = np.exp(rng.choice([-1.0, 1.0], rows.shape[1]) * np.log1p(size))
    return _shifted(rows, rows * (factor - 1), around)


def _rounding(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    step = np.where(around.scale > 0, size * around.scale, 1.0)
    return _shifted(rows, np.round(rows / step) * step - rows, around)


def _missing(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    return np.where(rng.random(rows.shape) < share, np.nan, rows)


def _missing_large(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Missing not at random: the larger a value, the likelier it is lost."""
    chance = np.clip(2 * share * _ranks(rows), 0, 1)
    return np.where((rng.random(rows.shape) < chance) & around.numeric, np.nan, rows)


def _ranks(rows: FloatArray) -> FloatArray:
    return np.asarray(np.argsort(np.argsort(rows, axis=0), axis=0) / max(len(rows) - 1, 1))


def _unit(factor: float) -> Apply:
    def apply(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
        hit = (rng.random(rows.shape) < share) & around.numeric
        return np.where(hit, rows * factor, rows)

    return apply


def _sign(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    return np.where((rng.random(rows.shape) < share) & around.numeric, -rows, rows)


def _stale(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A cell keeps the value of another row, as from a cache that was not refreshed."""
    other = around.reference[rng.integers(0, len(around.reference), rows.shape), np.arange(rows.shape[1])]
    return np.where(rng.random(rows.shape) < share, other, rows)


def _category_swap(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    other = np.floor(rng.random(rows.shape) * np.maximum(around.levels, 1))
    hit = (rng.random(rows.shape) < share) & (around.levels > 1) & np.isfinite(rows)
    return np.where(hit, other, rows)


def _unseen_level(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    hit = (rng.random(rows.shape) < share) & around.categorical
    return np.where(hit, around.levels, rows)


_SIZES = (0.1, 0.2, 0.5, 1.0, 2.0)  # twice the attack levels S1–S5
_SHARES = (0.01, 0.05, 0.1, 0.2, 0.4)

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(name="gaussian", unit="robust σ", strengths=_SIZES, apply=_gaussian),
        Family(name="student_t", unit="robust σ", strengths=_SIZES, apply=_student_t),
        Family(name="offset", unit="robust σ", strengths=_SIZES, apply=_offset),
        Family(name="gain", unit="relative change", strengths=(0.02, 0.05, 0.1, 0.25, 0.5), apply=_gain),
        Family(name="rounding", unit="robust σ", strengths=_SIZES, apply=_rounding),
        Family(name="missing", unit="share of cells", strengths=_SHARES, apply=_missing),
        Family(name="missing_large", unit="share of cells", strengths=_SHARES, apply=_missing_large),
        Family(name="unit_x10", unit="share of cells", strengths=_SHARES, apply=_unit(10.0)),
        Family(name="unit_x100", unit="share of cells", strengths=_SHARES, apply=_unit(100.0)),
        Family(name="sign", unit="share of cells", strengths=_SHARES, apply=_sign),
        Family(name="stale", unit="share of cells", strengths=_SHARES, apply=_stale),
        Family(name="category_swap", unit="share of cells", strengths=_SHARES, apply=_category_swap),
        Family(name="unseen_level", unit="share of cells", strengths=_SHARES, apply=_unseen_level),
    )
}
