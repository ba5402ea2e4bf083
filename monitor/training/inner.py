"""Attacks inside a batch: the rows that a network is trained on instead of the clean ones."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.robustness.gradient import n_fgsm
from monitor.robustness.target import input_dtype
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray
from monitor.training.curriculum import InnerAttack, Recipe
from monitor.training.networks import Predictor

Slope = Callable[[Tensor], Tensor]  # by raw rows (n, d), of what the attack raises; of which the signs are used alone
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
    rows: Tensor, slope: Slope, allowed: Reach, recipe: Recipe, rng: np.random.Generator, *, ramp: float
) -> Tensor:
    """Rows (n, d) in raw units after the recipe's attack, ε uniform from 0 to ramp × its level where it varies."""
    share = ramp * (rng.random((len(rows), 1)) ** recipe.power if recipe.varied else np.ones((len(rows), 1)))
    noise = torch.from_numpy(rng.uniform(-1, 1, rows.shape))
    reach = torch.from_numpy(allowed.reach * share)
    if recipe.attack is InnerAttack.N_FGSM:
        lower, upper = torch.from_numpy(allowed.lower), torch.from_numpy(allowed.upper)
        start = torch.clamp(rows + 2 * reach * noise, lower, upper)
        return torch.clamp(n_fgsm(slope(start), noise, rows, reach), lower, upper)
    sides = (torch.from_numpy(side) for side in (allowed.low, allowed.high))
    low, high = (rows + torch.from_numpy(share) * (side - rows) for side in sides)
    begin = _START if recipe.attack is InnerAttack.TRADES else 1.0
    return _descended(torch.clamp(rows + begin * reach * noise, low, high), slope, low, high, reach, recipe.inner_steps)


def _descended(start: Tensor, slope: Slope, low: Tensor, high: Tensor, reach: Tensor, steps: int) -> Tensor:
    """PGD by the sign of the gradient, with steps that cross two and a half times the budget in all."""
    moved, step = start, reach * min(2.5 / steps, 1.0)
    for _ in range(steps):
        moved = torch.clamp(moved + step * torch.sign(torch.nan_to_num(slope(moved))), low, high)
    return moved


def slope_of(model: nn.Module, harm: Callable[[Tensor], Tensor]) -> Slope:
    """By raw rows, of `harm` of what a module says of them (n,) or (n, k).

    In a predictor of ours the way back ends at the network's inputs; the signs are the same and it costs less.
    """
    if isinstance(model, Predictor):
        ours = model

        def by_inputs(rows: Tensor) -> Tensor:
            with torch.no_grad():
                inputs = ours.preprocess(rows)
            return ours.preprocess.raw_slope(rows, _gradient(lambda at: harm(ours.answers(at)), inputs))

        return by_inputs
    dtype = input_dtype(model)
    return lambda rows: _gradient(lambda at: harm(model(at.to(dtype))), rows)


def _gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    point = at.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(function(point), point)
    return gradient
