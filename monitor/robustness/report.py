"""What a campaign found: robust quality by level, noise, audit flags, cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from monitor.robustness.target import Task
from monitor.robustness.threat_model import RawBudget
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True)
class AttackResult:
    """What one attack reached by itself at one level.

    `quality` is the accuracy (or error) that it left; `alone` counts the rows that it broke and no other did;
    `infeasible` those of its rows that the independent check refused, which counted as unbroken. `gradient_rows` and
    `queries` are rows through a gradient and through the model; `seconds` None without a clock.
    """

    name: str
    quality: float
    alone: int
    infeasible: int
    gradient_rows: int
    queries: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class FragileFeature:
    """A feature that the attack leans on, at the level that gates read.

    `moved` is the share of broken rows in which it moved, `repaired` the share that it alone repairs when it is put
    back to its clean value, `recovered` the mean share of the lost margin that this gives back. `typical` is the median
    size of its moves in raw units, None for a category.
    """

    feature: str
    moved: float
    repaired: float
    recovered: float
    typical: float | None
    unit: str | None


@dataclass(frozen=True, kw_only=True)
class FragileSlice:
    """Rows that break more easily than the rest: `slice` says which, `flip_rate` how many of them flip."""

    slice: str
    rows: int
    flip_rate: float
    interval: tuple[float, float]
    quality: float


@dataclass(frozen=True, kw_only=True)
class MinimumNorm:
    """The smallest budget that breaks a row, over the rows that were right: quantiles in the unit of epsilon.

    `unbroken` is the share that no budget up to the widest level broke; a quantile that lies among them is None.
    """

    q05: float | None
    q25: float | None
    median: float | None
    unbroken: float


@dataclass(frozen=True, kw_only=True)
class LevelResult:
    """One level of attack.

    For classification `clean`, `attacked` and `certified` are accuracies: certified ≤ true ≤ attacked. For regression
    they are mean absolute errors, higher is worse: attacked ≤ true ≤ certified. `interval` is the 95 % interval of
    `attacked`; `constant` what the best constant predictor reaches. `robust_auc`, `worst_recall` and `worst_precision`
    are of worst-case scores, recall and precision at the operating threshold; binary models only. `certified` is None
    where the network has no certificate; else `bracket` is the gap between it and `attacked` on the `certified_rows`
    rows that were certified, so that it never lies on the wrong side. `attacks` is each attack by itself, `swaps` how
    much may be spent on categories and counts. `smoothed` is the share that is certified for the model smoothed by
    noise, which is another model: see `CampaignReport.smoothed_accuracy`. A level that is `beyond_reality` must not
    gate.
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
    attacks: tuple[AttackResult, ...] = ()
    swaps: int = 0
    bracket: float | None = None
    certified_rows: int = 0
    smoothed: float | None = None


@dataclass(frozen=True, kw_only=True)
class NoiseResult:
    """One cell of the noise grid; `quality` is accuracy, or for regression the mean absolute error.

    `unanswered` is the share of rows whose output was NaN: these count as wrong, and there is no AUC.
    `calibration_error` is the expected calibration error of binary scores.
    """

    family: str
    severity: int
    strength: float
    unit: str
    quality: float
    auc: float | None
    flip_rate: float
    unanswered: float
    calibration_error: float | None = None


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
    compared row by row. `steps` is how many the gradient search took, more than planned where it had not converged.
    `half_broken` is the ε at which robust accuracy has lost half of its way from clean to 0 (None
    when no level reached it), `area` the mean robust accuracy over ε from 0 to the widest level; `snr_at_loss` the
    signal-to-noise ratios in dB at which 1, 5 and 10 % of the clean AUC are lost. `smoothed_accuracy` is the clean
    accuracy of the model smoothed by Gaussian noise, where its certificate was asked for (smoothing.py).
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
    steps: int = 0
    smoothed_accuracy: float | None = None
    half_broken: float | None = None
    area: float | None = None
    minimum: MinimumNorm | None = None
    fragile_features: tuple[FragileFeature, ...] = ()
    fragile_slices: tuple[FragileSlice, ...] = ()
    snr_at_loss: Mapping[str, float | None] = field(default_factory=dict)
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


_PARTS = (AttackResult, Cost, Flag, FragileFeature, FragileSlice, LevelResult, MinimumNorm, NoiseResult)


def _plain(value: Any) -> Any:
    if isinstance(value, RawBudget):
        return _plain(vars(value) | {"text": value.text})
    if isinstance(value, _PARTS):
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
