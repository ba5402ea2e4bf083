"""What a ReLU network can say anywhere in a region: intervals, affine forms, and linear bounds carried backward.

Intervals: Gowal et al. 2018, https://arxiv.org/abs/1810.12715. Affine forms (zonotopes) bound the hidden neurons, for
few features move and few neurons are unstable: Singh et al. 2018, "Fast and Effective Robustness Certification". The
outputs are then bounded backward: CROWN, Zhang et al. 2018, https://arxiv.org/abs/1811.00866, with its lower slopes
chosen by a few gradient steps where that is asked for: Xu et al. 2021, https://arxiv.org/abs/2011.13824.

Everything is in float64 and holds for the model's own rounded arithmetic: `Affine.error` is carried along.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from monitor.robustness.region import Region, Swaps
from monitor.robustness.relu_network import FLOAT32, Affine, ReluNetwork

_PIECE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Interval:
    """Lowest and highest value of every neuron, both (n, m); `error` is how much of it is rounding."""

    low: Tensor
    high: Tensor
    error: Tensor

    @property
    def size(self) -> Tensor:
        return torch.maximum(self.low.abs(), self.high.abs())

    def rectified(self) -> "Interval":
        return replace(self, low=self.low.clamp(min=0), high=self.high.clamp(min=0))

    def through(self, layer: Affine) -> "Interval":
        """Of the neurons after a layer."""
        centre, radius = layer((self.low + self.high) / 2), (self.high - self.low) / 2 @ layer.weight.abs().T
        error = layer.error(self.size)
        return Interval(low=centre - radius - error, high=centre + radius + error, error=error)

    def within(self, low: Tensor, high: Tensor) -> "Interval":
        """The part that lies between other bounds too."""
        return replace(self, low=torch.maximum(self.low, low), high=torch.minimum(self.high, high))

    def select(self, rows: Tensor) -> "Interval":
        return Interval(low=self.low[rows], high=self.high[rows], error=self.error[rows])


def interval_bounds(network: ReluNetwork, region: Region) -> list[Interval]:
    """Of every layer's neurons before their ReLU, the outputs last."""
    bounds = [_first(network.layers[0], region)]
    for layer in network.layers[1:]:
        bounds.append(bounds[-1].rectified().through(layer))
    return bounds


def hidden_bounds(network: ReluNetwork, region: Region) -> list[Interval]:
    """The same, tighter: what intervals and affine forms both allow.

    Rows go in small pieces, those with as many open neurons together, so that the forms stay in the cache.
    """
    first = _first(network.layers[0], region)
    order = ((first.low < 0) & (first.high > 0)).sum(dim=1).argsort()
    pieces = [_hidden_bounds(network, region.select(rows), first.select(rows)) for rows in torch.split(order, _PIECE)]
    back = order.argsort()
    return [_joined(layer).select(back) for layer in zip(*pieces, strict=True)]


def _hidden_bounds(network: ReluNetwork, region: Region, first: Interval) -> list[Interval]:
    bounds, forms = [first], _Forms.of(network.layers[0], region)
    for layer in network.layers[1:]:
        forms = forms.after(bounds[-1], layer)
        interval = bounds[-1].rectified().through(layer)
        forms = replace(forms, slip=forms.slip + interval.error)
        bounds.append(interval.within(*forms.bounds()))
    return bounds


def _joined(parts: tuple[Interval, ...]) -> Interval:
    low, high, error = (torch.cat([getattr(part, name) for part in parts]) for name in ("low", "high", "error"))
    return Interval(low=low, high=high, error=error)


def interval_low(network: ReluNetwork, region: Region, bounds: list[Interval], wanted: Tensor) -> Tensor:
    """Lower bounds (n, s) of `wanted` (n, s, k) linear forms of the outputs, from intervals before the last layer."""
    if len(bounds) == 1:
        return output_low(network, region, bounds, wanted)[0]
    last, before = network.layers[-1], bounds[-2].rectified()
    forms, centre, radius = wanted @ last.weight, (before.low + before.high) / 2, (before.high - before.low) / 2
    low = forms @ centre[:, :, None] - forms.abs() @ radius[:, :, None] - wanted.abs() @ bounds[-1].error[:, :, None]
    return wanted @ last.bias + low[:, :, 0]


def output_low(
    network: ReluNetwork,
    region: Region,
    bounds: list[Interval],
    wanted: Tensor,
    slopes: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Lower bounds (n, s) of `wanted` (n, s, k) linear forms of the outputs, and forms of the inputs, (n, s, width).

    `slopes`, one (n, s or 1, m) a hidden layer and within [0, 1], are of the lower lines of unstable neurons.
    """
    slopes = area_slopes(bounds) if slopes is None else slopes
    forms, low = wanted, torch.zeros(wanted.shape[:2], dtype=wanted.dtype, device=wanted.device)
    for depth in reversed(range(len(network.layers))):
        layer, here = network.layers[depth], bounds[depth]
        low = low + forms @ layer.bias - (forms.abs() @ here.error[:, :, None])[:, :, 0]
        forms = forms @ layer.weight
        if depth > 0:
            forms, shift = _relaxed(forms, bounds[depth - 1], slopes[depth - 1])
            low = low + shift
    return low + region.lowest(forms), forms


def area_slopes(bounds: list[Interval]) -> list[Tensor]:
    """0 or 1 for the lower line of a ReLU, whichever leaves the smaller area (CROWN's adaptive choice)."""
    return [(here.high > -here.low).to(here.low.dtype)[:, None] for here in bounds[:-1]]


def better_slopes(
    network: ReluNetwork, region: Region, bounds: list[Interval], wanted: Tensor, *, steps: int, rate: float = 0.3
) -> list[Tensor]:
    """Slopes that raise the lower bounds, by `steps` of sign gradient descent with a rate that falls to zero."""
    slopes = [slope.expand(-1, wanted.shape[1], -1).clone() for slope in area_slopes(bounds)]
    for step in range(steps if slopes else 0):
        for slope in slopes:
            slope.requires_grad_(True)
        with torch.enable_grad():
            low, _ = output_low(network, region, bounds, wanted, slopes)
            gradients = torch.autograd.grad(low.sum(), slopes)
        pace = rate * (1 - step / steps)
        slopes = [
            (slope.detach() + pace * torch.sign(gradient)).clamp(0, 1)
            for slope, gradient in zip(slopes, gradients, strict=True)
        ]
    return slopes


def _first(layer: Affine, region: Region) -> Interval:
    """The first layer is linear in the region, swaps included, so its bounds are exact."""
    centre, radius, size = layer(region.centre), region.radius @ layer.weight.abs().T, region.size
    error = layer.error(size)
    low, high = centre - radius - error, centre + radius + error
    if region.swaps is not None:
        image = region.swaps.delta @ layer.weight.T
        low, high = low - region.swaps.gain(-image), high + region.swaps.gain(image)
    return Interval(low=low, high=high, error=error)


def _relaxed(forms: Tensor, bounds: Interval, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Forms of ReLU outputs as forms of their inputs that are nowhere higher, and what is added."""
    low, high = bounds.low, bounds.high
    unstable = (low < 0) & (high > 0)
    chord = torch.where(unstable, high / (high - low).clamp(min=1e-300), (low >= 0).to(low.dtype))
    lower = torch.where(unstable[:, None], slope, chord[:, None])
    lift = torch.where(unstable, -chord * low, torch.zeros_like(low))
    negative = forms.clamp(max=0)
    shift = (negative @ lift[:, :, None])[:, :, 0]
    return forms.clamp(min=0) * lower + negative * chord[:, None], shift


@dataclass(frozen=True, kw_only=True, eq=False)
class _Forms:
    """Neurons as centre + Σ ±generators + swaps ± slip: `centre` and `slip` (n, m), `generators` (n, g, m).

    `options` (n, p, m) is what every swap option adds. Generators are float32, twice as fast, and what that may lose
    is added to the slip.
    """

    centre: Tensor
    generators: Tensor
    slip: Tensor
    options: Tensor | None
    swaps: Swaps | None

    @classmethod
    def of(cls, layer: Affine, region: Region) -> "_Forms":
        moving = (region.radius != 0).any(dim=0)
        centre = layer(region.centre)
        return cls(
            centre=centre,
            generators=(region.radius[:, moving, None] * layer.weight.T[moving]).float(),
            slip=torch.zeros_like(centre),
            options=None if region.swaps is None else region.swaps.delta @ layer.weight.T,
            swaps=region.swaps,
        )

    @property
    def spread(self) -> Tensor:
        """Σ |generators|, (n, m), rounded up."""
        count = self.generators.shape[1] + 3
        return self.generators.abs().sum(dim=1).double() * (1 + 2 * count * FLOAT32)

    def bounds(self) -> tuple[Tensor, Tensor]:
        radius = self.spread + self.slip
        low, high = self.centre - radius, self.centre + radius
        if self.options is None or self.swaps is None:
            return low, high
        return low - self.swaps.gain(-self.options), high + self.swaps.gain(self.options)

    def after(self, bounds: Interval, layer: Affine) -> "_Forms":
        """Through a ReLU and a layer: λz + μ ± μ with λ the chord's slope where the sign is open, then linear.

        The open neurons get a generator each.
        """
        low, high = bounds.low, bounds.high
        unstable = (low < 0) & (high > 0)
        slope = torch.where(unstable, high / (high - low).clamp(min=1e-300), (low >= 0).to(low.dtype))
        lift = torch.where(unstable, -slope * low / 2, torch.zeros_like(low))
        weight, lost = layer.weight.float(), 2 * (len(low[0]) + 4) * FLOAT32
        old = (self.generators * slope.float()[:, None]) @ weight.T
        return replace(
            self,
            centre=layer(self.centre * slope + lift),
            generators=torch.cat([old, _from_neurons(lift.float(), weight)], dim=1),
            slip=((self.slip + lost * self.spread) * slope + lost * lift) @ layer.weight.abs().T,
            options=None if self.options is None else (self.options * slope[:, None]) @ layer.weight.T,
        )


def _from_neurons(values: Tensor, weight: Tensor) -> Tensor:
    """What each non-zero value (n, m) adds after a layer, (n, g, out): as many rows as the fullest row needs."""
    count = int((values != 0).sum(dim=1).max()) if values.numel() else 0
    place = values.topk(count, dim=1).indices
    return weight.T[place] * values.gather(1, place)[:, :, None]
