"""Gradient attacks within a threat model: one step, PGD and APGD on a scale-free margin.

FGSM: Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572. PGD: Madry et al. 2018,
https://arxiv.org/abs/1706.06083. APGD: Croce & Hein 2020, https://arxiv.org/abs/2003.01690, with the margin
z_y − max z_other in place of cross-entropy, which vanishes on confident logits. N-FGSM (for training): de Jorge et al.
2022, https://arxiv.org/abs/2202.01181.

Every step is the sign of the gradient times the width of the cell's box (or a step of the ball's radius), so neither
the scale of the logits nor the units of the features matter.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from monitor.robustness.descent import Attack, Descent, Search
from monitor.robustness.objective import Objective
from monitor.robustness.space import Space
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray

__all__ = ["Attack", "Search", "attack", "n_fgsm"]


def attack(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    search: Search | None = None,
    *,
    seed: int = 0,
    start: FloatArray | None = None,
) -> Attack:
    """The worst feasible row for each of (n, d) raw rows; `start` is where the first run begins, else the row itself.

    What `start` says of categories and counts is kept; numbers alone move here. Restarts begin at a random vertex and
    at a random point by turns. The same result whatever the batch size: the random starts belong to (seed, row).
    """
    search = search or Search()
    if target.task is Task.REGRESSION:
        search = replace(search, drop_broken=False)  # no error is a break
    lower, upper = threat.box(rows)
    generator = np.random.default_rng(seed)
    starts = [rows if start is None else start]
    for restart in range(search.restarts):
        share = generator.random(rows.shape)
        starts.append(_between(lower, upper, share if restart % 2 else np.round(share)))
    parts = []
    for i in _slices(len(rows), search.batch_size):
        held = None if start is None else start[i]
        space = Space.around(target, rows[i], threat, held)
        found = _attack_batch(target, [s[i] for s in starts], y[i], space, search)
        parts.append(replace(found, rows=_exact(found.rows, rows[i], lower[i], upper[i], threat, held)))
    return _joined(parts)


def n_fgsm(gradient: Tensor, noise: Tensor, rows: Tensor, reach: Tensor) -> Tensor:
    """One ε step from a noisy start ± 2ε, not clipped to ε: rows + 2·reach·noise + reach·sign(gradient of the loss).

    `noise` is uniform in [−1, 1]; `reach` (n, d) is ε in raw units, 0 where a cell cannot move.
    """
    return rows + reach * (2 * noise + torch.sign(torch.nan_to_num(gradient)))


def _between(lower: FloatArray, upper: FloatArray, share: FloatArray) -> FloatArray:
    return np.asarray(np.clip(lower + share * (upper - lower), lower, upper))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def _exact(
    found: FloatArray,
    clean: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    threat: ThreatModel,
    held: FloatArray | None,
) -> FloatArray:
    """Undo what single precision did to raw units: cells that did not move are exactly as they were."""
    if threat.links is None:
        moved = found != clean.astype(np.float32) if found.dtype == np.float32 else found != clean
        found = np.where(moved, np.clip(found.astype(np.float64), lower, upper), clean)
    if held is not None:
        for group in threat.groups:
            found[:, group.index] = held[:, group.index]
    return found


def _joined(parts: list[Attack]) -> Attack:
    weights = [len(part.rows) for part in parts]
    return Attack(
        rows=np.concatenate([part.rows for part in parts]),
        margin=np.concatenate([part.margin for part in parts]),
        gradient_rows=sum(part.gradient_rows for part in parts),
        queries=sum(part.queries for part in parts),
        zero_gradients=float(np.average([part.zero_gradients for part in parts], weights=weights)),
        nan_gradients=float(np.average([part.nan_gradients for part in parts], weights=weights)),
    )


def _attack_batch(target: Target, starts: list[FloatArray], y: FloatArray, space: Space, search: Search) -> Attack:
    """Every start after the other; with `drop_broken` each sees only the rows that are not broken yet."""
    dtype, device = space.lower.dtype, space.lower.device
    labels = torch.as_tensor(y, dtype=dtype, device=device)
    found = _as_begun(target, starts[0], labels, space) if search.drop_broken else None
    for order, start in enumerate(starts):
        begin = torch.as_tensor(start, dtype=dtype, device=device)
        for side in (1.0, -1.0) if target.task is Task.REGRESSION else (1.0,):
            loss = search.losses[order % len(search.losses)]
            objective = Objective(task=target.task, loss=loss, side=side)
            if found is None or not search.drop_broken:
                run = Descent(target, begin, labels, space, search, objective).run()
                found = run if found is None else found.merged(run)
            elif (left := np.flatnonzero(found.margin >= 0)).size:
                keep = torch.as_tensor(left, device=device)
                part = Descent(target, begin[keep], labels[keep], space.select(keep), search, objective).run()
                first = order == 0
                found = found.merged(_spread(part, left, found))
                if first:
                    found = replace(found, zero_gradients=part.zero_gradients, nan_gradients=part.nan_gradients)
    assert found is not None
    return found


def _as_begun(target: Target, start: FloatArray, labels: Tensor, space: Space) -> Attack:
    """The first start itself, scored without a gradient: rows that are wrong there need none."""
    point = space.point(space.clip(torch.as_tensor(start, dtype=labels.dtype, device=labels.device)))
    objective = Objective(task=target.task)
    target.queries += len(point)
    with torch.no_grad():
        margin, _, _ = objective(target.torch_outputs(point), objective.labels(labels, target.dtype))
    margin = torch.where(space.holds(point), margin.double(), torch.inf)
    return Attack(rows=point.cpu().numpy(), margin=margin.cpu().numpy(), queries=len(point))


def _spread(part: Attack, left: "np.ndarray[tuple[int], np.dtype[np.intp]]", whole: Attack) -> Attack:
    """The result on some rows as one on all: the others stay as they were."""
    rows, margin = whole.rows.copy(), whole.margin.copy()
    rows[left], margin[left] = part.rows, part.margin
    return replace(part, rows=rows, margin=margin)
