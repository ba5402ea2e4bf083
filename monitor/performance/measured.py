"""A figure with its interval: what `measure` returns for a window, and how two scorings of the same rows differ."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from monitor.errors import BadInput, NotEnoughData
from monitor.performance import intervals
from monitor.performance.intervals import IndexArray, Interval
from monitor.performance.metrics import (
    METRICS,
    UNKNOWN,
    FloatArray,
    Needs,
    Task,
    accuracy,
    as_floats,
    brier_rows,
    inputs,
    log_loss_rows,
)

MIN_ROWS = 30  # fewer say nothing that an interval could express
MIN_PER_CLASS = 10  # DeLong's interval is too short below


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric on `n` rows with its 95 % interval [low, high]; all three are finite.

    >>> auc = Measured(name="auroc", value=0.9, low=0.88, high=0.92, n=1_900, higher_is_better=True)
    >>> str(auc)
    'auroc 0.900 [0.880, 0.920] on 1,900 rows'
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    higher_is_better: bool

    def __str__(self) -> str:
        return f"{self.name} {self.value:.3f} [{self.low:.3f}, {self.high:.3f}] on {self.n:,} rows"

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Measured":
        """The figure that `to_document` wrote; further keys are ignored."""
        return cls(**{name: document[name] for name in cls.__dataclass_fields__})


def measure(
    task: Task | str, y: ArrayLike, *, score: ArrayLike | None = None, prediction: ArrayLike | None = None,
    metric: str | None = None, threshold: float = 0.5, seed: int = 0,
) -> Measured:  # fmt: skip
    """One metric with an interval: AUROC where there is a score, accuracy where there is a class, RMSE for regression.

    A model of several classes is measured by its predicted class alone, so by its accuracy unless told otherwise.

    Intervals: DeLong (auroc), Wilson (accuracy, precision, recall), Student (rmse on the squared scale, mae, log_loss,
    brier), else a stratified percentile bootstrap with `seed`.

    Raises:
        NotEnoughData: under 30 rows, under 10 of one of two classes, or rows of one of several classes alone.
        BadInput: the metric is unknown, or what it needs was not given.
    """
    given = inputs(task, y, score=score, prediction=prediction, threshold=threshold)
    truth = as_floats(y, "y")
    name = metric or default_metric(task, has_score=Needs.SCORE in given)
    if name not in METRICS:
        raise BadInput(f"expected one of {', '.join(METRICS)}, got metric {name!r}")
    chosen = METRICS[name]
    if Task(task) not in chosen.tasks:
        able = ", ".join(other for other, metric in METRICS.items() if Task(task) in metric.tasks)
        raise BadInput(f"{name} is no metric for {task}: choose one of {able}")
    if chosen.needs not in given:
        raise BadInput(f"{name} needs a {chosen.needs}, got {', '.join(given)}")
    _require_enough(task, truth)
    value = chosen.function(truth, given[chosen.needs])
    low, high = _interval(name, truth, given[chosen.needs], seed)
    return Measured(
        name=name, value=value, low=low, high=high, n=truth.size, higher_is_better=chosen.higher_is_better
    )  # fmt: skip


def default_metric(task: Task | str, *, has_score: bool) -> str:
    """The metric that a model is watched by unless its owner names another."""
    if Task(task) is Task.REGRESSION:
        return "rmse"
    return "auroc" if has_score and Task(task) is Task.CLASSIFICATION else "accuracy"


def paired_difference(
    y: ArrayLike, score_a: ArrayLike, score_b: ArrayLike, metric: str = "auroc", *, threshold: float = 0.5,
    seed: int = 0, resamples: int = 400, several: bool = False,
) -> Measured:  # fmt: skip
    """Metric of B minus metric of A on the same rows, with a paired bootstrap interval.

    Both scorings are resampled together, so the rows' difficulty cancels. Class metrics cut the scores at `threshold`;
    with `several` classes the scores are class numbers.
    The result's `higher_is_better` is the metric's own: for a loss a negative difference is the better one.
    """
    if metric not in METRICS:
        raise BadInput(f"expected one of {', '.join(METRICS)}, got metric {metric!r}")
    chosen = METRICS[metric]
    task = Task.REGRESSION if chosen.needs is Needs.VALUE else Task.MULTICLASS if several else Task.CLASSIFICATION
    truth = as_floats(y, "y")
    _require_enough(task, truth)
    a, b = (_as_needed(task, chosen.needs, truth, scores, threshold) for scores in (score_a, score_b))

    def difference(rows: IndexArray) -> float:
        return chosen.function(truth[rows], b[rows]) - chosen.function(truth[rows], a[rows])

    value = difference(np.arange(truth.size))
    low, high = intervals.bootstrap(difference, _strata(task, truth), seed=seed, resamples=resamples)
    return Measured(
        name=metric, value=value, low=low, high=high, n=truth.size, higher_is_better=chosen.higher_is_better
    )  # fmt: skip


def _as_needed(task: Task, needs: Needs, truth: FloatArray, scores: ArrayLike, threshold: float) -> FloatArray:
    if task is not Task.CLASSIFICATION:
        return inputs(task, truth, score=None, prediction=scores)[needs]
    return inputs(task, truth, score=scores, prediction=None, threshold=threshold)[needs]


def _strata(task: Task | str, truth: FloatArray) -> FloatArray:
    return np.zeros(truth.size) if Task(task) is Task.REGRESSION else truth


def _require_enough(task: Task | str, truth: FloatArray) -> None:
    if truth.size < MIN_ROWS:
        raise NotEnoughData(
            f"expected at least {MIN_ROWS} rows with labels, got {truth.size}: wait or widen the window"
        )
    if Task(task) is Task.MULTICLASS and (known := np.unique(truth[truth != UNKNOWN])).size < 2:
        raise NotEnoughData(
            f"expected rows of at least two classes, got {truth.size} with labels of {known.size}: "
            "wait or widen the window"
        )
    if Task(task) is Task.CLASSIFICATION:
        rarer = int(min((truth == 1).sum(), (truth == 0).sum()))
        if rarer < MIN_PER_CLASS:
            raise NotEnoughData(
                f"expected at least {MIN_PER_CLASS} rows of each class, got {rarer} of one: wait or widen the window"
            )


def _interval(name: str, truth: FloatArray, given: FloatArray, seed: int) -> Interval:
    match name:
        case "auroc":
            return intervals.delong(truth, given)[1]
        case "accuracy":
            return intervals.wilson(accuracy(truth, given) * truth.size, truth.size)
        case "precision" if (given == 1).any():
            return intervals.wilson(float((truth[given == 1] == 1).sum()), float((given == 1).sum()))
        case "recall":
            return intervals.wilson(float((given[truth == 1] == 1).sum()), float((truth == 1).sum()))
        case "rmse":
            low, high = intervals.of_mean((truth - given) ** 2)
            return math.sqrt(max(0.0, low)), math.sqrt(high)
        case "mae":
            low, high = intervals.of_mean(np.abs(truth - given))
            return max(0.0, low), high
        case "log_loss" | "brier":
            low, high = intervals.of_mean((log_loss_rows if name == "log_loss" else brier_rows)(truth, given))
            return max(0.0, low), high
        case _:
            function, classes = METRICS[name].function, METRICS[name].needs is not Needs.VALUE
            strata = truth if classes else np.zeros(truth.size)
            return intervals.bootstrap(lambda rows: function(truth[rows], given[rows]), strata, seed=seed)
