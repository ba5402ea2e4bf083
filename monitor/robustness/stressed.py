"""What a campaign works on: the model, its rows, what it says of them clean, and how well that is."""

from dataclasses import dataclass

import numpy as np

from monitor.robustness import scoring
from monitor.robustness.plan import Plan
from monitor.robustness.target import Target, Task, is_right
from monitor.robustness.threat_model import BoolArray
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Stressed:
    """Rows (n, d) in raw units with targets y (n,) and clean outputs, (n,) or (n, k).

    `plan` has the steps that the search needs to converge, and `gained` how many rows twice as many would still break.
    """

    target: Target
    rows: FloatArray
    y: FloatArray
    clean: FloatArray
    plan: Plan
    seed: int
    gained: int = 0

    @property
    def task(self) -> Task:
        return self.target.task

    @property
    def attacked(self) -> BoolArray:
        """The rows that an attacker stands behind, (n,)."""
        everyone = np.ones(len(self.y), dtype=bool)
        return everyone if self.plan.attackers == "both" else np.asarray(self.y > 0)

    def quality(self, outputs: FloatArray) -> float:
        """Accuracy, or for regression the mean absolute error."""
        return scoring.quality(outputs, self.y, self.task, decision=self.target.decision)

    def right(self, outputs: FloatArray) -> BoolArray:
        """Which rows are classified rightly, (n,)."""
        return is_right(outputs, self.y, self.task, decision=self.target.decision)

    def matthews(self) -> float | None:
        """Matthews correlation of the clean predictions; None for regression."""
        if self.task is Task.REGRESSION:
            return None
        return scoring.matthews(self.clean, self.y, self.task, decision=self.target.decision)

    def auc(self) -> float | None:
        """The clean AUC; binary models only."""
        return scoring.auc(self.clean, self.y) if self.task is Task.BINARY else None
