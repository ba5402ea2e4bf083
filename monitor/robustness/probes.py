"""Small experiments whose outcome says whether the attacks of a campaign can be believed."""

from dataclasses import replace

import numpy as np
import torch

from monitor.robustness.gradient import Search, attack
from monitor.robustness.objective import Objective
from monitor.robustness.random_moves import RandomMoves
from monitor.robustness.rescore import completed, margins
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import Budget, ThreatModel
from monitor.schema import FloatArray

_ROWS = 64
_STEP = 0.02  # of the width of a cell
_UNBOUNDED = 1e3  # robust σ
_DRAWS = 8
TRIED = 256  # rows on which twice the steps are tried
_FEW, ONE_POINT = 3, 0.01
_MOST_STEPS = 80


def depends_on_batch(target: Target, rows: FloatArray, outputs: FloatArray) -> bool:
    """Whether a row's output changes when other rows come with it."""
    some = rows[:5]
    alone = np.concatenate([target.outputs(some[i : i + 1]) for i in range(len(some))])
    scale = 1 + np.abs(outputs[: len(some)])
    return bool((np.abs(alone - outputs[: len(some)]) > 1e-3 * scale).any())


def wrong_slopes(target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel, seed: int) -> float:
    """The share of rows and directions in which autograd and finite differences of the margin disagree by half.

    Directions are random signs over the cells that can move; a change that rounding could explain is left out.
    """
    rows, y = rows[:_ROWS], y[:_ROWS]
    low, high = threat.box(rows)
    width = np.nan_to_num(np.where(threat.integer, 0.0, high - low))
    rng = np.random.default_rng(seed)
    gradient = _gradient(target, rows, y)
    disagreed = clear = 0
    for _ in range(4):
        step = _STEP * width * rng.choice([-1.0, 1.0], rows.shape)
        ahead, behind = (_smooth_margin(target, rows + sign * step, y) for sign in (1, -1))
        measured, claimed = (ahead - behind) / 2, (gradient * step).sum(axis=1)
        rounding = 2e-6 * (np.abs(ahead) + np.abs(behind) + 1e-3 * np.median(np.abs(ahead)))
        size = np.maximum(np.abs(measured), np.abs(claimed))
        told = np.isfinite(size) & (size > 20 * rounding)
        disagreed += int((told & (np.abs(measured - claimed) > 0.5 * size)).sum())
        clear += int(told.sum())
    return disagreed / clear if clear else 0.0


def _smooth_margin(target: Target, rows: FloatArray, y: FloatArray) -> FloatArray:
    outputs = target.outputs(rows)
    return outputs if target.task is Task.REGRESSION else margins(target, rows, y)


def _gradient(target: Target, rows: FloatArray, y: FloatArray) -> FloatArray:
    given = torch.as_tensor(rows, dtype=target.dtype, device=target.device).requires_grad_(True)
    objective, outputs = Objective(task=target.task), target.torch_outputs(given)
    labels = objective.labels(torch.as_tensor(y, device=target.device), target.dtype)
    (gradient,) = torch.autograd.grad(outputs, given, objective(outputs.detach(), labels)[2])
    return np.asarray(gradient.nan_to_num().double().cpu().numpy())


def beaten_without_budget(
    target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel, search: Search, seed: int
) -> float:
    """How many more rows, as a share, break when numbers are taken over from other rows than by the gradient.

    Without a budget, within the bounds and ranges of the features alone, the attack must find at least what copying
    does: a positive share says that it stops short of what is there.
    """
    if threat.budget is Budget.RANK:
        return 0.0
    spread = np.nanstd(rows, axis=0) + 1e-12
    wide = replace(threat, epsilon=_UNBOUNDED if threat.budget is Budget.SIGMA else float(10 * spread.max()))
    some, labels = rows[:_ROWS], y[:_ROWS]
    by_gradient = attack(target, some, labels, wide, replace(search, restarts=1), seed=seed).margin < 0
    moves, rng = RandomMoves.of(some, wide, np.random.default_rng(seed)), np.random.default_rng(seed + 1)
    by_copy = np.zeros(len(some), dtype=bool)
    for _ in range(_DRAWS):
        donors = rows[rng.integers(0, len(rows), len(some))]
        copied = moves.clipped(np.where(np.isfinite(donors) & np.isfinite(some), donors, some))
        for group in threat.groups:
            copied[:, group.index] = some[:, group.index]
        copied, holds = completed(some, copied, wide)
        by_copy |= holds & (margins(target, copied, labels) < 0)
    return float(by_copy.mean() - by_gradient.mean())


def converged(
    target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel, search: Search, seed: int
) -> tuple[Search, int]:
    """The search with so many steps that twice as many break hardly more of some rows, and how many more still.

    Steps are doubled up to 80. "Hardly" is at most a point of the rows, or three of them.
    """
    some, labels = rows[:TRIED], y[:TRIED]
    found = _count_broken(target, some, labels, threat, search, seed)
    while True:
        twice = replace(search, steps=2 * search.steps)
        more = _count_broken(target, some, labels, threat, twice, seed)
        gained = more - found
        if gained <= max(_FEW, ONE_POINT * len(some)) or twice.steps > _MOST_STEPS:
            return search, gained
        search, found = twice, more


def _count_broken(
    target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel, search: Search, seed: int
) -> int:
    return int((attack(target, rows, y, threat, replace(search, drop_broken=True), seed=seed).margin < 0).sum())
