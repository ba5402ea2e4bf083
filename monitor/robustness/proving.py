"""The search for a proof that forms of a network's outputs stay positive in a region, cheapest way first.

What neither intervals nor CROWN decide is proved in parts: halves of the box, or one part for each first swap. A point
that breaks a row ends the search for it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from monitor.robustness.bounds import Interval, better_slopes, hidden_bounds, interval_bounds, interval_low, output_low
from monitor.robustness.region import Region
from monitor.robustness.relu_network import ReluNetwork

SLOPE_STEPS = 5
_FEWEST_WEIGHTS = 5_000  # a smaller network takes hardly less time
_BOXES = 32_000  # that halving may look at a row, over the number of hidden weights: as long as the rest takes
_SWAPPED = 40  # so many times as many parts after swaps: most are decided by intervals
_EACH = 1 / 8  # of the effort for a row goes to each of its parts, because few of them are hard
_SWAPPED_AT_ONCE = 64


def prove(network: ReluNetwork, start: Tensor, region: Region, wanted: Tensor, effort: float) -> Tensor:
    """Which rows, at `start` (n, width) and anywhere in the region, keep all wanted forms positive, (n,)."""
    sure = (interval_low(network, region, interval_bounds(network, region), wanted) > 0).all(dim=1)
    left = torch.nonzero(~sure & ~_broken_by_a_step(network, start, region, wanted))[:, 0]
    proof = _Proof.of(network, region.select(left), wanted[left])
    sure[left[proof.holds]] = True
    still = torch.nonzero(~proof.holds & ~proof.broken)[:, 0]
    rest, weights = proof.select(still), sum(layer.weight.numel() for layer in network.layers[1:])
    boxes = effort * _BOXES * len(sure) / max(weights, _FEWEST_WEIGHTS)
    if region.swaps is None:
        sure[left[still]] = _hold_in_halves(network, rest, int(boxes))
    else:
        sure[left[still]] = _hold_by_swap(network, start[left[still]], rest, int(_SWAPPED * boxes), effort)
    return sure


def _broken_by_a_step(network: ReluNetwork, start: Tensor, region: Region, wanted: Tensor) -> Tensor:
    """Rows that are wrong, or so at the corner to which the gradient of their margin points, or after one swap."""
    point = Region(centre=start, radius=torch.zeros_like(start))
    margins = _values(network, start, wanted)
    worst = wanted[torch.arange(len(wanted)), margins.argmin(dim=1)][:, None]
    _, slope = output_low(network, point, interval_bounds(network, point), worst)
    lowest = torch.minimum(margins.amin(dim=1), _values(network, region.corner(slope[:, 0]), wanted).amin(dim=1))
    if region.swaps is not None:
        swapped = start[:, None] + region.swaps.delta
        lowest = torch.minimum(lowest, (network(swapped) @ wanted.transpose(1, 2)).amin(dim=2).amin(dim=1))
    return lowest < 0


def _values(network: ReluNetwork, inputs: Tensor, wanted: Tensor) -> Tensor:
    return (wanted @ network(inputs)[:, :, None])[:, :, 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Proof:
    """What was found in n regions: `holds`, `broken` by a point inside, the least margin `low`, the `cell` to halve."""

    region: Region
    wanted: Tensor
    holds: Tensor
    broken: Tensor
    low: Tensor
    cell: Tensor

    @classmethod
    def of(cls, network: ReluNetwork, region: Region, wanted: Tensor) -> "_Proof":
        """Try CROWN, and better slopes where it fails."""
        if len(region) == 0:
            none = torch.zeros(0, dtype=torch.bool, device=wanted.device)
            return cls(region=region, wanted=wanted, holds=none, broken=none, low=none.double(), cell=none.long())
        bounds = hidden_bounds(network, region)
        low, forms = output_low(network, region, bounds, wanted)
        open_ = torch.nonzero(~(low > 0).all(dim=1))[:, 0]
        if len(open_):
            part, seen, asked = region.select(open_), [layer.select(open_) for layer in bounds], wanted[open_]
            slopes = better_slopes(network, part, seen, asked, steps=SLOPE_STEPS)
            better, forms[open_] = output_low(network, part, seen, asked, slopes)
            low[open_] = torch.maximum(low[open_], better)
        worst = forms[torch.arange(len(forms)), low.argmin(dim=1)]
        return cls(
            region=region,
            wanted=wanted,
            holds=(low > 0).all(dim=1),
            broken=(_values(network, region.corner(worst), wanted) < 0).any(dim=1),
            low=low.amin(dim=1),
            cell=_most_open(network, region, bounds[0]),
        )

    def select(self, rows: Tensor) -> "_Proof":
        return _Proof(
            region=self.region.select(rows),
            wanted=self.wanted[rows],
            holds=self.holds[rows],
            broken=self.broken[rows],
            low=self.low[rows],
            cell=self.cell[rows],
        )


def _most_open(network: ReluNetwork, region: Region, first: Interval) -> Tensor:
    """The cell whose width weighs most on first-layer neurons of open sign: halving it closes most of them, (n,)."""
    open_ = ((first.low < 0) & (first.high > 0)).double()
    return (region.radius * (open_ @ network.layers[0].weight.abs())).argmax(dim=1)


def _hold_in_halves(network: ReluNetwork, whole: _Proof, most: int) -> Tensor:
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


def _hold_by_swap(network: ReluNetwork, start: Tensor, whole: _Proof, most: int, effort: float) -> Tensor:
    """Which regions hold without any swap, and after each first swap with what may follow it; at most `most` parts.

    The rows nearest to a proof come first.
    """
    swaps = whole.region.swaps
    hold = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    if swaps is None or len(start) == 0:
        return hold
    parts = 1 + swaps.options.sum(dim=1)
    order = whole.low.argsort(descending=True)
    tried = order[parts[order].cumsum(dim=0) <= most]
    for rows in torch.split(tried, _SWAPPED_AT_ONCE):
        hold[rows] = _hold_each(network, start[rows], whole.region.select(rows), whole.wanted[rows], effort * _EACH)
    return hold


def _hold_each(network: ReluNetwork, start: Tensor, region: Region, wanted: Tensor, effort: float) -> Tensor:
    """Which rows hold in every part of their region, one first swap each."""
    hold = prove(network, start, replace(region, swaps=None), wanted, effort)
    for owner, moved, part in region.after_each_swap(start):
        alive = torch.nonzero(hold[owner])[:, 0]
        held = prove(network, moved[alive], part.select(alive), wanted[owner[alive]], effort)
        hold[owner[alive[~held]]] = False
    return hold
