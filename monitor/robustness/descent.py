"""One descent of APGD or PGD over a batch of rows, with every feasible point that was scored banked.

APGD: Croce & Hein 2020, https://arxiv.org/abs/2003.01690.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from monitor.robustness.objective import Loss, Objective
from monitor.robustness.space import Space
from monitor.robustness.target import TILE, Target
from monitor.schema import FloatArray

_COMPACT = 0.04  # of a batch: so many broken rows are worth a smaller batch


@dataclass(frozen=True, kw_only=True, eq=False)
class Attack:
    """The worst feasible row found for every clean row, and what it cost.

    `rows` (n, d) in raw units; `margin` (n,) at those rows, lower is worse; `zero_gradients` and `nan_gradients` the
    share of first gradients that were all zero or had a NaN on a movable cell; `gradient_rows` and `queries` the rows
    through a gradient and through the model alone.
    """

    rows: FloatArray
    margin: FloatArray
    gradient_rows: int = 0
    queries: int = 0
    zero_gradients: float = 0.0
    nan_gradients: float = 0.0

    def merged(self, other: "Attack") -> "Attack":
        """Per row the worse of the two; costs add up."""
        worse = other.margin < self.margin
        return replace(
            self,
            rows=np.where(worse[:, None], other.rows, self.rows),
            margin=np.where(worse, other.margin, self.margin),
            gradient_rows=self.gradient_rows + other.gradient_rows,
            queries=self.queries + other.queries,
        )


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to search: `restarts` from random points follow the start at the row itself.

    `drop_broken` stops at the first flip; else rows are pushed on to their worst margin, as robust AUC needs.
    `adaptive` is APGD; without it PGD with a fixed step of `step` box widths. `losses` take turns over the starts where
    there are several classes.
    """

    steps: int = 10
    restarts: int = 0
    adaptive: bool = True
    step: float = 0.125
    drop_broken: bool = False
    losses: tuple[Loss, ...] = (Loss.CROSS_ENTROPY, Loss.MARGIN, Loss.DLR)
    batch_size: int = 1_024

    @classmethod
    def of_calls(cls, calls: int, *, drop_broken: bool = True) -> "Search":
        """The search that finds most with so many gradients a row: two starts from 20 of them, three from 80.

        >>> Search.of_calls(100).steps, Search.of_calls(100).restarts
        (33, 2)
        """
        restarts = (calls >= 20) + (calls >= 80)
        return cls(steps=calls // (restarts + 1), restarts=restarts, drop_broken=drop_broken)


@dataclass
class _State:
    """The rows still under attack: where they are, were, and were worst; `step` (n, d) is η times the box width."""

    index: Tensor
    x: Tensor
    previous: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    best_lowered: Tensor
    last_lowered: Tensor
    eta: Tensor
    gains: Tensor
    eta_before: Tensor
    best_before: Tensor

    def select(self, keep: Tensor) -> "_State":
        return _State(**{name: tensor[keep] for name, tensor in vars(self).items()})


class Descent:
    """One run from one start; every feasible point that was scored is banked."""

    def __init__(
        self, target: Target, begin: Tensor, y: Tensor, space: Space, search: Search, objective: Objective
    ) -> None:
        self.target, self.search, self.objective = target, search, objective
        self.space, self.labels = space, objective.labels(y, target.dtype)
        self.gradients = self.queries = 0
        # the lowest point of the descent is the worst row, unless another loss descends or points may break relations
        self.banks = not objective.is_margin or space.links is not None
        x = space.clip(begin)
        point = space.point(x)
        true, lowered, gradient = self._evaluate(point)
        holds = space.holds(point)
        self.zero, self.nan = _gradient_faults(gradient, space.width > 0)
        gradient = gradient.nan_to_num()
        self.rows = point.clone()
        self.margin = torch.where(holds, true, torch.full_like(true, torch.inf))
        lowered = torch.where(holds, lowered, torch.full_like(lowered, torch.inf))
        ones = torch.ones_like(lowered)
        self.state = _State(
            index=torch.arange(len(x), device=x.device), x=x, previous=x, gradient=gradient, best=point,
            best_gradient=gradient, best_lowered=lowered, last_lowered=lowered, eta=ones,
            gains=torch.zeros_like(ones), eta_before=ones, best_before=lowered,
        )  # fmt: skip

    def run(self) -> Attack:
        """Descend for the search's steps; the last needs no gradient."""
        check_points = _check_points(self.search.steps)
        for step in range(self.search.steps):
            if self.search.drop_broken and not self._compact(first=step == 0):
                break
            last = step == self.search.steps - 1
            self._step(first=step == 0, last=last)
            if self.search.adaptive and not last and step + 1 in check_points:
                _adapt(self.state, check_points[step + 1])
        self._settle()
        return Attack(
            rows=self.rows.cpu().numpy(),
            margin=self.margin.double().cpu().numpy(),
            gradient_rows=self.gradients,
            queries=self.queries,
            zero_gradients=self.zero,
            nan_gradients=self.nan,
        )

    def _evaluate(self, point: Tensor, *, with_gradient: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """The true margin and what is lowered, (n,), and the gradient of the latter, (n, d)."""
        if not with_gradient:
            self.queries += len(point)
            self.target.queries += len(point)
            with torch.no_grad():
                true, lowered, _ = self.objective(self.target.torch_outputs(point), self.labels)
            return true.to(point.dtype), lowered.to(point.dtype), point
        rows = point.detach().requires_grad_(True)
        linked = rows if self.space.links is None else self.space.links.complete(rows)
        outputs = self.target.torch_outputs(linked)
        true, lowered, slope = self.objective(outputs.detach(), self.labels)
        (gradient,) = torch.autograd.grad(outputs, rows, slope)
        self.gradients += len(rows)
        self.target.gradients += len(rows)
        return true.to(point.dtype), lowered.to(point.dtype), gradient

    def _step(self, *, first: bool, last: bool) -> None:
        state = self.state
        moved = _moved(state, self.space, self.search, first=first)
        point = self.space.point(moved, state.best)
        if self.space.links is not None:
            moved = point
        true, lowered, gradient = self._evaluate(point, with_gradient=not last)
        better = lowered < state.best_lowered
        if self.banks:
            self._bank(point, true)
        elif self.search.drop_broken:
            better &= state.best_lowered >= 0  # the first break is kept, however long the row stays in the batch
        place = torch.nonzero(better)[:, 0]
        state.best_lowered = torch.where(better, lowered, state.best_lowered)
        state.best = _replaced(state.best, point, place)
        if last:
            return
        if self.space.links is not None:
            gradient = self._along(point, gradient)
        elif not bool(torch.isfinite(gradient.sum())):
            gradient = gradient.nan_to_num()
        state.best_gradient = _replaced(state.best_gradient, gradient, place)
        state.gains = state.gains + (lowered < state.last_lowered)
        state.previous, state.x = state.x, moved
        state.gradient, state.last_lowered = gradient, lowered

    def _bank(self, point: Tensor, true: Tensor) -> None:
        """Keep the feasible points that are worse than what is banked."""
        banked = self.margin[self.state.index]
        worse = true < banked
        if self.search.drop_broken:
            worse &= banked >= 0
        if self.space.links is not None:
            worse &= self.space.holds(point)
        place = self.state.index[worse]
        self.rows[place], self.margin[place] = point[worse], true[worse]

    def _settle(self) -> None:
        """Write the lowest points of the rows in the batch where the result is kept."""
        if not self.banks:
            self.rows[self.state.index], self.margin[self.state.index] = self.state.best, self.state.best_lowered

    def _along(self, point: Tensor, gradient: Tensor) -> Tensor:
        """Where the next step would break a relation, the part of the gradient that does so is taken out."""
        links = self.space.links
        assert links is not None
        gradient = gradient.nan_to_num()
        width = self.space.width
        ahead = self.space.clip(point - 0.5 * self.space.direction(gradient)).detach().requires_grad_(True)
        violation = links.violation(links.complete(ahead))
        if not bool((violation > 0).any()):
            return gradient
        (normal,) = torch.autograd.grad(violation.sum(), ahead)
        normal = normal.nan_to_num() * width
        slope = gradient * width
        inward = (slope * normal).sum(1, keepdim=True) / (normal * normal).sum(1, keepdim=True).clamp(min=1e-30)
        sliding = slope - inward * normal
        sliding = torch.where(width > 0, sliding / width.clamp(min=1e-30), torch.zeros_like(sliding))
        return torch.where((violation > 0)[:, None], sliding, gradient)

    def _compact(self, *, first: bool) -> bool:
        """Leave out the rows that are broken, all at first and else when they are many; False when no row is left."""
        live = (self.margin[self.state.index] if self.banks else self.state.best_lowered) >= 0
        count = int(live.sum())
        if count == 0:
            return False
        if count < len(live) and (first or count < (1 - _COMPACT) * len(live)):
            self._settle()
            keep = _whole_tiles(live, count)
            self.state, self.space = self.state.select(keep), self.space.select(keep)
            self.labels = self.labels[keep]
        return True


def _replaced(old: Tensor, new: Tensor, place: Tensor) -> Tensor:
    """Old rows with new ones at some places."""
    if len(place) == len(old):
        return new
    return old.index_copy(0, place, new[place]) if len(place) else old


def _whole_tiles(live: Tensor, count: int) -> Tensor:
    """The places of live rows, filled up with broken ones to whole tiles, which need no padding at every step."""
    broken = torch.nonzero(~live)[: -count % TILE, 0]
    return torch.cat([torch.nonzero(live)[:, 0], broken]).sort().values


def _gradient_faults(gradient: Tensor, movable: Tensor) -> tuple[float, float]:
    """Share of rows, among those that can move, whose gradient is all zero, and of those with a NaN in it."""
    can_move = movable.any(dim=1)
    if not bool(can_move.any()):
        return 0.0, 0.0
    inside = torch.where(movable, gradient, torch.zeros_like(gradient))[can_move]
    flat = (inside == 0).all(dim=1).double().mean()
    return float(flat), float(inside.isnan().any(dim=1).double().mean())


def _moved(state: _State, space: Space, search: Search, *, first: bool) -> Tensor:
    """z = P(x − η·width·sign g); with momentum P(x + .75(z − x) + .25(x − x_before))."""
    direction = space.direction(state.gradient)
    if not search.adaptive:
        return space.clip(state.x - search.step * direction)
    z = space.clip(state.x - direction.mul_(state.eta[:, None]))
    if first:
        return z
    moved = z.mul_(0.75).add_(state.x, alpha=0.5).add_(state.previous, alpha=-0.25)
    return space.clip(moved)


def _adapt(state: _State, span: int) -> None:
    """Halve η and go back to the worst point, where progress was rare or has stopped."""
    stalled = (state.eta == state.eta_before) & (state.best_lowered == state.best_before)
    halve = (state.gains < 0.75 * span) | stalled
    state.eta_before, state.best_before = state.eta, state.best_lowered
    state.gains = torch.zeros_like(state.gains)
    if not bool(halve.any()):
        return
    state.eta = torch.where(halve, state.eta / 2, state.eta)
    state.x = torch.where(halve[:, None], state.best, state.x)
    state.previous = torch.where(halve[:, None], state.best, state.previous)
    state.gradient = torch.where(halve[:, None], state.best_gradient, state.gradient)
    state.last_lowered = torch.where(halve, state.best_lowered, state.last_lowered)


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
