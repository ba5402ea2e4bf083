"""Random search for models without gradients: the tabular form of the Square attack.

Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049. A random share of a row's movable cells jumps to vertices
of the box; what lowers the margin is kept. The share shrinks as the search goes on.
"""

import numpy as np

from monitor.robustness.gradient import Attack
from monitor.robustness.target import Target, margin
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray


def square(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    *,
    queries: int = 50,
    seed: int = 0,
    start: FloatArray | None = None,
) -> Attack:
    """The worst feasible row found with `queries` model calls a row; rows (n, d) in raw units."""
    lower, upper = threat.box(rows)
    generator = np.random.default_rng(seed)
    best = (rows if start is None else np.clip(start, lower, upper)).copy()
    best_margin = _margin(target, best, y)
    for query in range(max(queries - 1, 0)):
        share = max(1.0 - query / max(queries, 1), 1.0 / rows.shape[1])
        touched = generator.random(rows.shape) < share
        vertex = np.where(generator.random(rows.shape) < 0.5, lower, upper)
        candidate = np.where(touched, vertex, best)
        found = _margin(target, candidate, y)
        worse = found < best_margin
        best[worse], best_margin[worse] = candidate[worse], found[worse]
    return Attack(rows=best, margin=best_margin, gradient_rows=0, zero_gradients=0.0, nan_gradients=0.0)


def _margin(target: Target, rows: FloatArray, y: FloatArray) -> FloatArray:
    return margin(target.outputs(rows), y, target.task, decision=target.decision)
