"""Attacks inside a batch: the rows that a network is trained on instead of the clean ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.robustness.gradient import n_fgsm
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray
from monitor.training.curriculum import InnerAttack, Recipe

Harm = Callable[[Tensor], Tensor]  # of rows (n, d) in raw units: what the attack raises
_START = 0.1  # of the budget, where TRADES begins: at the clean row its divergence has no slope


@dataclass(frozen=True, kw_only=True, eq=False)
class Reach:
    """How far training rows (n, d) may be pushed.

    `reach` is ε in raw units, `low` and `high` the box of the budget, `lower` and `upper` the limits without a budget.
    """

    reach: FloatArray
    low: FloatArray
    high: FloatArray
    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of(cls, threat: ThreatModel, rows: FloatArray) -> "Reach":
        """Of rows under a threat at its level; counts go as many steps as it allows."""
        lower, upper = threat.limits(rows)
        low, high = threat.box(rows)
        for group in threat.counts:
            j, steps = group.index, np.floor(threat.swaps)
            low[:, j] = np.maximum(rows[:, j] - steps, lower[:, j])
            high[:, j] = np.minimum(rows[:, j] + steps, upper[:, j])
        return cls(reach=threat.reach(rows), low=low, high=high, lower=lower, upper=upper)

    def of_rows(self, chosen: NDArray[np.int_]) -> "Reach":
        """The same for some of the rows."""
        return Reach(
            reach=self.reach[chosen], low=self.low[chosen], high=self.high[chosen], lower=self.lower[chosen],
            upper=self.upper[chosen],
        )  # fmt: skip


def attacked(
    rows: Tensor, harm: Harm, allowed: Reach, recipe: Recipe, rng: np.random.Generator, *, ramp: float
) -> Tensor:
    """Rows (n, d) in raw units after the recipe's attack, ε uniform from 0 to ramp × its level where it varies."""
    share = ramp * (rng.random((len(rows), 1)) if recipe.varied else np.ones((len(rows), 1)))
    noise = torch.from_numpy(rng.uniform(-1, 1, rows.shape))
    reach = torch.from_numpy(allowed.reach * share)
    if recipe.attack is InnerAttack.N_FGSM:
        lower, upper = torch.from_numpy(allowed.lower), torch.from_numpy(allowed.upper)
        start = torch.clamp(rows + 2 * reach * noise, lower, upper)
        return torch.clamp(n_fgsm(_slope(harm, start), noise, rows, reach), lower, upper)
    sides = (torch.from_numpy(side) for side in (allowed.low, allowed.high))
    low, high = (rows + torch.from_numpy(share) * (side - rows) for side in sides)
    begin = _START if recipe.attack is InnerAttack.TRADES else 1.0
    return _descended(torch.clamp(rows + begin * reach * noise, low, high), harm, low, high, reach, recipe.inner_steps)


def _descended(start: Tensor, harm: Harm, low: Tensor, high: Tensor, reach: Tensor, steps: int) -> Tensor:
    """PGD by the sign of the gradient, with steps that cross two and a half times the budget in all."""
    moved, step = start, reach * min(2.5 / steps, 1.0)
    for _ in range(steps):
        moved = torch.clamp(moved + step * torch.sign(torch.nan_to_num(_slope(harm, moved))), low, high)
    return moved


def _slope(harm: Harm, at: Tensor) -> Tensor:
    rows = at.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(harm(rows), rows)
    return gradient
