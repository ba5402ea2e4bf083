"""The two frames that every task reads: numbers, one in four columns a category, 1 % missing, one column shifted.

Only NumPy and pandas are imported, so that a peer's own environment can read the same files.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

SIDES = ("reference", "current")


def make(folder: Path, *, rows: int, columns: int, seed: int) -> None:
    """Write both frames column by column: numbers as float64, categories as level numbers."""
    folder.mkdir(parents=True)
    levels = {}
    for side, shift in zip(SIDES, (0.0, 0.3), strict=True):
        for j in range(columns):
            rng = np.random.default_rng([seed, j, SIDES.index(side)])
            if j % 4 == 3:
                count = 2 + 5 * (j // 4 % 5)
                levels[f"c{j}"] = [f"level{k:02d}" for k in range(count)]
                np.save(folder / f"{side}.c{j}.npy", rng.integers(0, count, rows).astype(np.int8))
            else:
                values = rng.normal(size=rows) if j % 2 else rng.lognormal(size=rows)
                values += shift if j == 0 else 0.0
                values[rng.random(rows) < 0.01] = np.nan
                np.save(folder / f"{side}.x{j}.npy", values)
    (folder / "levels.json").write_text(json.dumps({"rows": rows, "columns": columns, "levels": levels}))


def names(folder: Path) -> tuple[list[str], list[str]]:
    """The numeric and the categorical columns."""
    made = json.loads((folder / "levels.json").read_text())
    numeric = [f"x{j}" for j in range(made["columns"]) if j % 4 != 3]
    return numeric, list(made["levels"])


def load(folder: Path, side: str) -> pd.DataFrame:
    """One frame as a user has it: float64 columns, and texts."""
    made = json.loads((folder / "levels.json").read_text())
    numeric, categorical = names(folder)
    columns = {name: np.load(folder / f"{side}.{name}.npy") for name in numeric}
    for name in categorical:
        texts = pd.Series(made["levels"][name])
        columns[name] = texts.take(np.load(folder / f"{side}.{name}.npy")).reset_index(drop=True)
    return pd.DataFrame(columns)
