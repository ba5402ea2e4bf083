"""What a batch is made of: clean rows, rows disturbed by noise, rows attacked by one step."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monitor.errors import BadInput
from monitor.robustness.gradient import n_fgsm
from monitor.robustness.noise import FAMILIES, Surroundings
from monitor.schema import FloatArray

LARGEST = {"gaussian": 0.5, "missing": 0.4, "category_swap": 0.4}  # 2 × S3 in robust σ; shares of cells


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train. `noise` and `attacked` are shares of every batch, the rest stays clean.

    Steps are bounded so that small tables learn enough and large ones end in time: epochs follow from them. `patience`
    counts epochs without a better validation after the ramp, which is the first half.
    """

    name: str
    noise: float = 0.0
    attacked: float = 0.0
    epochs: int = 20
    min_steps: int = 400
    max_steps: int = 2_000
    batch_size: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    ema: float = 0.99
    patience: int = 6
    validation_share: float = 0.15

    def __post_init__(self) -> None:
        if min(self.noise, self.attacked) < 0 or self.noise + self.attacked > 1:
            raise BadInput(
                f"expected shares of noise and attack that add up to at most 1, got {self.noise}, {self.attacked}"
            )

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


RECIPES = {
    "standard": Recipe(name="standard"),
    "noise": Recipe(name="noise", noise=0.5),
    "hardened": Recipe(name="hardened", noise=0.3, attacked=0.3),
}


def disturbed(rows: FloatArray, around: Surroundings, rng: np.random.Generator, *, ramp: float) -> FloatArray:
    """Rows (n, d) with one kind of noise each, its size uniform from 0 to ramp × the largest."""
    kinds = rng.integers(0, len(LARGEST), len(rows))
    changed = rows.copy()
    for kind, (family, largest) in enumerate(LARGEST.items()):
        chosen = kinds == kind
        size = ramp * largest * rng.random((int(chosen.sum()), 1))
        changed[chosen] = FAMILIES[family].apply(rows[chosen], size, around, rng)
    return changed


@dataclass(frozen=True, kw_only=True, eq=False)
class Reach:
    """How far each training row may be pushed: `reach` is ε at S4, `lower` and `upper` the limits without a budget."""

    reach: FloatArray
    lower: FloatArray
    upper: FloatArray


def attacked(
    rows: Tensor,
    y: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    allowed: Reach,
    rng: np.random.Generator,
    *,
    ramp: float,
) -> Tensor:
    """Rows (n, d) after one N-FGSM step with ε uniform from 0 to ramp × S4 a row."""
    share = ramp * rng.random((len(rows), 1))
    reach = torch.from_numpy(allowed.reach * share)
    noise = torch.from_numpy(rng.uniform(-1, 1, rows.shape))
    lower, upper = torch.from_numpy(allowed.lower), torch.from_numpy(allowed.upper)
    start = torch.clamp(rows + 2 * reach * noise, lower, upper).requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(start, y), start)
    return torch.clamp(n_fgsm(gradient, noise, rows, reach), lower, upper).detach()
