"""Where a model is weak: the features that its attacks lean on, and the slices of rows that break first."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.performance.intervals import wilson
from monitor.robustness.report import FragileFeature, FragileSlice
from monitor.robustness.rescore import completed, margins
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray, Schema

_MOST_ROWS = 128
_MOST_SHOWN = 10
_FEWEST = 30  # rows of a slice


def fragile_features(
    target: Target, clean: FloatArray, y: FloatArray, worst: FloatArray, threat: ThreatModel
) -> tuple[FragileFeature, ...]:
    """What each feature does in the rows that broke, by putting it back alone; the weightiest first, at most ten.

    Of a regression the quarter of rows whose error grew most are read as broken.
    """
    if len(threat.names) != clean.shape[1]:
        return ()
    before, after = margins(target, clean, y), margins(target, worst, y)
    broken = _broken(before, after, target.task)[:_MOST_ROWS]
    if broken.size == 0:
        return ()
    part = (target, clean[broken], y[broken], worst[broken], threat)
    derived = {one.index for one in threat.links.derived} if threat.links is not None else set()
    moved = _differs(clean[broken], worst[broken])
    found = [
        _restored(j, *part, before[broken], after[broken])
        for j in np.flatnonzero(moved.any(axis=0)).tolist()
        if j not in derived
    ]
    ordered = sorted(found, key=lambda one: (one.repaired, one.recovered), reverse=True)
    return tuple(ordered[:_MOST_SHOWN])


def _broken(before: FloatArray, after: FloatArray, task: Task) -> NDArray[np.intp]:
    if task is not Task.REGRESSION:
        return np.flatnonzero((before >= 0) & (after < 0))
    grown = before - after
    return np.flatnonzero((grown > 0) & (grown >= np.quantile(grown, 0.75)))


def _differs(clean: FloatArray, rows: FloatArray) -> BoolArray:
    return np.asarray((clean != rows) & ~(np.isnan(clean) & np.isnan(rows)))


def _restored(
    j: int, target: Target, clean: FloatArray, y: FloatArray, worst: FloatArray, threat: ThreatModel,
    before: FloatArray, after: FloatArray,
) -> FragileFeature:  # fmt: skip
    """The broken rows with column j as it was."""
    restored = worst.copy()
    restored[:, j] = clean[:, j]
    found = margins(target, completed(clean, restored, threat)[0], y)
    lost = np.maximum(before - after, 1e-300)
    recovered = np.clip((found - after) / lost, 0.0, 1.0)
    repaired = recovered > 0.5 if target.task is Task.REGRESSION else found >= 0
    moved = _differs(clean[:, j], worst[:, j])
    is_category = any(group.index == j and group.costs is not None for group in threat.groups)
    typical = None if is_category or not moved.any() else float(np.median(np.abs(worst[moved, j] - clean[moved, j])))
    return FragileFeature(
        feature=threat.names[j], moved=float(moved.mean()), repaired=float(repaired.mean()),
        recovered=float(recovered.mean()), typical=typical, unit=threat.units[j],
    )  # fmt: skip


def fragile_slices(
    schema: Schema, clean: FloatArray, right: BoolArray, survived: BoolArray
) -> tuple[FragileSlice, ...]:
    """Slices by one feature whose rows flip more often than all do, beyond their 95 % interval; at most ten.

    `right` says which rows the model gets right, `survived` which of all it still does under attack. Numbers are cut at
    their quartiles; a slice has at least 30 rows that were right.
    """
    overall = float((right & ~survived).sum() / max(right.sum(), 1))
    found = []
    for name, mask in _slices(schema, clean):
        rows = int((mask & right).sum())
        if rows < _FEWEST:
            continue
        flipped = int((mask & right & ~survived).sum())
        rate, (low, high) = flipped / rows, wilson(flipped, rows)
        if low > overall:
            quality = float(survived[mask].mean())
            found.append(FragileSlice(slice=name, rows=rows, flip_rate=rate, interval=(low, high), quality=quality))
    return tuple(sorted(found, key=lambda one: one.interval[0], reverse=True)[:_MOST_SHOWN])


def _slices(schema: Schema, rows: FloatArray) -> Iterator[tuple[str, BoolArray]]:
    for j, feature in enumerate(schema.features):
        column: NDArray[Any] = rows[:, j]
        missing = np.isnan(column)
        if missing.any():
            yield f"{feature.name} is missing", missing
        if feature.is_categorical:
            for code in np.unique(column[~missing]).astype(int).tolist():
                level = feature.levels[code] if code < len(feature.levels) else "an unknown level"
                yield f"{feature.name} = {level}", column == code
        elif not missing.all():
            yield from _quartiles(feature.name, feature.unit, column)


def _quartiles(name: str, unit: str | None, column: FloatArray) -> Iterator[tuple[str, BoolArray]]:
    cuts = np.unique(np.nanquantile(column, [0.25, 0.5, 0.75]))
    suffix = f" {unit}" if unit else ""
    edges = [-np.inf, *cuts.tolist(), np.inf]
    for low, high in pairwise(edges):
        words = (
            f"{name} ≤ {high:.4g}" if low == -np.inf else f"{name} > {low:.4g}"
            if high == np.inf else f"{name} in ({low:.4g}, {high:.4g}]"
        )  # fmt: skip
        yield words + suffix, (column > low) & (column <= high)
