"""What a threat's categories and counts may do to the inputs of a network, as options for its certificate."""

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.robustness.region import SwapOptions
from monitor.robustness.relu_network import ReluNetwork
from monitor.robustness.swap_groups import SwapGroup
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray


def swap_options(
    network: ReluNetwork, rows: FloatArray, threat: ThreatModel, device: torch.device
) -> SwapOptions | None:
    """Every change of one cell of rows (n, d) that the budget allows; None when the threat has none.

    Levels that the network cannot tell apart are one option, at the smallest of their costs.
    """
    if not threat.groups or threat.swaps <= 0:
        return None
    before = _inputs(network, rows, device)
    parts = [_of_group(network, rows, before, group, threat.swaps, device) for group in threat.groups]
    row, feature, delta, cost = (np.concatenate(part) for part in zip(*parts, strict=True))
    return SwapOptions(row=row, feature=feature, delta=delta, cost=cost, budget=np.full(len(rows), threat.swaps))


Part = tuple[NDArray[np.int_], NDArray[np.int_], FloatArray, FloatArray]


def _of_group(
    network: ReluNetwork, rows: FloatArray, before: FloatArray, group: SwapGroup, budget: float, device: torch.device
) -> Part:
    steps, clean = group.values(int(np.floor(budget))), rows[:, group.index]
    alike = _alike(network, rows, group, steps, device)
    best: dict[int, tuple[FloatArray, FloatArray]] = {}
    for which, step in enumerate(steps):
        value = np.full(len(rows), step) if group.costs is not None else clean + step
        cost = group.cost(clean, value)
        cost = np.where(cost > 0, cost, np.inf)
        if alike[which] not in best:
            best[alike[which]] = (value, cost)
            continue
        other_value, other_cost = best[alike[which]]
        best[alike[which]] = np.where(cost < other_cost, value, other_value), np.minimum(cost, other_cost)
    found = [_option(network, rows, before, group.index, value, cost, budget, device) for value, cost in best.values()]
    row, delta, cost = (np.concatenate(part) for part in zip(*found, strict=True))
    return row, np.full(len(row), group.index), delta, cost


def _option(
    network: ReluNetwork, rows: FloatArray, before: FloatArray, column: int, value: FloatArray, cost: FloatArray,
    budget: float, device: torch.device,
) -> tuple[NDArray[np.int_], FloatArray, FloatArray]:  # fmt: skip
    allowed = np.flatnonzero(cost <= budget + 1e-9)
    changed = rows[allowed]
    changed[:, column] = value[allowed]
    return allowed, _inputs(network, changed, device) - before[allowed], cost[allowed]


def _alike(
    network: ReluNetwork, rows: FloatArray, group: SwapGroup, steps: FloatArray, device: torch.device
) -> list[int]:
    """A number for each level, the same for levels that look the same to the network; counts are all told apart."""
    if group.costs is None or network.preprocess is None:
        return list(range(len(steps)))
    probe = np.repeat(rows[:1], len(steps), axis=0)
    probe[:, group.index] = steps
    _, alike = np.unique(_inputs(network, probe, device), axis=0, return_inverse=True)
    return [int(number) for number in np.ravel(alike)]


def _inputs(network: ReluNetwork, rows: FloatArray, device: torch.device) -> FloatArray:
    with torch.no_grad():
        return np.asarray(network.inputs(torch.as_tensor(rows, device=device)).cpu().numpy())
