"""Columns that are no features: followers of the clock, identifiers, and copies of the target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from monitor.drift.bins import FloatArray
from monitor.errors import SchemaMismatch
from monitor.windows import Window

PROXY_SHARE = 0.95  # of a column's variance that lies between windows
LEAK_AUC = 0.98
_ONE_WAY = 0.8  # of the steps from window to window; a random walk has half
_MIN_WINDOWS = 5
_WRAPPED = 0.1  # of the windows may hold both the last week of a year and the first
_MIN_ROWS = 100
_ID_SHARE = 0.99
_CLASSES = 10
_RANGES = 50


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A column that alone nearly gives the target away."""

    name: str
    auc: float
    sentence: str


def time_proxies(entries: Sequence[tuple[Window, pd.DataFrame]]) -> tuple[str, ...]:
    """Columns that merely follow the clock, such as a week number, a year or a running number.

    Between-window share of variance (of level indicators, for text) ≥ .95 and, for numbers, steps from window to window
    that mostly go one way. A feature that drifts, but varies within a window, is not one; neither is a rate that is
    constant in a window but wanders.

    >>> from datetime import UTC, timedelta
    >>> weeks = [Window(d, d + timedelta(days=7)) for d in pd.date_range("2026-01-05", periods=8, freq="7D", tz=UTC)]
    >>> frame = pd.DataFrame({"x": np.arange(50.0) % 7})
    >>> time_proxies([(week, frame.assign(week=i)) for i, week in enumerate(weeks)])
    ('week',)
    """
    filled = [(window, frame) for window, frame in entries if len(frame)]
    if len(filled) < _MIN_WINDOWS:
        return ()
    ordered = [frame for _, frame in sorted(filled, key=lambda entry: entry[0])]
    index = np.repeat(np.arange(len(ordered)), [len(frame) for frame in ordered])
    together = pd.concat(ordered, ignore_index=True)
    return tuple(str(name) for name in together.columns if _follows_clock(together[name], index))


def year_columns(frame: pd.DataFrame, times: "pd.Series[Any]") -> tuple[str, ...]:
    """Columns that count the years: one value in each calendar year of two or more, another in every year; or the year.

    A reference within one year cannot tell such a column from a constant, and its first new year would look like drift.

    >>> times = pd.Series(pd.date_range("2025-12-30", periods=4, freq="D", tz="UTC"))
    >>> year_columns(pd.DataFrame({"yr": [0, 0, 1, 1], "x": [0, 1, 1, 1]}), times)
    ('yr',)
    """
    years = times.dt.year.to_numpy()
    return tuple(str(name) for name in frame.columns if _counts_years(frame[name], years))


def unique_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """Identifiers: text of which 99 % of the values are distinct, or whole numbers that never repeat, in 100 rows.

    >>> unique_columns(pd.DataFrame({"id": range(200), "amount": np.linspace(0, 1, 200)}))
    ('id',)
    """
    return tuple(str(name) for name in frame.columns if _is_identifier(frame[name].dropna()))


def likely_leaks(frame: pd.DataFrame, target: str) -> tuple[Leak, ...]:
    """Columns that alone predict the target almost perfectly: AUC ≥ .98 in ranks, or by a map of levels.

    The map is made on every other row and judged on the rest, so that a column of many levels cannot learn by heart.
    Of more than two classes, every class must be given away; a target with many numeric values is cut at its median.
    """
    if target not in frame.columns:
        raise SchemaMismatch(f"expected a column {target!r}, got {', '.join(map(str, frame.columns))}")
    known = frame[frame[target].notna()]
    hits = _classes(known[target])
    if not hits or len(known) < _MIN_ROWS:
        return ()
    leaks = []
    for name in known.columns:
        if name == target:
            continue
        auc = min(_best_auc(known[name], hit) for hit in hits)
        if auc >= LEAK_AUC:
            sentence = f"{name} alone predicts {target} almost perfectly (AUC {auc:.3f}): it may be known only later"
            leaks.append(Leak(name=str(name), auc=auc, sentence=sentence))
    return tuple(sorted(leaks, key=lambda leak: -leak.auc))


def _counts_years(column: "pd.Series[Any]", years: NDArray[np.int64]) -> bool:
    if column.isna().any() or column.empty:
        return False
    if _is_number(column) and bool((_numbers(column) == years).all()):
        return True
    pairs = pd.DataFrame({"value": column.astype(str).to_numpy(), "year": years}).drop_duplicates()
    return len(pairs) > 1 and bool(pairs["value"].is_unique and pairs["year"].is_unique)


def _follows_clock(column: "pd.Series[Any]", index: NDArray[np.int64]) -> bool:
    present = column.notna().to_numpy()
    if present.sum() < 2 or np.unique(index[present]).size < _MIN_WINDOWS:
        return False
    where = pd.factorize(index[present])[0]
    if not _is_number(column):
        return _levels_between(column[present].astype(str), where) >= PROXY_SHARE
    values = _numbers(column[present])
    finite = np.isfinite(values)
    values, where = values[finite], pd.factorize(where[finite])[0]
    values = values - values.mean()
    total = float(values.var())
    if total == 0:
        return False
    sizes = np.bincount(where)
    means = np.bincount(where, values) / sizes
    scatter = np.maximum(np.bincount(where, values**2) / sizes - means**2, 0.0)
    usual = scatter <= np.quantile(scatter, 1 - _WRAPPED)
    within = float(sizes[usual] @ scatter[usual]) / float(sizes[usual].sum())
    steps = np.diff(means)
    steps = np.sign(steps[np.abs(steps) > 1e-9 * np.sqrt(total)])
    return 1 - within / total >= PROXY_SHARE and steps.size > 0 and abs(float(steps.mean())) >= 2 * _ONE_WAY - 1


def _levels_between(texts: "pd.Series[str]", where: NDArray[np.int64]) -> float:
    """Goodman and Kruskal's τ: the share of the levels' variance that the window explains."""
    codes, levels = pd.factorize(texts)
    if len(levels) < 2 or len(levels) > len(codes) // 2:
        return 0.0
    pairs, counts = np.unique(where * len(levels) + codes, return_counts=True)
    sizes = np.bincount(where)
    total = 1 - float(((np.bincount(codes) / codes.size) ** 2).sum())
    within = 1 - float((counts**2 / sizes[pairs // len(levels)]).sum()) / codes.size
    return 1 - within / total


def _is_number(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype)


def _numbers(column: "pd.Series[Any]") -> FloatArray:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return np.asarray(column.astype("int64"), dtype=np.float64)
    return np.asarray(column, dtype=np.float64)


def _is_identifier(present: "pd.Series[Any]") -> bool:
    if len(present) < _MIN_ROWS or pd.api.types.is_bool_dtype(present.dtype):
        return False
    if pd.api.types.is_integer_dtype(present.dtype):
        return bool(present.is_unique)
    if _is_number(present):
        return False
    return present.astype(str).nunique() >= _ID_SHARE * len(present)


def _classes(target: "pd.Series[Any]") -> list[NDArray[np.bool_]]:
    """One row of hits a class; of two classes one is enough."""
    values = target.nunique()
    if values < 2:
        return []
    if values > _CLASSES:
        if not _is_number(target):
            return []
        numbers = _numbers(target)
        above = numbers > np.median(numbers)
        return [above] if 0 < above.sum() < above.size else []
    levels = list(target.value_counts().index)
    return [(target == level).to_numpy() for level in (levels[:1] if values == 2 else levels)]


def _best_auc(column: "pd.Series[Any]", hit: NDArray[np.bool_]) -> float:
    if not _is_number(column) or pd.api.types.is_bool_dtype(column.dtype):
        return _map_auc(pd.factorize(column.astype(object))[0], hit)
    present = column.notna().to_numpy()
    values = np.full(len(column), np.nan)
    values[present] = _numbers(column[present])
    cuts = np.unique(np.nanquantile(values, np.linspace(0, 1, _RANGES + 1)[1:-1])) if present.any() else np.zeros(0)
    codes = np.where(present, np.searchsorted(cuts, values), len(cuts) + 1)
    ranked = _auc(values[present], hit[present]) if present.mean() > 0.5 else 0.5
    return max(ranked, 1 - ranked, _map_auc(codes, hit))


def _map_auc(codes: NDArray[np.int64], hit: NDArray[np.bool_]) -> float:
    """AUC of the level's hit rate, learned on the even rows and judged on the odd ones."""
    codes = codes - codes.min()
    learned, judged = slice(0, None, 2), slice(1, None, 2)
    size = int(codes.max()) + 1
    seen = np.bincount(codes[learned], minlength=size)
    hits = np.bincount(codes[learned], hit[learned].astype(np.float64), minlength=size)
    rate = (hits + hit.mean()) / (seen + 1)
    return _auc(rate[codes[judged]], hit[judged])


def _auc(scores: FloatArray, hit: NDArray[np.bool_]) -> float:
    positives, negatives = int(hit.sum()), int((~hit).sum())
    if min(positives, negatives) == 0:
        return 0.5
    ranks = stats.rankdata(scores)
    return float((ranks[hit].sum() - positives * (positives + 1) / 2) / (positives * negatives))
