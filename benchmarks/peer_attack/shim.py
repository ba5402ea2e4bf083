"""Rows in any range, as the image libraries want them: within [0, 1], as pictures of one row of pixels if need be."""

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peer_attack.exchange import Case


class Unit(nn.Module):
    """Logits of rows that were moved to [0, 1] by one affine map for all features, so that ε is equal on each."""

    def __init__(self, model: nn.Module, case: Case) -> None:
        super().__init__()
        self.model = model
        self.lower, self.width = case.lower, case.upper - case.lower

    def forward(self, unit: Tensor) -> Tensor:
        return self.model(unit.flatten(1) * self.width + self.lower)

    def rows(self, x: np.ndarray) -> Tensor:
        """Raw rows (n, d) as unit rows."""
        return torch.from_numpy(((x - self.lower) / self.width).astype(np.float32))

    def raw(self, unit: Tensor) -> np.ndarray:
        """Unit rows of any shape as raw rows (n, d)."""
        return unit.detach().flatten(1).double().numpy() * self.width + self.lower
