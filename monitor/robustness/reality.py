"""How far apart honest rows of different classes lie: an attack that moves rows farther proves nothing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.robustness.scale import robust_scale
from monitor.schema import FloatArray, Schema


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
