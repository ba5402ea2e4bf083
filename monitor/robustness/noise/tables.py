"""What pipelines and people do to tables: lost cells, wrong units, swapped columns, stale and mistyped values.

Nothing is clipped here: a wrong unit is wrong because it leaves the bounds.
"""

import numpy as np
from scipy.stats import rankdata

from monitor.robustness.noise.surroundings import SHARES, Apply, Family, Size, Surroundings, hit_cells, ranks
from monitor.schema import FloatArray


def missing(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Cells are lost completely at random."""
    return np.where(hit_cells(rows, share, rng), np.nan, rows)


def missing_large(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Missing not at random: the larger a value, the likelier it is lost."""
    chance = np.clip(2 * share * ranks(rows), 0, 1)
    return np.where(hit_cells(rows, chance, rng) & around.numeric, np.nan, rows)


def missing_by_other(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Missing at random: the larger the value of the next feature, the likelier a cell is lost."""
    place = (rankdata(np.where(np.isnan(rows), np.inf, rows), axis=0) - 1) / max(len(rows) - 1, 1)
    chance = np.clip(2 * share * np.roll(place, -1, axis=1), 0, 1)
    return np.where(hit_cells(rows, chance, rng), np.nan, rows)


def unit(factor: float) -> Apply:
    """A share of the numbers is multiplied, as by another unit."""

    def apply(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
        return np.where(hit_cells(rows, share, rng) & around.numeric, rows * factor, rows)

    return apply


def sign(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A share of the numbers changes its sign."""
    return np.where(hit_cells(rows, share, rng) & around.numeric, -rows, rows)


def stale(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A cell keeps the value of another row, as from a cache that was not refreshed."""
    other = around.reference[rng.integers(0, len(around.reference), rows.shape), np.arange(rows.shape[1])]
    return np.where(hit_cells(rows, share, rng), other, rows)


def category_swap(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A share of the categories and booleans becomes another level, or the same, by chance."""
    other = np.floor(rng.random(rows.shape) * np.maximum(around.levels, 1))
    hit = hit_cells(rows, share, rng) & (around.levels > 1) & np.isfinite(rows)
    return np.where(hit, other, rows)


def unseen_level(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A share of the categories becomes a level that the schema does not know."""
    return np.where(hit_cells(rows, share, rng) & around.categorical, around.levels, rows)


def typo(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A share of the categories is mistyped by a letter: into a level that is one letter away, else an unseen one."""
    hit, changed = hit_cells(rows, share, rng) & around.categorical & np.isfinite(rows), rows.copy()
    for j in np.flatnonzero(around.categorical):
        at = hit[:, j]
        changed[at, j] = around.mistyped[j][rows[at, j].astype(int)]
    return changed


def column_swap(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """In a share of the rows two numeric columns, drawn once, are exchanged."""
    numbers, changed = np.flatnonzero(around.numeric), rows.copy()
    if len(numbers) < 2:
        return changed
    pair = rng.choice(numbers, 2, replace=False)
    hit = hit_cells(rows[:, :1], share, rng)
    changed[:, pair] = np.where(hit, rows[:, pair[::-1]], rows[:, pair])
    return changed


_CELLS, _ROWS = "share of cells", "share of rows"

FIRST = (
    Family(name="missing", unit=_CELLS, strengths=SHARES, apply=missing, needs="anything"),
    Family(name="missing_large", unit=_CELLS, strengths=SHARES, apply=missing_large),
    Family(name="unit_x10", unit=_CELLS, strengths=SHARES, apply=unit(10.0)),
    Family(name="unit_x100", unit=_CELLS, strengths=SHARES, apply=unit(100.0)),
    Family(name="sign", unit=_CELLS, strengths=SHARES, apply=sign),
    Family(name="stale", unit=_CELLS, strengths=SHARES, apply=stale, needs="anything"),
    Family(name="category_swap", unit=_CELLS, strengths=SHARES, apply=category_swap, needs="levels"),
    Family(name="unseen_level", unit=_CELLS, strengths=SHARES, apply=unseen_level, needs="categories"),
)
SECOND = (
    Family(name="missing_by_other", unit=_CELLS, strengths=SHARES, apply=missing_by_other, needs="anything"),
    Family(name="typo", unit=_CELLS, strengths=SHARES, apply=typo, needs="categories"),
    Family(name="column_swap", unit=_ROWS, strengths=SHARES, apply=column_swap, needs="two numbers"),
)
