"""A network of linear layers and ReLUs as plain matrices, with how far its own arithmetic may round."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monitor.robustness.target import Target, Task

_SKIPPED = nn.Identity | nn.Dropout | nn.Flatten
_PLAIN = {kind.forward for kind in (nn.Identity, nn.Dropout, nn.Flatten, nn.Linear, nn.ReLU)}
FLOAT32, FLOAT64 = 2.0**-24, 2.0**-53  # unit roundoffs
_AGREES = 1e-3  # relative to the outputs: how far float32 may be from what these matrices say


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """z = weight·h + bias in float64; what the model computes differs by at most slip·|h| + slip_bias.

    `weight` and `slip` are (out, in), `bias` and `slip_bias` (out,). For a dot product of n terms in any order the
    slip is γ|weight| with γ = (n + 3)u/(1 − (n + 3)u), u the unit roundoff (Higham 2002, section 3.1); the 3 are for
    the bias and for inputs that were rounded themselves.
    """

    weight: Tensor
    bias: Tensor
    slip: Tensor
    slip_bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, roundoff: float) -> "Affine":
        """A layer that is computed with this unit roundoff."""
        exact = weight.detach().double()
        shift = torch.zeros(len(exact), dtype=torch.float64, device=exact.device)
        shift = shift if bias is None else bias.detach().double()
        terms = exact.shape[1] + 3
        gamma = terms * roundoff / (1 - terms * roundoff)
        return cls(weight=exact, bias=shift, slip=gamma * exact.abs(), slip_bias=gamma * shift.abs())

    def then(self, after: "Affine") -> "Affine":
        """This layer and the next as one."""
        most = after.weight.abs() + after.slip
        return Affine(
            weight=after.weight @ self.weight,
            bias=after.weight @ self.bias + after.bias,
            slip=most @ self.slip + after.slip @ self.weight.abs(),
            slip_bias=most @ self.slip_bias + after.slip @ self.bias.abs() + after.slip_bias,
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs @ self.weight.T + self.bias

    def error(self, size: Tensor) -> Tensor:
        """How far each output (n, out) may be off for inputs of at most this size, (n, in)."""
        return size @ self.slip.T + self.slip_bias


@dataclass(frozen=True, kw_only=True, eq=False)
class ReluNetwork:
    """Affine layers with a ReLU between each two, behind a preprocessing that is monotone in every movable feature.

    The last layer gives (n, k) logits of several classes, and one output for all else: the logit, the difference of
    two logits, or the value of a regression in raw units.
    """

    preprocess: nn.Module | None
    layers: tuple[Affine, ...]
    dtype: torch.dtype = torch.float64  # of the raw rows that the model is given

    def inputs(self, rows: Tensor) -> Tensor:
        """Network inputs (n, width) in float64 for raw rows (n, d)."""
        given = rows.to(self.dtype)
        return (given if self.preprocess is None else self.preprocess(given)).double()

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs (n, k) for network inputs (n, width)."""
        values = self.layers[0](inputs)
        for layer in self.layers[1:]:
            values = layer(values.clamp(min=0))
        return values

    def agrees(self, inputs: Tensor, outputs: Tensor) -> bool:
        """Whether these matrices say what the model said, (n,) or (n, k): its forward may do more than its parts."""
        said = outputs.double().reshape(len(outputs), -1)
        own = self(inputs)
        if own.shape != said.shape:
            return False
        known = torch.isfinite(said) & torch.isfinite(own)
        return bool(((own - said).abs() <= _AGREES * (1 + said.abs()))[known].all())


def relu_network(target: Target) -> ReluNetwork | None:
    """The parts of a torch module; None when it is not made of linear layers and ReLUs alone."""
    found = _parts(target.module)
    if found is None:
        return None
    preprocess, modules = found
    layers = _affine(modules)
    return ReluNetwork(preprocess=preprocess, layers=(*layers[:-1], _finished(layers[-1], target)), dtype=target.dtype)


def _parts(module: nn.Module | None) -> tuple[nn.Module | None, list[nn.Linear | nn.ReLU]] | None:
    preprocess = getattr(module, "preprocess", None)
    network: object = getattr(module, "network", module) if preprocess is not None else module
    if preprocess is not None and not getattr(preprocess, "is_monotone", False):
        return None
    modules: list[object] = list(network) if isinstance(network, nn.Sequential) else [network]
    modules = [layer for layer in modules if not (isinstance(layer, _SKIPPED) and _is_plain(layer))]
    known = [layer for layer in modules if isinstance(layer, nn.Linear | nn.ReLU) and _is_plain(layer)]
    if len(known) < len(modules) or not any(isinstance(layer, nn.Linear) for layer in known):
        return None
    return preprocess, known


def _is_plain(layer: nn.Module) -> bool:
    """Whether it computes what its class in torch does; a subclass may do anything."""
    return type(layer).forward in _PLAIN


def _affine(modules: list[nn.Linear | nn.ReLU]) -> list[Affine]:
    """One affine layer between each two ReLUs; a ReLU at either end gets an identity beyond it."""
    linear = [layer for layer in modules if isinstance(layer, nn.Linear)]
    layers: list[Affine] = []
    rectified = True
    for layer in modules:
        if not isinstance(layer, nn.Linear):
            if not layers:
                layers = [_identity(linear[0].in_features, linear[0].weight)]
            rectified = True
            continue
        here = Affine.of(layer.weight, layer.bias, _roundoff(layer.weight))
        layers = [*layers, here] if rectified else [*layers[:-1], layers[-1].then(here)]
        rectified = False
    return [*layers, _identity(linear[-1].out_features, linear[-1].weight)] if rectified else layers


def _identity(width: int, like: Tensor) -> Affine:
    return Affine.of(torch.eye(width, device=like.device), None, 0.0)


def _finished(last: Affine, target: Target) -> Affine:
    """The last layer with what comes after it: the difference of two logits, or raw units of a regression."""
    outputs, module = len(last.weight), target.module
    like = last.weight
    if target.task is Task.BINARY and outputs == 2:
        return last.then(Affine.of(torch.tensor([[-1.0, 1.0]], device=like.device), None, FLOAT32))
    scale, centre = getattr(module, "target_scale", None), getattr(module, "target_centre", None)
    if target.task is Task.REGRESSION and isinstance(scale, Tensor) and isinstance(centre, Tensor):
        return last.then(Affine.of(scale.reshape(1, 1), centre.reshape(1), FLOAT32))
    return last


def _roundoff(weight: Tensor) -> float:
    """Of the model's arithmetic, plus that of the bounds, which are computed in float64."""
    return float(torch.finfo(weight.dtype).eps) / 2 + 2 * FLOAT64
