"""A lower bound of robust accuracy that no attack can pass.

It holds for networks of linear layers and ReLUs behind a preprocessing that is monotone in every movable feature, and
for the model's own float arithmetic; for other models there is no certificate, and None is said. Rows pass a ladder,
cheapest first: intervals, affine forms with CROWN, better slopes (`bounds.py`), parts of the region (`proving.py`).
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.robustness.bounds import better_slopes, hidden_bounds, output_low
from monitor.robustness.proving import SLOPE_STEPS, prove
from monitor.robustness.region import Region, SwapOptions, Swaps
from monitor.robustness.relu_network import ReluNetwork, relu_network
from monitor.robustness.swap_options import swap_options
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray


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
    """Which rows provably keep the right class wherever the threat may bring them, (n,).

    That is anywhere in their box, after any swaps within the budget: those of the threat, or other `swaps`. Norms and
    relations, which allow less, are not made use of. None for networks of another kind, and where derived features
    follow others out of the box. Rows outside `undecided` (n,), such as those that an attack has broken, are not looked
    at and come back False. `effort` multiplies how many parts of regions may be tried on the rows that are left; 0
    tries none.
    """
    network = None if target.task is Task.REGRESSION else _network(target, rows, threat)
    if network is None:
        return None
    sure = np.zeros(len(rows), dtype=bool)
    chosen = np.arange(len(rows)) if undecided is None else np.flatnonzero(undecided)
    with torch.no_grad():
        for part in _parts(chosen, network, threat):
            options = None if swaps is None else swaps.of_rows(part)
            region = _region_of(network, target, rows[part], threat, options)
            start = network.inputs(torch.as_tensor(rows[part], device=target.device))
            wanted = _margins(network, torch.as_tensor(y[part], device=target.device))
            sure[part] = prove(network, start, region, wanted, effort).cpu().numpy()
    return sure


def certified_error(target: Target, rows: FloatArray, y: FloatArray, threat: ThreatModel) -> FloatArray | None:
    """What |output − y| provably never exceeds wherever the threat may bring each row, (n,) in raw units.

    None for networks of another kind or with several outputs, and where derived features follow others.
    """
    network = _network(target, rows, threat)
    if network is None or len(network.layers[-1].weight) > 1:
        return None
    found = np.empty(len(rows))
    with torch.no_grad():
        for part in _parts(np.arange(len(rows)), network, threat):
            low, high = _both_sides(network, _region_of(network, target, rows[part], threat))
            goal = torch.as_tensor(y[part], dtype=torch.float64, device=target.device)[:, None]
            found[part] = torch.maximum(high - goal, goal - low)[:, 0].cpu().numpy()
    return found


def output_bounds(
    target: Target, lower: FloatArray, upper: FloatArray, *, swaps: SwapOptions | None = None
) -> tuple[FloatArray, FloatArray] | None:
    """Bounds of the outputs, (n,) or (n, k), over boxes (n, d) in raw units; None for networks of another kind.

    With `swaps` they hold after any allowed choice of these as well.
    """
    network = _network(target, lower)
    if network is None:
        return None
    found = []
    with torch.no_grad():
        for part in _parts(np.arange(len(lower)), network):
            chosen = None if swaps is None else swaps.of_rows(part)
            found.append(_both_sides(network, _region(network, target, lower[part], upper[part], chosen)))
    low, high = (torch.cat(side).cpu().numpy() for side in zip(*found, strict=True))
    return (low[:, 0], high[:, 0]) if low.shape[1] == 1 else (low, high)


def _network(target: Target, rows: FloatArray, threat: ThreatModel | None = None) -> ReluNetwork | None:
    """The network, when what it says on a few rows is what the model says, and no feature leaves its box."""
    network = relu_network(target)
    derived = threat is not None and threat.links is not None and threat.links.derived
    if network is None or derived:
        return None
    with torch.no_grad():
        few = torch.as_tensor(rows[:16], device=target.device)
        return network if network.agrees(network.inputs(few), target.torch_outputs(few)) else None


def _parts(
    chosen: NDArray[np.int_], network: ReluNetwork, threat: ThreatModel | None = None
) -> Iterator[NDArray[np.int_]]:
    """Rows that fit in memory together."""
    classes = len(network.layers[-1].weight)
    most = int(np.clip(4_000_000 // classes**2, 8, 256 if threat is not None and threat.groups else 512))
    for i in range(0, len(chosen), most):
        yield chosen[i : i + most]


def _region_of(
    network: ReluNetwork,
    target: Target,
    rows: FloatArray,
    threat: ThreatModel,
    swaps: SwapOptions | None = None,
) -> Region:
    options = swap_options(network, rows, threat, target.device) if swaps is None else swaps
    return _region(network, target, *threat.box(rows), options)


def _region(
    network: ReluNetwork, target: Target, lower: FloatArray, upper: FloatArray, swaps: SwapOptions | None
) -> Region:
    low, high = (network.inputs(torch.as_tensor(side, device=target.device)) for side in (lower, upper))
    return Region(
        centre=(low + high) / 2,
        radius=(high - low).abs() / 2,  # it may fall as a feature grows
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
    slopes = better_slopes(network, region, bounds, wanted, steps=SLOPE_STEPS)
    better, _ = output_low(network, region, bounds, wanted, slopes)
    low, negative_high = torch.maximum(found, better).chunk(2, dim=1)
    last = bounds[-1].within(low, -negative_high)
    return last.low, last.high
