"""What a campaign found: robust quality by level, noise, audit flags, cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from monitor.robustness.target import Task
from monitor.robustness.threat_model import RawBudget
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True)
class LevelResult:
    """One level of attack.

    For classification `clean`, `attacked` and `certified` are accuracies: certified ≤ true ≤ attacked.
    For regression they are mean absolute errors and higher is worse. `interval` is the 95 % interval of `attacked`;
    `constant` what the best constant predictor reaches. `robust_auc`, `worst_recall` and `worst_precision` are of
    worst-case scores, recall and precision at the operating threshold; binary models only. `certified` is None where
    the network has no certificate. A level that is `beyond_reality` must not gate.
    """

    level: str
    epsilon: float
    clean: float
    attacked: float
    certified: float | None
    interval: tuple[float, float]
    constant: float
    flip_rate: float
    clean_auc: float | None
    robust_auc: float | None
    worst_recall: float | None
    worst_precision: float | None
    one_step: float | None
    raw_budget: tuple[RawBudget, ...]
    frozen: Mapping[str, str]
    beyond_reality: bool


@dataclass(frozen=True, kw_only=True)
class NoiseResult:
    """One cell of the noise grid; `quality` is accuracy, or for regression the mean absolute error.

    `unanswered` is the share of rows whose output was NaN: these count as wrong, and there is no AUC.
    """

    family: str
    severity: int
    strength: float
    unit: str
    quality: float
    auc: float | None
    flip_rate: float
    unanswered: float


@dataclass(frozen=True, kw_only=True)
class Flag:
    """Something that makes the campaign's numbers doubtful, and what it means."""

    name: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds (None when no clock was handed in), rows through a gradient, rows through the model."""

    seconds: float | None
    gradient_rows: int
    queries: int


@dataclass(frozen=True, kw_only=True, eq=False)
class CampaignReport:
    """One stress test of one model.

    `rows` indexes the rows that were used, `y` are their targets and `outputs` what the model said (logits of a module,
    probabilities of a black box, values). At level i, `adversarial[i]` (n, d) holds the worst row found in raw
    units, or the clean row, and `worst_outputs[i]` what the model says there: with these, two models are
    compared row by row.
    """

    plan: str
    task: Task
    metric: str
    n_rows: int
    seed: int
    white_box: bool
    clean: float
    clean_auc: float | None
    matthews: float | None
    positive_rate: float | None
    threshold: float | None
    mean_corrupted_auc: float | None
    pooled_auc_loss: float | None
    levels: tuple[LevelResult, ...]
    noise: tuple[NoiseResult, ...]
    audit: tuple[Flag, ...]
    cost: Cost
    rows: tuple[int, ...]
    y: FloatArray
    outputs: FloatArray
    adversarial: tuple[FloatArray, ...]
    worst_outputs: tuple[FloatArray, ...]

    def level(self, name: str) -> LevelResult | None:
        """The result at a level, or None when the plan left it out."""
        return next((result for result in self.levels if result.level == name), None)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, without the rows; NaN and infinity become null."""
        kept = {name: value for name, value in vars(self).items() if name not in _ROWWISE}
        document: dict[str, Any] = _plain(kept)
        return document


_ROWWISE = ("rows", "y", "outputs", "adversarial", "worst_outputs")


def _plain(value: Any) -> Any:
    if isinstance(value, RawBudget):
        return _plain(vars(value) | {"text": value.text})
    if isinstance(value, LevelResult | NoiseResult | Flag | Cost):
        return _plain(vars(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
