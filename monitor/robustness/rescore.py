"""Candidate rows outside of any attack: derived cells computed, relations checked, the margin read from the model."""

from dataclasses import dataclass

import numpy as np
import torch

from monitor.robustness.links import HOLDS_WITHIN, BoundLinks
from monitor.robustness.target import Target, margin
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Rules:
    """What must hold between the cells of rows that stand for given clean ones."""

    bound: BoundLinks | None

    @classmethod
    def of(cls, clean: FloatArray, threat: ThreatModel) -> "Rules":
        """The rules of a threat for clean rows (n, d)."""
        links = threat.links
        return cls(bound=None if links is None else links.bound_to(torch.as_tensor(clean, dtype=torch.float64)))

    def completed(self, rows: FloatArray) -> FloatArray:
        """Rows (n, d) with their derived cells computed."""
        if self.bound is None:
            return rows
        return np.asarray(self.bound.complete(torch.as_tensor(rows, dtype=torch.float64)).numpy())

    def violation(self, rows: FloatArray) -> FloatArray:
        """How far completed rows break relations, (n,) in robust σ."""
        if self.bound is None:
            return np.zeros(len(rows))
        return np.asarray(self.bound.violation(torch.as_tensor(rows, dtype=torch.float64)).numpy())


def completed(clean: FloatArray, rows: FloatArray, threat: ThreatModel) -> tuple[FloatArray, BoolArray]:
    """Rows (n, d) with their derived cells computed, and which of them keep every relation."""
    rules = Rules.of(clean, threat)
    found = rules.completed(rows)
    return found, rules.violation(found) <= HOLDS_WITHIN


def margins(target: Target, rows: FloatArray, y: FloatArray) -> FloatArray:
    """The margin of every row, (n,): lower is worse; NaN counts as not broken."""
    found = margin(target.outputs(rows), y, target.task, decision=target.decision)
    return np.asarray(np.where(np.isnan(found), np.inf, found))
