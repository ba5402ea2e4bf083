"""Relations between the columns of a table, read from texts such as "paid <= billed + 1"; NumPy alone.

It shares no code with the product, so that it can judge rows of ours and theirs. The texts are the benchmark's own.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def columns_of(rows: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Each column (n,) by its name."""
    return dict(zip(names, rows.T, strict=True))


def evaluated(text: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The value of an arithmetic expression over columns, (n,)."""
    return np.asarray(eval(text, {"__builtins__": {}}, dict(columns)), dtype=np.float64)


def violation(text: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """How far each row is from satisfying "left <= right" or "left >= right", (n,); 0 where it does."""
    sign, symbol = (1, "<=") if "<=" in text else (-1, ">=")
    left, right = text.split(symbol)
    return np.maximum(sign * (evaluated(left, columns) - evaluated(right, columns)), 0.0)


def derived(rows: np.ndarray, names: Sequence[str], formulas: Mapping[str, str]) -> np.ndarray:
    """The rows with every derived column computed anew from the others, in the order of the formulas."""
    made = rows.copy()
    for name, formula in formulas.items():
        made[:, list(names).index(name)] = evaluated(formula, columns_of(made, names))
    return made


def satisfied(
    rows: np.ndarray,
    names: Sequence[str],
    relations: Sequence[str],
    formulas: Mapping[str, str],
    *,
    tolerance: float = 1e-6,
) -> np.ndarray:
    """Which rows hold every relation and every formula, (n,), but for rounding relative to the row's largest value."""
    slack = tolerance * (1 + np.abs(rows).max(axis=1))
    columns = columns_of(rows, names)
    held = np.abs(derived(rows, names, formulas) - rows).max(axis=1) <= slack
    for text in relations:
        held &= violation(text, columns) <= slack
    return held
