"""Random search for models without gradients: the tabular form of the Square attack.

Andriushchenko et al. 2020, https://arxiv.org/abs/1912.00049. A random share of a row's movable cells jumps to vertices
of the box, now and then a category or count takes another value; what lowers the margin is kept. The share shrinks as
the search goes on.
"""

import numpy as np

from monitor.robustness.descent import Attack
from monitor.robustness.random_moves import RandomMoves
from monitor.robustness.rescore import completed, margins
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray

_PATIENCE, _FEWEST = 0.125, 50  # share of the queries, and queries, without progress
_HARDLY = 0.01  # of a margin: less is no progress
_HALVINGS = 8  # of the share of a row's cells that move, over the whole search


def square(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    *,
    queries: int = 50,
    seed: int = 0,
    start: FloatArray | None = None,
    drop_broken: bool = False,
) -> Attack:
    """The worst feasible row found with at most `queries` model calls a row; rows (n, d) in raw units.

    With `drop_broken` a row is done at its first flip, and where its margin has not fallen by a hundredth in an eighth
    of the queries (at least 50).
    """
    moves = RandomMoves.of(rows, threat, np.random.default_rng(seed))
    best, holds = completed(rows, moves.clipped(rows if start is None else start), threat)
    best = np.where(holds[:, None], best, rows)
    lowest = margins(target, best, y)
    used, live = len(rows), np.arange(len(rows))
    moved_at = np.zeros(len(rows), dtype=int)
    for query in range(max(queries - 1, 0)):
        if drop_broken and target.task is not Task.REGRESSION:
            live = live[(lowest[live] >= 0) & (query - moved_at[live] <= max(_PATIENCE * queries, _FEWEST))]
        if len(live) == 0:
            break
        share = max(0.5 ** (_HALVINGS * query / queries), 1.0 / rows.shape[1])
        candidate, holds = completed(rows[live], moves.moved(best[live], share, live), threat)
        found = np.where(holds, margins(target, candidate, y[live]), np.inf)
        used += len(live)
        worse = found < lowest[live]
        moved_at[live[found < lowest[live] - _HARDLY * np.abs(lowest[live])]] = query
        best[live[worse]], lowest[live[worse]] = candidate[worse], found[worse]
    return Attack(rows=best, margin=lowest, queries=used)
