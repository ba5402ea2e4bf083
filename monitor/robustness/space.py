"""Where the rows of one batch may go, as tensors on the model's device."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from monitor.robustness.links import HOLDS_WITHIN, BoundLinks
from monitor.robustness.target import Target
from monitor.robustness.threat_model import Norm, ThreatModel
from monitor.schema import FloatArray

_HALVINGS = 5  # on the way back to the last feasible point
_BISECTIONS = 40


def holds_within(violation: Tensor) -> Tensor:
    """Whether relations hold, given how far rows break them in robust σ, (n,)."""
    return violation <= HOLDS_WITHIN


@dataclass(frozen=True, kw_only=True)
class Ball:
    """‖(x' − clean)/scale‖ ≤ radius in the norm l1 or l2; `scale` (d,), `radius` one or (n, 1)."""

    norm: Norm
    clean: Tensor
    scale: Tensor
    radius: float | Tensor

    def project(self, rows: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The nearest point of ball ∩ box, by bisection on the multiplier of the ball."""
        scale = torch.where(self.scale > 0, self.scale, torch.ones_like(self.scale))
        low, high = (torch.nan_to_num((side - self.clean) / scale) for side in (lower, upper))
        moves = torch.nan_to_num((rows - self.clean) / scale)
        least = torch.zeros(len(rows), 1, dtype=rows.dtype, device=rows.device)
        most = moves.abs().sum(dim=1, keepdim=True) / self.radius + 1
        for _ in range(_BISECTIONS):
            middle = (least + most) / 2
            outside = self._size(self._shrunk(moves, middle).clamp(low, high)) > self.radius
            least, most = torch.where(outside, middle, least), torch.where(outside, most, middle)
        inside = self._size(moves.clamp(low, high)) <= self.radius
        nearest = torch.where(inside, moves, self._shrunk(moves, most)).clamp(low, high)
        return torch.where(self.clean.isnan(), rows, self.clean + nearest * scale)

    def direction(self, gradient: Tensor) -> Tensor:
        """The steepest step of length `radius` in raw units, (n, d): along the gradient, or on its largest tenth."""
        slope = gradient * self.scale
        if self.norm is Norm.L1:
            kept = max(1, slope.shape[1] // 10)
            floor = slope.abs().topk(kept, dim=1).values[:, -1:]
            slope = torch.where(slope.abs() >= floor, slope.sign(), torch.zeros_like(slope))
            length = slope.abs().sum(dim=1, keepdim=True)
        else:
            length = slope.norm(dim=1, keepdim=True)
        return self.radius * slope / length.clamp(min=torch.finfo(slope.dtype).tiny) * self.scale

    def _shrunk(self, moves: Tensor, multiplier: Tensor) -> Tensor:
        if self.norm is Norm.L2:
            return moves / (1 + multiplier)
        return moves.sign() * (moves.abs() - multiplier).clamp(min=0)

    def _size(self, moves: Tensor) -> Tensor:
        return moves.abs().sum(1, keepdim=True) if self.norm is Norm.L1 else moves.norm(dim=1, keepdim=True)

    def select(self, keep: Tensor) -> "Ball":
        """The same for some of the rows."""
        radius = self.radius[keep] if isinstance(self.radius, Tensor) else self.radius
        return Ball(norm=self.norm, clean=self.clean[keep], scale=self.scale, radius=radius)


@dataclass(frozen=True, kw_only=True)
class Space:
    """Lowest and highest value of every cell (n, d), which cells hold whole numbers, what must hold between cells.

    `grid`, `links` and `ball` are None where nothing of the kind is declared.
    """

    lower: Tensor
    upper: Tensor
    width: Tensor
    grid: Tensor | None
    links: BoundLinks | None
    ball: Ball | None

    @classmethod
    def around(cls, target: Target, rows: FloatArray, threat: ThreatModel, held: FloatArray | None) -> "Space":
        """The space of clean rows (n, d). What `held` rows say of categories and counts is held fixed."""
        low, high = threat.box(rows)
        if held is not None:
            for group in threat.groups:
                low[:, group.index] = high[:, group.index] = held[:, group.index]
        linked = threat.links is not None
        dtype, device = torch.float64 if linked else target.dtype, target.device
        lower, upper, clean = (torch.as_tensor(a, dtype=dtype, device=device) for a in (low, high, rows))
        grid = torch.as_tensor(threat.integer, device=device) & (upper > lower) if threat.integer.any() else None
        scale = torch.as_tensor(threat.scale, dtype=dtype, device=device)
        radius = threat.epsilon
        return cls(
            lower=lower,
            upper=upper,
            width=torch.nan_to_num(upper - lower),
            grid=grid,
            links=threat.links.bound_to(clean) if threat.links is not None else None,
            ball=None
            if threat.norm is Norm.LINF
            else Ball(norm=threat.norm, clean=clean, scale=scale.expand(clean.shape[1]), radius=radius),
        )

    def clip(self, rows: Tensor) -> Tensor:
        """The nearest point of the box, and of the ball in it."""
        if self.ball is not None:
            return self.ball.project(rows, self.lower, self.upper)
        return torch.clamp(rows, self.lower, self.upper)

    def direction(self, gradient: Tensor) -> Tensor:
        """A step against the gradient over the whole width of the space, in raw units."""
        if self.ball is not None:
            return 2 * self.ball.direction(torch.where(self.width > 0, gradient, torch.zeros_like(gradient)))
        return torch.sign(gradient).mul_(self.width)

    def point(self, rows: Tensor, last: Tensor | None = None) -> Tensor:
        """The point that is scored for clipped rows: whole numbers rounded, derived cells computed.

        With relations it lies on the way back to the `last` feasible point where the rows themselves are not feasible.
        """
        if self.links is None:
            return self._snapped(rows)
        found = self.links.complete(self._snapped(rows))
        if last is None or not self.links.links.scales.size:
            return found
        share = 1.0
        for _ in range(_HALVINGS):
            broken = ~holds_within(self.links.violation(found))
            if not bool(broken.any()):
                return found
            share /= 2
            nearer = self.links.complete(self._snapped(last + share * (rows - last)))
            found = torch.where(broken[:, None], nearer, found)
        return torch.where(holds_within(self.links.violation(found))[:, None], found, last)

    def holds(self, rows: Tensor) -> Tensor:
        """Which completed rows keep every relation, (n,)."""
        if self.links is None:
            return torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        return holds_within(self.links.violation(rows))

    def _snapped(self, rows: Tensor) -> Tensor:
        if self.grid is None:
            return rows
        whole = torch.where(self.grid, torch.round(rows), rows)
        if self.ball is None:
            return whole
        toward = torch.where(rows >= self.ball.clean, torch.floor(rows), torch.ceil(rows))
        return torch.where(self.grid, toward, rows)

    def shrunk(self, clean: Tensor, share: Tensor) -> "Space":
        """The boxes of clean rows shrunk to a share (n,) of their sides; cells that cannot move stay where they are."""
        still = self.upper == self.lower
        sides = (clean + share[:, None] * (side - clean) for side in (self.lower, self.upper))
        lower, upper = (torch.where(still, self.lower, side) for side in sides)
        if self.grid is not None:
            lower, upper = torch.where(self.grid, lower.ceil(), lower), torch.where(self.grid, upper.floor(), upper)
        ball = None if self.ball is None else replace(self.ball, radius=self.ball.radius * share[:, None])
        return replace(self, lower=lower, upper=upper, width=torch.nan_to_num(upper - lower), ball=ball)

    def select(self, keep: Tensor) -> "Space":
        """The same for some of the rows."""
        return Space(
            lower=self.lower[keep],
            upper=self.upper[keep],
            width=self.width[keep],
            grid=None if self.grid is None else self.grid[keep],
            links=None if self.links is None else self.links.select(keep),
            ball=None if self.ball is None else self.ball.select(keep),
        )
