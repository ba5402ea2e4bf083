"""How an answer is scored, ours and theirs alike: outside the attack, in float64; only rows that are allowed count."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from monitor.robustness.feasibility import feasible
from monitor.robustness.target import Target, Task, is_right
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray

ROUNDING = 1e-5  # of the width of the rows' range: what float32 can leave of a box


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Which rows (n,) are still classified rightly, and how many were refused as infeasible (they count as clean)."""

    right: BoolArray
    refused: int

    @property
    def robust_accuracy(self) -> float:
        return float(self.right.mean())


def score(model: nn.Module, clean: FloatArray, answer: FloatArray, y: FloatArray, threat: ThreatModel) -> Scored:
    """Score the answer to a plain box; an excess that is only float32's rounding is cut off first."""
    target = Target(copy.deepcopy(model).double(), Task.BINARY if y.max() <= 1 else Task.MULTICLASS)
    settled = settle(clean, answer, threat)
    allowed = feasible(clean, settled, threat)
    rows = np.where(allowed[:, None], settled, clean)
    right = is_right(target.outputs(rows), y, target.task) & is_right(target.outputs(clean), y, target.task)
    return Scored(right=right, refused=int((~allowed).sum()))


def settle(clean: FloatArray, answer: FloatArray, threat: ThreatModel) -> FloatArray:
    """Rows (n, d) back within their box where they left it by rounding; what is farther out stays as it is."""
    lower, upper = threat.box(clean)
    inside = np.clip(answer, lower, upper)
    near = np.abs(answer - inside) <= ROUNDING * max(1.0, float(np.ptp(clean)))
    return np.where(near, inside, answer)


def task_of(classes: int) -> Task:
    """Two classes are binary."""
    return Task.BINARY if classes == 2 else Task.MULTICLASS


def outputs(model: nn.Module, rows: FloatArray) -> FloatArray:
    """Logits (n, k) as the model itself gives them."""
    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(rows).float()).double().numpy())
