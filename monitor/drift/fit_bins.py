"""Choose the bins of a feature from reference rows: ranges between quantiles, single values, or levels."""

from functools import lru_cache

import numpy as np
import pandas as pd

from monitor.drift.feature_bins import BinKind, FeatureBins
from monitor.drift.placing import BoolArray, FloatArray, IntArray
from monitor.schema import MAX_LEVELS, Feature, Schema

_INNER = [round(0.05 * step, 2) for step in range(2, 20)]
QUANTILES = np.array([0.001, 0.005, 0.01, 0.025, 0.05, *_INNER, 0.975, 0.99, 0.995, 0.999])
MAX_DISTINCT = 50  # a numeric feature with at most so many distinct values is counted value by value
SHOWN_LEVELS = 32
SAMPLE = 65_536  # rows that quantiles are taken from: the rank of an edge is off by at most 0.2 % of the rows (1 σ)


def fit_feature(feature: Feature, frame: pd.DataFrame, schema: Schema, windows: IntArray | None) -> FeatureBins:
    """The bins of one feature; `windows` are the window of each row, 0 …, shape (n,), None if every row is its own."""
    values = schema.encode_column(frame, feature.name)
    if feature.is_categorical:
        return _fit_levels(feature, values, frame, windows)
    finite = np.isfinite(values)
    kept = values if finite.all() else values[finite]
    sample = np.sort(kept if kept.size <= SAMPLE else _sample(values, kept))
    distinct = _distinct(sample, kept)
    if distinct is None or distinct.size == 0:
        return FeatureBins(name=feature.name, kind=BinKind.RANGES, edges=_edges(sample))
    ids = np.searchsorted(distinct, kept)
    novelty, spread = _novelty(ids, finite, windows)
    return FeatureBins(
        name=feature.name,
        kind=BinKind.VALUES,
        edges=tuple(distinct.tolist()),
        novelty=novelty,
        novelty_sd=spread,
    )


def _sample(values: FloatArray, kept: FloatArray) -> FloatArray:
    """Some of the finite values: those on the sampled rows, or a sample of their own if few are."""
    chosen = values[_sampled(values.size)]
    chosen = chosen[np.isfinite(chosen)]
    return chosen if chosen.size >= SAMPLE // 2 else kept[_sampled(kept.size)]


@lru_cache(maxsize=2)
def _sampled(rows: int) -> IntArray:
    """Always the same rows of a table of so many, in order."""
    return np.sort(np.random.default_rng(rows).choice(rows, SAMPLE, replace=False))


def _distinct(ordered: FloatArray, values: FloatArray) -> FloatArray | None:
    """The distinct values, ascending; None if there are more than MAX_DISTINCT. `ordered` is a sample of `values`."""
    found = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if ordered.size else ordered
    if found.size > MAX_DISTINCT:
        return None
    if ordered.size < values.size:
        strangers = values[~np.isin(values, found)]
        found = np.unique(np.concatenate([found, strangers]))
    return found if found.size <= MAX_DISTINCT else None


def _edges(ordered: FloatArray) -> tuple[float, ...]:
    """Quantiles of sorted values; a value that repeats among them is fenced in, so that it has a bin of its own."""
    if ordered.size == 0:
        return ()
    quantiles = ordered[np.maximum(np.ceil(QUANTILES * ordered.size - 1), 0).astype(np.int64)]  # the inverted cdf
    cuts, repeats = np.unique(quantiles, return_counts=True)
    fences = np.nextafter(cuts[repeats > 1], -np.inf)
    return tuple(np.unique(np.concatenate([cuts, fences])).tolist())


def _fit_levels(feature: Feature, codes: FloatArray, frame: pd.DataFrame, windows: IntArray | None) -> FeatureBins:
    known = len(feature.levels)
    present = ~np.isnan(codes)
    ids = codes[present].astype(np.int64)
    counts = np.bincount(ids, minlength=known + 1)
    strangers = int(counts[known])
    if np.count_nonzero(counts) > MAX_LEVELS or (strangers and frame[feature.name].nunique() > MAX_LEVELS):
        return FeatureBins(name=feature.name, kind=BinKind.TEXT, bin_of_code=(0,) * (known + 1))
    counts = counts[:known]
    by_frequency = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code] > 0]
    shown = by_frequency[:SHOWN_LEVELS]
    table = np.full(known + 1, len(shown) + 1)  # UNSEEN, unless the reference had it
    table[by_frequency] = len(shown)  # OTHER
    table[shown] = np.arange(len(shown))
    labels = tuple(feature.levels[code] for code in shown)
    novelty, spread = _novelty(ids, present, windows)
    return FeatureBins(
        name=feature.name,
        kind=BinKind.LEVELS,
        shown=labels,
        bin_of_code=tuple(table.tolist()),
        novelty=novelty,
        novelty_sd=spread,
    )


def _novelty(ids: IntArray, present: BoolArray, windows: IntArray | None) -> tuple[float, float]:
    """Share of rows whose value only their own window has, and its standard deviation over windows.

    `ids` number the values of the rows that are present.
    """
    if ids.size == 0:
        return 0.0, 0.0
    if windows is None:
        return float(np.count_nonzero(np.bincount(ids) == 1)) / present.size, 0.0
    rows = np.bincount(windows)
    pairs, counts = _counted(ids * rows.size + windows[present])
    value, window = np.divmod(pairs, rows.size)
    alone = np.bincount(value)[value] == 1
    shares = np.bincount(window[alone], counts[alone], minlength=rows.size) / rows
    spread = float(shares.std(ddof=1)) if rows.size > 1 and rows.max() > 1 else 0.0
    return float(counts[alone].sum()) / present.size, spread


def _counted(numbers: IntArray) -> tuple[IntArray, IntArray]:
    """The distinct numbers (0 or more), ascending, and how often each occurs."""
    if numbers.max() > 4 * numbers.size:
        return np.unique(numbers, return_counts=True)
    counts = np.bincount(numbers)
    found = np.flatnonzero(counts)
    return found, counts[found]
