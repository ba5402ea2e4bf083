"""How well outputs do against targets: the few numbers a campaign reports."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, rankdata

from monitor.errors import BadInput
from monitor.robustness.target import Task, is_right, predicted
from monitor.schema import FloatArray


def quality(outputs: FloatArray, y: FloatArray, task: Task, *, decision: float) -> float:
    """Accuracy (higher is better); for regression the mean absolute error (lower is better)."""
    if task is Task.REGRESSION:
        return float(np.abs(outputs - y).mean())
    return float(is_right(outputs, y, task, decision=decision).mean())


def quality_interval(outputs: FloatArray, y: FloatArray, task: Task, *, decision: float) -> tuple[float, float]:
    """95 % interval: Wilson for accuracy, normal for the mean absolute error."""
    if task is Task.REGRESSION:
        errors = np.abs(outputs - y)
        half = 1.96 * float(errors.std(ddof=1)) / np.sqrt(len(errors)) if len(errors) > 1 else 0.0
        return max(float(errors.mean() - half), 0.0), float(errors.mean() + half)
    right = int(is_right(outputs, y, task, decision=decision).sum())
    interval = binomtest(right, len(y)).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def constant_quality(y: FloatArray, task: Task) -> float:
    """What the best constant predictor reaches: a robust model must beat it to be worth anything."""
    if task is Task.REGRESSION:
        return float(np.abs(y - np.median(y)).mean())
    return float(np.unique(y, return_counts=True)[1].max() / len(y))


def auc(scores: FloatArray, y: FloatArray) -> float | None:
    """The chance that a positive scores above a negative, ties half; None with one class.

    >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    positives = y > 0
    n_positive, n_negative = int(positives.sum()), int((~positives).sum())
    if n_positive == 0 or n_negative == 0 or not np.isfinite(scores).all():
        return None
    above = rankdata(scores)[positives].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def base_rate_threshold(scores: FloatArray, y: FloatArray) -> float:
    """The score above which as many rows lie as there are positives."""
    return float(np.quantile(scores, 1 - (y > 0).mean()))


def recall_and_precision(scores: FloatArray, y: FloatArray, threshold: float) -> tuple[float | None, float | None]:
    """Among positives the share above the threshold, and the share of positives above it; None where undefined."""
    flagged, positive = scores > threshold, y > 0
    hits = float((flagged & positive).sum())
    recall = hits / float(positive.sum()) if positive.any() else None
    return recall, hits / float(flagged.sum()) if flagged.any() else None


def calibration_error(scores: FloatArray, y: FloatArray, *, bins: int = 15) -> float:
    """Expected calibration error of probabilities (n,): Σ n_b/n · |mean score − share of ones|; higher is worse.

    The bins hold equally many rows, and equal scores share one (Nixon et al. 2019, https://arxiv.org/abs/1904.01685).

    >>> calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]))
    0.25
    """
    if len(scores) == 0 or not ((scores >= 0) & (scores <= 1)).all():
        raise BadInput("expected at least one probability between 0 and 1, got others: pass logits through a sigmoid")
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1]))
    place = np.searchsorted(edges, scores, side="left")
    return float(np.abs(np.bincount(place, weights=scores - (y > 0))).sum() / len(scores))


def snr_at_loss(snrs: Sequence[float], aucs: Sequence[float], clean: float, loss: float) -> float | None:
    """The signal-to-noise ratio in dB (lower is better) at which noise has cost the share `loss` of the clean AUC.

    From AUCs at several ratios, in any order, on straight lines between them; the highest ratio at which the loss is
    passed counts. None when it is never reached, and the highest ratio measured when it is passed there already.

    >>> snr_at_loss([40.0, 20.0, 0.0], [0.9, 0.9, 0.7], 0.9, 0.1)
    11.0
    """
    order = np.argsort(snrs)[::-1]
    ratios, losses = np.asarray(snrs, dtype=np.float64)[order], 1 - np.asarray(aucs, dtype=np.float64)[order] / clean
    passed = np.flatnonzero(losses >= loss)
    if passed.size == 0:
        return None
    i = int(passed[0])
    if i == 0:
        return float(ratios[0])
    share = (loss - losses[i - 1]) / (losses[i] - losses[i - 1])
    return float(round(ratios[i - 1] + share * (ratios[i] - ratios[i - 1]), 9))


def matthews(outputs: FloatArray, y: FloatArray, task: Task, *, decision: float) -> float:
    """Matthews correlation of predicted and true class, −1 to 1; 0 for a predictor that ignores its input."""
    from sklearn.metrics import matthews_corrcoef

    classes = predicted(outputs, task, decision=decision).astype(int)
    if np.unique(classes).size < 2 or np.unique(y).size < 2:
        return 0.0
    return float(matthews_corrcoef(y.astype(int), classes))
