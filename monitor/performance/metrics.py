"""Performance metrics of classifiers (labels 0 or 1, or class numbers) and regressors: point values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from monitor.errors import BadInput, NotEnoughData

FloatArray = NDArray[np.float64]


class Task(StrEnum):
    """What the model predicts: one of two classes, one of several, or a value."""

    CLASSIFICATION = "classification"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


UNKNOWN = -1.0  # the number of a label or prediction that is none of the model's several classes


class Needs(StrEnum):
    """What a metric is computed from: the probability of class 1, the predicted class, or the predicted value."""

    SCORE = "score"
    CLASS = "class"
    VALUE = "value"


def accuracy(y: FloatArray, predicted: FloatArray) -> float:
    """The share of rows whose predicted class is right; a label that is no class of the model is never met."""
    return float(np.mean((y == predicted) & (y != UNKNOWN)))


def precision(y: FloatArray, predicted: FloatArray) -> float:
    """The share of rows called 1 that are 1; 0 when none is called 1."""
    return _ratio(np.sum((predicted == 1) & (y == 1)), np.sum(predicted == 1))


def recall(y: FloatArray, predicted: FloatArray) -> float:
    """The share of rows that are 1 that were called 1."""
    return _ratio(np.sum((predicted == 1) & (y == 1)), np.sum(y == 1))


def balanced_accuracy(y: FloatArray, predicted: FloatArray) -> float:
    """The mean of the recalls of the classes that occur among the labels."""
    return float(np.mean(list(recalls(y, predicted).values())))


def recalls(y: FloatArray, predicted: FloatArray) -> dict[int, float]:
    """By class number the share of its rows that were called so, for the known classes among the labels.

    >>> recalls(np.array([0.0, 0.0, 2.0, UNKNOWN]), np.array([0.0, 1.0, 2.0, 1.0]))
    {0: 0.5, 2: 1.0}
    """
    return {int(label): float(np.mean(predicted[y == label] == label)) for label in _known(y)}


def macro_f1(y: FloatArray, predicted: FloatArray) -> float:
    """The mean over the classes that occur of each one's F1, 2TP / (2TP + FP + FN), against all others."""
    occur = _known(np.concatenate([y, predicted]))
    return float(np.mean([f1(*((given == label).astype(np.float64) for given in (y, predicted))) for label in occur]))


def _known(classes: FloatArray) -> FloatArray:
    found = np.unique(classes)
    return np.asarray(found[found != UNKNOWN], dtype=np.float64)


def f1(y: FloatArray, predicted: FloatArray) -> float:
    """The harmonic mean of precision and recall: 2TP / (2TP + FP + FN)."""
    return _ratio(2 * np.sum((predicted == 1) & (y == 1)), np.sum(predicted == 1) + np.sum(y == 1))


def mcc(y: FloatArray, predicted: FloatArray) -> float:
    """Matthews' correlation of true and predicted class, of any number of classes; 0 for a constant prediction.

    (c·n − Σ t_k p_k) / √((n² − Σ t_k²)(n² − Σ p_k²)) with c rows right, t_k true and p_k predicted rows of class k.
    Source: Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.
    """
    codes = np.unique(np.concatenate([y, predicted]), return_inverse=True)[1]
    n, most = y.size, int(codes.max()) + 1
    true, called = (np.bincount(part, minlength=most).astype(np.float64) for part in (codes[:n], codes[n:]))
    within = float(n * n - true @ true) * float(n * n - called @ called)
    return float((np.sum(y == predicted) * n - true @ called) / np.sqrt(within)) if within > 0 else 0.0


def auroc(y: FloatArray, score: FloatArray) -> float:
    """P(score of a 1 > score of a 0) + ½ P(equal): the area under the ROC curve."""
    ones = y == 1
    m, n = int(ones.sum()), int((~ones).sum())
    return float((rankdata(score)[ones].sum() - m * (m + 1) / 2) / (m * n))


def auprc(y: FloatArray, score: FloatArray) -> float:
    """Average precision: Σ (recall_k − recall_{k−1}) · precision_k over distinct thresholds."""
    order = np.argsort(-score, kind="stable")
    hits, last = np.cumsum(y[order]), np.append(np.diff(score[order]) != 0, True)
    true_positives, called = hits[last], np.flatnonzero(last) + 1
    return float(np.sum(np.diff(true_positives, prepend=0.0) * true_positives / called) / hits[-1])


def log_loss_rows(y: FloatArray, score: FloatArray) -> FloatArray:
    """−log of the probability given to the truth, a row, in nats; probabilities are kept 2.2e-16 from 0 and 1."""
    edge = np.finfo(np.float64).eps
    p = np.clip(score, edge, 1 - edge)
    return np.asarray(-(y * np.log(p) + (1 - y) * np.log1p(-p)), dtype=np.float64)


def brier_rows(y: FloatArray, score: FloatArray) -> FloatArray:
    """The squared error of the probability, a row, from 0 to 1.

    Of probabilities (n, k) of several classes ½ Σ_k (p_k − [y = k])², which for two classes is the same.
    """
    if score.ndim == 2:
        return np.asarray(((score - (y[:, None] == np.arange(score.shape[1]))) ** 2).sum(axis=1) / 2, dtype=np.float64)
    return np.asarray((score - y) ** 2, dtype=np.float64)


def rmse(y: FloatArray, predicted: FloatArray) -> float:
    """The root of the mean squared error, in the target's unit."""
    return float(np.sqrt(np.mean((y - predicted) ** 2)))


def mae(y: FloatArray, predicted: FloatArray) -> float:
    """The mean absolute error, in the target's unit."""
    return float(np.mean(np.abs(y - predicted)))


def mape(y: FloatArray, predicted: FloatArray) -> float:
    """The mean absolute error relative to |target| (kept above 2.2e-16), as a share."""
    return float(np.mean(np.abs(y - predicted) / np.maximum(np.abs(y), np.finfo(np.float64).eps)))


def r2(y: FloatArray, predicted: FloatArray) -> float:
    """1 − squared error / variance of the target; 0 for a constant target that is missed, 1 for one that is met."""
    total, left = float(np.sum((y - y.mean()) ** 2)), float(np.sum((y - predicted) ** 2))
    if total == 0:
        return 1.0 if left == 0 else 0.0
    return 1 - left / total


def pinball(y: FloatArray, predicted: FloatArray, quantile: float = 0.5) -> float:
    """The quantile loss: quantile·(y − ŷ) above, (1 − quantile)·(ŷ − y) below."""
    over = y - predicted
    return float(np.mean(np.maximum(quantile * over, (quantile - 1) * over)))


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's function of (truth, prediction), which way is better, and which tasks it is for."""

    function: Callable[[FloatArray, FloatArray], float]
    needs: Needs
    higher_is_better: bool = True
    tasks: tuple[Task, ...] = (Task.CLASSIFICATION,)


_CLASSES, _SEVERAL, _VALUES = (Task.CLASSIFICATION, Task.MULTICLASS), (Task.MULTICLASS,), (Task.REGRESSION,)


METRICS: dict[str, Metric] = {
    "accuracy": Metric(function=accuracy, needs=Needs.CLASS, tasks=_CLASSES),
    "balanced_accuracy": Metric(function=balanced_accuracy, needs=Needs.CLASS, tasks=_CLASSES),
    "macro_f1": Metric(function=macro_f1, needs=Needs.CLASS, tasks=_SEVERAL),
    "precision": Metric(function=precision, needs=Needs.CLASS),
    "recall": Metric(function=recall, needs=Needs.CLASS),
    "f1": Metric(function=f1, needs=Needs.CLASS),
    "mcc": Metric(function=mcc, needs=Needs.CLASS, tasks=_CLASSES),
    "auroc": Metric(function=auroc, needs=Needs.SCORE),
    "auprc": Metric(function=auprc, needs=Needs.SCORE),
    "log_loss": Metric(
        function=lambda y, score: float(log_loss_rows(y, score).mean()), needs=Needs.SCORE, higher_is_better=False
    ),
    "brier": Metric(
        function=lambda y, score: float(brier_rows(y, score).mean()), needs=Needs.SCORE, higher_is_better=False
    ),
    "rmse": Metric(function=rmse, needs=Needs.VALUE, higher_is_better=False, tasks=_VALUES),
    "mae": Metric(function=mae, needs=Needs.VALUE, higher_is_better=False, tasks=_VALUES),
    "mape": Metric(function=mape, needs=Needs.VALUE, higher_is_better=False, tasks=_VALUES),
    "r2": Metric(function=r2, needs=Needs.VALUE, tasks=_VALUES),
    "pinball": Metric(function=pinball, needs=Needs.VALUE, higher_is_better=False, tasks=_VALUES),
}


def all_metrics(
    task: Task | str, y: ArrayLike, *, score: ArrayLike | None = None, prediction: ArrayLike | None = None,
    threshold: float = 0.5,
) -> dict[str, float]:  # fmt: skip
    """Every metric that these rows define, by name.

    Args:
        task: classification (of two classes), multiclass or regression.
        y: the truth, shape (n,): 0 or 1, a class number (-1: none of the classes), or a real value.
        score: probability of class 1, shape (n,).
        prediction: predicted class or value, shape (n,); by default the class is score ≥ `threshold`.

    With one class only, the metrics that compare classes are left out.

    >>> sorted(all_metrics("classification", [0, 1, 0, 1], score=[0.1, 0.9, 0.4, 0.3]))[:3]
    ['accuracy', 'auprc', 'auroc']
    """
    given = inputs(task, y, score=score, prediction=prediction, threshold=threshold)
    truth = as_floats(y, "y")
    one_class = Task(task) is not Task.REGRESSION and _known(truth).size < 2
    undefined = {"auroc", "auprc", "mcc", "balanced_accuracy", "recall", "macro_f1"} if one_class else set()
    return {
        name: metric.function(truth, given[metric.needs])
        for name, metric in METRICS.items()
        if Task(task) in metric.tasks and metric.needs in given and name not in undefined
    }


def inputs(
    task: Task | str, y: ArrayLike, *, score: ArrayLike | None, prediction: ArrayLike | None, threshold: float = 0.5
) -> dict[Needs, FloatArray]:
    """What the metrics may be computed from, checked for shape and for finite values."""
    truth = as_floats(y, "y")
    if Task(task) is Task.REGRESSION:
        found = {Needs.VALUE: prediction}
    elif Task(task) is Task.MULTICLASS:  # a score alone does not say which class it is of
        found = {Needs.CLASS: prediction}
    elif prediction is None and score is not None:
        found = {Needs.SCORE: score, Needs.CLASS: (as_floats(score, "score") >= threshold).astype(np.float64)}
    else:
        found = {Needs.SCORE: score, Needs.CLASS: prediction}
    given = {need: as_floats(values, need) for need, values in found.items() if values is not None}
    if not given and Task(task) is Task.MULTICLASS:
        raise BadInput("expected the predicted class of a model of several classes, got none: log it as the prediction")
    if not given:
        raise BadInput(f"expected a score or a prediction for {task}, got neither")
    for need, values in given.items():
        if values.shape != truth.shape:
            raise BadInput(f"expected {truth.size} values of {need}, one a label, got shape {values.shape}")
    if Task(task) is Task.CLASSIFICATION and not np.isin(truth, [0.0, 1.0]).all():
        raise BadInput("expected labels 0 and 1, got others: name the positive class")
    if Task(task) is Task.MULTICLASS and not all(_numbered(one) for one in (truth, *given.values())):
        raise BadInput("expected class numbers from 0, or -1 for none of the classes, got others: name the classes")
    return given


def as_floats(values: ArrayLike, name: str) -> FloatArray:
    """A one-dimensional float array without NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise NotEnoughData(f"expected rows, got none in {name}")
    if array.ndim != 1 or not np.isfinite(array).all():
        raise BadInput(f"expected finite numbers of shape (n,) in {name}: leave out rows without a label or prediction")
    return array


def _numbered(classes: FloatArray) -> bool:
    return bool(((classes == np.round(classes)) & (classes >= UNKNOWN)).all())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
