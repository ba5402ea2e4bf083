"""Gradient attacks within a threat model's box: one step, PGD and APGD on a scale-free margin.

N-FGSM: de Jorge et al. 2022, https://arxiv.org/abs/2202.01181. PGD: Madry et al. 2018,
https://arxiv.org/abs/1706.06083. APGD: Croce & Hein 2020, https://arxiv.org/abs/2003.01690, with the margin
z_y − max z_other in place of cross-entropy, which vanishes on confident logits.

Every step is the sign of the gradient times the width of the cell's box, so neither the scale of the logits nor the
units of the features matter.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Attack:
    """The worst feasible row found for every clean row, and what it cost.

    `rows` (n, d) in raw units; `margin` (n,) at those rows, lower is worse; `zero_gradients` and `nan_gradients` the
    share of first gradients that were all zero or had a NaN on a movable cell.
    """

    rows: FloatArray
    margin: FloatArray
    gradient_rows: int
    zero_gradients: float
    nan_gradients: float


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to search: `restarts` from random points follow the start at the row itself.

    `drop_broken` stops at the first flip; else rows are pushed on to their worst margin, as robust AUC needs.
    `adaptive` is APGD; without it PGD with a fixed step of `step` box widths.
    """

    steps: int = 10
    restarts: int = 0
    adaptive: bool = True
    step: float = 0.125
    drop_broken: bool = False
    batch_size: int = 4_096


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

    The same result whatever the batch size: the random starts belong to (seed, row).
    """
    search = search or Search()
    lower, upper = threat.box(rows)
    starts = [rows if start is None else np.clip(start, lower, upper)]
    generator = np.random.default_rng(seed)
    starts += [_between(lower, upper, generator.random(rows.shape)) for _ in range(search.restarts)]
    integer = np.broadcast_to(threat.integer, rows.shape)
    parts = [
        _attack_batch(target, [s[i] for s in starts], y[i], lower[i], upper[i], integer[i], search)
        for i in _slices(len(rows), search.batch_size)
    ]
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


def _joined(parts: list[Attack]) -> Attack:
    weights = [len(part.rows) for part in parts]
    return Attack(
        rows=np.concatenate([part.rows for part in parts]),
        margin=np.concatenate([part.margin for part in parts]),
        gradient_rows=sum(part.gradient_rows for part in parts),
        zero_gradients=float(np.average([part.zero_gradients for part in parts], weights=weights)),
        nan_gradients=float(np.average([part.nan_gradients for part in parts], weights=weights)),
    )


def _attack_batch(
    target: Target,
    starts: list[FloatArray],
    y: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    integer: BoolArray,
    search: Search,
) -> Attack:
    device = target.device
    low, high, labels = (torch.as_tensor(a, dtype=torch.float64, device=device) for a in (lower, upper, y))
    box = _Box(lower=low, upper=high, grid=torch.as_tensor(integer.copy(), device=device) & (high > low))
    runs = []
    for start in starts:
        begin = torch.as_tensor(start, dtype=torch.float64, device=device)
        for side in (-1.0, 1.0) if target.task is Task.REGRESSION else (0.0,):
            runs.append(_run(target, begin, labels, box, search, side))
    return _worst(runs)


def _worst(runs: list[Attack]) -> Attack:
    best = runs[0]
    for run in runs[1:]:
        worse = run.margin < best.margin
        best = replace(
            best,
            rows=np.where(worse[:, None], run.rows, best.rows),
            margin=np.where(worse, run.margin, best.margin),
            gradient_rows=best.gradient_rows + run.gradient_rows,
        )
    return best


@dataclass(frozen=True, kw_only=True)
class _Box:
    """Lowest and highest value of every cell, and which cells hold whole numbers."""

    lower: Tensor
    upper: Tensor
    grid: Tensor

    @property
    def width(self) -> Tensor:
        return torch.nan_to_num(self.upper - self.lower)

    def clip(self, rows: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(rows, self.lower), self.upper)

    def snap(self, rows: Tensor) -> Tensor:
        return torch.where(self.grid, torch.round(rows), rows)

    def select(self, keep: Tensor) -> "_Box":
        return _Box(lower=self.lower[keep], upper=self.upper[keep], grid=self.grid[keep])


@dataclass
class _State:
    """The rows still under attack: where they are, were, and were worst; `eta` in box widths."""

    index: Tensor
    x: Tensor
    previous: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_margin: Tensor
    last_margin: Tensor
    eta: Tensor
    gains: Tensor
    eta_before: Tensor
    best_before: Tensor

    def select(self, keep: Tensor) -> "_State":
        return _State(**{name: tensor[keep] for name, tensor in vars(self).items()})


def _margin_and_gradient(target: Target, rows: Tensor, y: Tensor, side: float) -> tuple[Tensor, Tensor, Tensor]:
    """The true margin (n,), what the attack lowers, and its gradient (n, d); `side` pushes a regression down or up."""
    rows = rows.detach().requires_grad_(True)
    outputs = target.torch_outputs(rows)
    if target.task is Task.REGRESSION:
        lowered = side * outputs.double()
        true = -(outputs.double() - y).abs()
    else:
        lowered = true = _torch_margin(outputs.double(), y, target.task)
    (gradient,) = torch.autograd.grad(lowered.sum(), rows)
    target.gradients += len(rows)
    return true.detach(), lowered.detach(), gradient


def _torch_margin(outputs: Tensor, y: Tensor, task: Task) -> Tensor:
    if task is Task.BINARY:
        return torch.where(y > 0, outputs, -outputs)
    labels = y.long()[:, None]
    others = outputs.scatter(1, labels, -torch.inf)
    return (outputs.gather(1, labels)[:, 0]) - others.amax(dim=1)


def _run(target: Target, begin: Tensor, y: Tensor, box: _Box, search: Search, side: float) -> Attack:
    """One descent of the margin from `begin`, with every feasible point that was scored banked."""
    before = target.gradients
    x = box.clip(begin)
    scored = box.snap(x)
    true, lowered, gradient = _margin_and_gradient(target, scored, y, side)
    bank_rows, bank_margin = scored.clone(), true.clone()
    movable = box.width > 0
    flat, broken_gradient = _gradient_faults(gradient, movable)
    state = _begin(x, lowered, gradient)
    check_points = _check_points(search.steps)
    live_box, live_y = box, y
    for step in range(search.steps):
        if search.drop_broken:
            keep = bank_margin[state.index] >= 0
            state, live_box, live_y = state.select(keep), live_box.select(keep), live_y[keep]
        if len(state.index) == 0:
            break
        moved = _moved(state, live_box, search, first=step == 0)
        scored = live_box.snap(moved)
        true, lowered, gradient = _margin_and_gradient(target, scored, live_y, side)
        worse = true < bank_margin[state.index]
        bank_rows[state.index[worse]], bank_margin[state.index[worse]] = scored[worse], true[worse]
        _advance(state, moved, lowered, gradient)
        if search.adaptive and step + 1 in check_points:
            _adapt(state, check_points[step + 1])
    return Attack(
        rows=bank_rows.cpu().numpy(),
        margin=bank_margin.cpu().numpy(),
        gradient_rows=target.gradients - before,
        zero_gradients=flat,
        nan_gradients=broken_gradient,
    )


def _gradient_faults(gradient: Tensor, movable: Tensor) -> tuple[float, float]:
    """Share of rows, among those that can move, whose gradient is all zero, and of those with a NaN in it."""
    can_move = movable.any(dim=1)
    if not bool(can_move.any()):
        return 0.0, 0.0
    inside = torch.where(movable, gradient, torch.zeros_like(gradient))[can_move]
    flat = (inside == 0).all(dim=1).double().mean()
    return float(flat), float(inside.isnan().any(dim=1).double().mean())


def _begin(x: Tensor, lowered: Tensor, gradient: Tensor) -> _State:
    ones = torch.ones_like(lowered)
    return _State(
        index=torch.arange(len(x), device=x.device),
        x=x,
        previous=x,
        gradient=gradient,
        best=x,
        best_gradient=gradient,
        best_margin=lowered,
        last_margin=lowered,
        eta=ones,
        gains=torch.zeros_like(ones),
        eta_before=ones.clone(),
        best_before=lowered,
    )


def _moved(state: _State, box: _Box, search: Search, *, first: bool) -> Tensor:
    """z = P(x − η·width·sign g); with momentum P(x + .75(z − x) + .25(x − x_before))."""
    direction = torch.sign(torch.nan_to_num(state.gradient)) * box.width
    if not search.adaptive:
        return box.clip(state.x - search.step * direction)
    z = box.clip(state.x - state.eta[:, None] * direction)
    if first:
        return z
    return box.clip(state.x + 0.75 * (z - state.x) + 0.25 * (state.x - state.previous))


def _advance(state: _State, moved: Tensor, lowered: Tensor, gradient: Tensor) -> None:
    state.gains = state.gains + (lowered < state.last_margin)
    better = lowered < state.best_margin
    state.best = torch.where(better[:, None], moved, state.best)
    state.best_gradient = torch.where(better[:, None], gradient, state.best_gradient)
    state.best_margin = torch.where(better, lowered, state.best_margin)
    state.previous, state.x = state.x, moved
    state.gradient, state.last_margin = gradient, lowered


def _adapt(state: _State, span: int) -> None:
    """Halve η and go back to the worst point, where progress was rare or has stopped."""
    stalled = (state.eta == state.eta_before) & (state.best_margin == state.best_before)
    halve = (state.gains < 0.75 * span) | stalled
    state.eta_before, state.best_before = state.eta, state.best_margin
    state.eta = torch.where(halve, state.eta / 2, state.eta)
    state.x = torch.where(halve[:, None], state.best, state.x)
    state.previous = torch.where(halve[:, None], state.best, state.previous)
    state.gradient = torch.where(halve[:, None], state.best_gradient, state.gradient)
    state.last_margin = torch.where(halve, state.best_margin, state.last_margin)
    state.gains = torch.zeros_like(state.gains)


def _check_points(steps: int) -> dict[int, int]:
    """Step → steps since the last check: ⌈p N⌉ with p = .22, then increments shrinking by .03 to .06.

    >>> _check_points(10)
    {3: 3, 5: 2, 6: 1, 7: 1, 8: 1, 9: 1, 10: 1}
    """
    points, share, increment, last = {}, 0.22, 0.22, 0
    while share <= 1:
        at = int(np.ceil(share * steps - 1e-9))
        if at > last:
            points[at] = at - last
            last = at
        increment = max(increment - 0.03, 0.06)
        share += increment
    return points
