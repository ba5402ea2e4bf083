"""A lower bound of robust accuracy that no attack can pass.

It holds for networks of linear layers and ReLUs behind a preprocessing that is monotone in every movable feature, and
for the model's own float arithmetic; for other models there is no certificate, and None is said. Rows pass a ladder,
cheapest first: intervals, affine forms with CROWN, better slopes (`bounds.py`), and then halves of the box.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.robustness.bounds import Interval, better_slopes, hidden_bounds, interval_bounds, interval_low, output_low
from monitor.robustness.region import Region, SwapOptions, Swaps
from monitor.robustness.relu_network import ReluNetwork, relu_network
from monitor.robustness.swap_options import swap_options
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray

_SLOPE_STEPS = 5
_FEWEST_WEIGHTS = 5_000  # a smaller network takes hardly less time
_BOXES = 40_000  # that halving may look at a row, over the number of hidden weights: as long as the rest takes


def certified(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    *,
    swaps: SwapOptions | None = None,
    undecided: BoolArray | None = None,
    effort: float = 1.0,
) -> BoolArray | None:
    """Which rows provably keep the right class anywhere in their box, (n,); None for networks of another kind.

    They keep it under any changes of categories and counts that the threat allows as well, or under those of `swaps`
    where these are handed in. A threat with derived features has no certificate: they may leave the box. Rows outside
    `undecided` (n,), such as those that an attack has broken, are not looked at and come back False. `effort`
    multiplies how many halves of boxes may be tried on the rows that are left; 0 tries none.
    """
    network = None if target.task is Task.REGRESSION else _network(target, rows)
    if network is None or _has_derived(threat):
        return None
    swaps = swap_options(network, rows, threat, target.device) if swaps is None else swaps
    sure = np.zeros(len(rows), dtype=bool)
    chosen = np.arange(len(rows)) if undecided is None else np.flatnonzero(undecided)
    lower, upper = threat.box(rows)
    with torch.no_grad():
        for part in _parts(chosen, network):
            region = _region(network, target, lower[part], upper[part], None if swaps is None else swaps.of_rows(part))
            start = network.inputs(torch.as_tensor(rows[part], device=target.device))
            wanted = _margins(network, torch.as_tensor(y[part], device=target.device))
            sure[part] = _climb(network, start, region, wanted, effort).cpu().numpy()
    return sure


def certified_error(
    target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel, *, swaps: SwapOptions | None = None
) -> FloatArray | None:
    """What |output − y| provably never exceeds under the threat, (n,) in raw units; None as for `certified`."""
    network = _network(target, rows)
    if network is None or _has_derived(threat):
        return None
    swaps = swap_options(network, rows, threat, target.device) if swaps is None else swaps
    bounds = output_bounds(target, *threat.box(rows), swaps=swaps)
    if bounds is None or bounds[0].ndim != 1:
        return None
    return np.asarray(np.maximum(bounds[1] - y, y - bounds[0]))


def output_bounds(
    target: Target, lower: FloatArray, upper: FloatArray, *, swaps: SwapOptions | None = None
) -> tuple[FloatArray, FloatArray] | None:
    """Bounds of the outputs, (n,) or (n, k), over boxes (n, d) in raw units; None for networks of another kind."""
    network = _network(target, lower)
    if network is None:
        return None
    found = []
    with torch.no_grad():
        for part in _parts(np.arange(len(lower)), network):
            region = _region(network, target, lower[part], upper[part], None if swaps is None else swaps.of_rows(part))
            found.append(_both_sides(network, region))
    low, high = (torch.cat(side).cpu().numpy() for side in zip(*found, strict=True))
    return (low[:, 0], high[:, 0]) if low.shape[1] == 1 else (low, high)


def _has_derived(threat: ThreatModel) -> bool:
    return threat.links is not None and bool(threat.links.derived)


def _network(target: Target, rows: FloatArray) -> ReluNetwork | None:
    """The network, when what it says on a few rows is what the model says."""
    network = relu_network(target)
    if network is None:
        return None
    with torch.no_grad():
        few = torch.as_tensor(rows[:16], device=target.device)
        return network if network.agrees(network.inputs(few), target.torch_outputs(few)) else None


def _parts(chosen: NDArray[np.int_], network: ReluNetwork) -> Iterator[NDArray[np.int_]]:
    """Rows that fit in memory together."""
    classes = len(network.layers[-1].weight)
    most = int(np.clip(4_000_000 // classes**2, 8, 512))
    for i in range(0, len(chosen), most):
        yield chosen[i : i + most]


def _region(
    network: ReluNetwork, target: Target, lower: FloatArray, upper: FloatArray, swaps: SwapOptions | None
) -> Region:
    low, high = (network.inputs(torch.as_tensor(side, device=target.device)) for side in (lower, upper))
    return Region(
        centre=(low + high) / 2,
        radius=(high - low) / 2,
        swaps=None if swaps is None else Swaps.of(swaps, target.device),
    )


def _margins(network: ReluNetwork, y: Tensor) -> Tensor:
    """Linear forms of the outputs, (n, s, k), that are all positive where the class is right: ±logit, or y − others."""
    classes = len(network.layers[-1].weight)
    if classes == 1:
        return torch.where(y > 0, 1.0, -1.0).double()[:, None, None]
    others = torch.arange(classes - 1, device=y.device)[None] + (
        torch.arange(classes - 1, device=y.device)[None] >= y[:, None]
    )
    unit = torch.eye(classes, dtype=torch.float64, device=y.device)
    return unit[y.long()][:, None] - unit[others.long()]


def _both_sides(network: ReluNetwork, region: Region) -> tuple[Tensor, Tensor]:
    bounds = hidden_bounds(network, region)
    unit = torch.eye(len(network.layers[-1].weight), dtype=torch.float64, device=region.centre.device)
    wanted = torch.cat([unit, -unit]).expand(len(region), -1, -1)
    found, _ = output_low(network, region, bounds, wanted)
    slopes = better_slopes(network, region, bounds, wanted, steps=_SLOPE_STEPS)
    better, _ = output_low(network, region, bounds, wanted, slopes)
    low, negative_high = torch.maximum(found, better).chunk(2, dim=1)
    last = bounds[-1].within(low, -negative_high)
    return last.low, last.high


def _climb(network: ReluNetwork, start: Tensor, region: Region, wanted: Tensor, effort: float) -> Tensor:
    """Which rows, at `start` (n, width) and anywhere in the region, keep all wanted forms positive, (n,)."""
    sure = (interval_low(network, region, interval_bounds(network, region), wanted) > 0).all(dim=1)
    left = torch.nonzero(~sure & ~_broken_by_a_step(network, start, region, wanted))[:, 0]
    proof = _Proof.of(network, region.select(left), wanted[left])
    sure[left[proof.holds]] = True
    still = torch.nonzero(~proof.holds & ~proof.broken)[:, 0]
    weights = sum(layer.weight.numel() for layer in network.layers[1:])
    most = int(effort * _BOXES * len(sure) / max(weights, _FEWEST_WEIGHTS))
    sure[left[still]] = _hold_in_parts(network, proof.select(still), most)
    return sure


def _broken_by_a_step(network: ReluNetwork, start: Tensor, region: Region, wanted: Tensor) -> Tensor:
    """Rows that are wrong, or are so at the corner to which the gradient of their smallest margin points."""
    point = Region(centre=start, radius=torch.zeros_like(start))
    margins = _values(network, start, wanted)
    worst = wanted[torch.arange(len(wanted)), margins.argmin(dim=1)][:, None]
    _, slope = output_low(network, point, interval_bounds(network, point), worst)
    corner = region.centre - region.radius * torch.sign(slope[:, 0])
    return torch.minimum(margins.amin(dim=1), _values(network, corner, wanted).amin(dim=1)) < 0


def _values(network: ReluNetwork, inputs: Tensor, wanted: Tensor) -> Tensor:
    return (wanted @ network(inputs)[:, :, None])[:, :, 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Proof:
    """What was found in n regions: `holds` (n,), `broken` (n,) by a point inside, and the cell to halve, (n,)."""

    region: Region
    wanted: Tensor
    holds: Tensor
    broken: Tensor
    cell: Tensor

    @classmethod
    def of(cls, network: ReluNetwork, region: Region, wanted: Tensor) -> "_Proof":
        """Try CROWN, and better slopes where it fails."""
        if len(region) == 0:
            none = torch.zeros(0, dtype=torch.bool, device=wanted.device)
            return cls(region=region, wanted=wanted, holds=none, broken=none, cell=none.long())
        bounds = hidden_bounds(network, region)
        low, forms = output_low(network, region, bounds, wanted)
        open_ = torch.nonzero(~(low > 0).all(dim=1))[:, 0]
        if len(open_):
            part, seen, asked = region.select(open_), [layer.select(open_) for layer in bounds], wanted[open_]
            slopes = better_slopes(network, part, seen, asked, steps=_SLOPE_STEPS)
            better, forms[open_] = output_low(network, part, seen, asked, slopes)
            low[open_] = torch.maximum(low[open_], better)
        worst = forms[torch.arange(len(forms)), low.argmin(dim=1)]
        corner = region.centre - region.radius * torch.sign(worst)
        return cls(
            region=region,
            wanted=wanted,
            holds=(low > 0).all(dim=1),
            broken=(_values(network, corner, wanted) < 0).any(dim=1),
            cell=_most_open(network, region, bounds[0]),
        )

    def select(self, rows: Tensor) -> "_Proof":
        return _Proof(
            region=self.region.select(rows),
            wanted=self.wanted[rows],
            holds=self.holds[rows],
            broken=self.broken[rows],
            cell=self.cell[rows],
        )


def _most_open(network: ReluNetwork, region: Region, first: Interval) -> Tensor:
    """The cell whose width weighs most on first-layer neurons of open sign: halving it closes most of them, (n,)."""
    open_ = ((first.low < 0) & (first.high > 0)).double()
    return (region.radius * (open_ @ network.layers[0].weight.abs())).argmax(dim=1)


def _hold_in_parts(network: ReluNetwork, whole: _Proof, most: int) -> Tensor:
    """Which regions hold in every part after halving the open ones again and again, (n,); at most `most` parts."""
    n = len(whole.cell)
    owner = torch.arange(n, device=whole.cell.device)
    lost = torch.zeros(n, dtype=torch.bool, device=owner.device)
    while len(owner):
        few = _affordable(owner, n, most)
        lost[owner[~few]] = True
        whole, owner = whole.select(few), owner[few].repeat(2)
        most -= len(owner)
        whole = _Proof.of(network, whole.region.halves(whole.cell), whole.wanted.repeat(2, 1, 1))
        lost[owner[whole.broken]] = True
        open_ = ~whole.holds & ~lost[owner]
        whole, owner = whole.select(open_), owner[open_]
    return ~lost


def _affordable(owner: Tensor, n: int, most: int) -> Tensor:
    """The parts whose owners can all be halved: those with the fewest open parts first."""
    count = torch.bincount(owner, minlength=n)
    order = count.argsort()
    fits = 2 * count[order].cumsum(dim=0) <= most
    allowed = torch.zeros(n, dtype=torch.bool, device=owner.device)
    allowed[order[fits]] = True
    return allowed[owner]
