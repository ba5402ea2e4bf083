"""A lower bound of robust accuracy that no attack can pass: interval bound propagation.

Gowal et al. 2018, https://arxiv.org/abs/1810.12715. It holds for networks of linear layers and ReLUs behind a
preprocessing that is monotone in every movable feature; for other models there is no certificate, and None is said.
"""

import numpy as np
import torch
from torch import Tensor, nn

from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray

_SLACK = 1e-5  # float32 rounding, relative to the size of the logits


def certified(target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel) -> BoolArray | None:
    """Which rows provably keep the right class anywhere in their box, (n,); None for networks of another kind."""
    bounds = output_bounds(target, *threat.box(rows))
    if bounds is None or target.task is Task.REGRESSION:
        return None
    low, high = bounds
    slack = _SLACK * (1 + np.maximum(np.abs(low), np.abs(high)))
    if target.task is Task.BINARY:
        return np.asarray(np.where(y > 0, low > slack, high <= -slack))
    labels = y.astype(int)
    index = np.arange(len(labels))
    others = (high + slack).copy()
    others[index, labels] = -np.inf
    return np.asarray((low - slack)[index, labels] > others.max(axis=1))


def output_bounds(target: Target, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Bounds of the outputs, (n,) or (n, k), over the boxes; None when the network is not made of linear and ReLU."""
    parts = _parts(target.module)
    if parts is None:
        return None
    preprocess, layers = parts
    with torch.inference_mode():
        low, high = (torch.as_tensor(side, device=target.device) for side in (lower, upper))
        if preprocess is not None:
            low, high = preprocess(low), preprocess(high)
        low, high = low.double(), high.double()
        for layer in layers:
            low, high = _through(layer, low, high)
    if low.shape[-1] == 1:
        low, high = low[:, 0], high[:, 0]
    elif target.task is Task.BINARY:
        low, high = low[:, 1] - high[:, 0], high[:, 1] - low[:, 0]
    return low.cpu().numpy(), high.cpu().numpy()


def _parts(module: nn.Module | None) -> tuple[nn.Module | None, list[nn.Module]] | None:
    """A monotone preprocessing, when there is one, and the layers after it."""
    preprocess = getattr(module, "preprocess", None)
    network = getattr(module, "network", module) if preprocess is not None else module
    if preprocess is not None and not getattr(preprocess, "is_monotone", False):
        return None
    if isinstance(network, nn.Linear):
        return preprocess, [network]
    if not isinstance(network, nn.Sequential):
        return None
    layers = [layer for layer in network if not isinstance(layer, nn.Identity | nn.Dropout | nn.Flatten)]
    known = all(isinstance(layer, nn.Linear | nn.ReLU) for layer in layers)
    return (preprocess, layers) if known else None


def _through(layer: nn.Module, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    if not isinstance(layer, nn.Linear):
        return low.clamp(min=0), high.clamp(min=0)
    weight = layer.weight.double()
    centre, radius = (low + high) / 2 @ weight.T, (high - low) / 2 @ weight.abs().T
    if layer.bias is not None:
        centre = centre + layer.bias.double()
    return centre - radius, centre + radius
