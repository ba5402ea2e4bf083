"""Candidate rows outside of any attack: derived cells computed, relations checked, the margin read from the model."""

import numpy as np
import torch

from monitor.robustness.space import holds_within
from monitor.robustness.target import Target, margin
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray


def completed(clean: FloatArray, rows: FloatArray, threat: ThreatModel) -> tuple[FloatArray, BoolArray]:
    """Rows (n, d) with their derived cells computed, and which of them keep every relation."""
    if threat.links is None:
        return rows, np.ones(len(rows), dtype=bool)
    links = threat.links.bound_to(torch.as_tensor(clean, dtype=torch.float64))
    found = links.complete(torch.as_tensor(rows, dtype=torch.float64))
    return found.numpy(), holds_within(links.violation(found)).numpy()


def violations(clean: FloatArray, rows: FloatArray, threat: ThreatModel) -> FloatArray:
    """How far completed rows break relations, (n,) in robust σ."""
    if threat.links is None:
        return np.zeros(len(rows))
    links = threat.links.bound_to(torch.as_tensor(clean, dtype=torch.float64))
    return np.asarray(links.violation(torch.as_tensor(rows, dtype=torch.float64)).numpy())


def margins(target: Target, rows: FloatArray, y: FloatArray) -> FloatArray:
    """The margin of every row, (n,): lower is worse; NaN counts as not broken."""
    found = margin(target.outputs(rows), y, target.task, decision=target.decision)
    return np.asarray(np.where(np.isnan(found), np.inf, found))
