"""Metrics agree with scikit-learn, intervals cover what they claim, and too little data is said to be so."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as oracle

from monitor.errors import BadInput, NotEnoughData
from monitor.performance import Measured, all_metrics, is_beyond, limit_of, measure, paired_difference
from monitor.performance.intervals import delong, wilson
from monitor.performance.metrics import UNKNOWN, brier_rows, recalls


def _scored(rng: np.random.Generator, n: int = 400, strength: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    y = (rng.random(n) < 0.3).astype(float)
    score = 1 / (1 + np.exp(-(strength * (2 * y - 1) + rng.normal(0, 1, n))))
    return y, np.round(score, 2).clip(0.01, 0.99)  # rounding makes ties


CLASS_ORACLES = {
    "accuracy": oracle.accuracy_score,
    "balanced_accuracy": oracle.balanced_accuracy_score,
    "precision": oracle.precision_score,
    "recall": oracle.recall_score,
    "f1": oracle.f1_score,
    "mcc": oracle.matthews_corrcoef,
}
SCORE_ORACLES = {
    "auroc": oracle.roc_auc_score,
    "auprc": oracle.average_precision_score,
    "log_loss": oracle.log_loss,
    "brier": oracle.brier_score_loss,
}
VALUE_ORACLES = {
    "rmse": oracle.root_mean_squared_error,
    "mae": oracle.mean_absolute_error,
    "mape": oracle.mean_absolute_percentage_error,
    "r2": oracle.r2_score,
    "pinball": oracle.mean_pinball_loss,
}


@pytest.mark.parametrize("seed", range(5))
def test_classification_metrics_are_those_of_scikit_learn(seed):
    y, score = _scored(np.random.default_rng(seed))
    found, predicted = all_metrics("classification", y, score=score), (score >= 0.5).astype(float)
    expected = {name: f(y, predicted) for name, f in CLASS_ORACLES.items()}
    expected |= {name: f(y, score) for name, f in SCORE_ORACLES.items()}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_regression_metrics_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y = rng.normal(10, 3, 200)
    predicted = y + rng.normal(0.5, 1, 200)
    expected = {name: f(y, predicted) for name, f in VALUE_ORACLES.items()}
    assert all_metrics("regression", y, prediction=predicted) == pytest.approx(expected, abs=1e-12)


SEVERAL_ORACLES = {
    "accuracy": oracle.accuracy_score,
    "balanced_accuracy": oracle.balanced_accuracy_score,
    "macro_f1": lambda y, predicted: oracle.f1_score(y, predicted, average="macro"),
    "mcc": oracle.matthews_corrcoef,
}


def _of_classes(rng: np.random.Generator, k: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    y = rng.choice(k, n, p=rng.dirichlet(np.full(k, 2.0))).astype(float)
    return y, np.where(rng.random(n) < 0.6, y, rng.integers(0, k, n)).astype(float)


@pytest.mark.parametrize("k", [2, 3, 5, 20])
def test_metrics_of_several_classes_are_those_of_scikit_learn(k):
    y, predicted = _of_classes(np.random.default_rng(k), k)
    expected = {name: f(y, predicted) for name, f in SEVERAL_ORACLES.items()}
    assert all_metrics("multiclass", y, prediction=predicted) == pytest.approx(expected, abs=1e-12)
    by_class = oracle.recall_score(y, predicted, average=None, labels=sorted(set(y)))
    assert list(recalls(y, predicted).values()) == pytest.approx(list(by_class), abs=1e-12)


def test_a_label_that_is_none_of_the_classes_is_wrong_for_every_prediction():
    y = np.array([0.0, 1.0, 2.0, UNKNOWN, UNKNOWN] * 10)
    found = measure("multiclass", y, prediction=np.array([0.0, 1.0, 2.0, 1.0, UNKNOWN] * 10))
    assert (found.name, found.value) == ("accuracy", 0.6)
    assert (found.low, found.high) == pytest.approx(wilson(30, 50))
    assert recalls(y, np.zeros(50)) == {0: 1.0, 1: 0.0, 2: 0.0}


def test_several_classes_need_the_predicted_class_and_a_metric_of_theirs():
    y = np.arange(60) % 3.0
    with pytest.raises(BadInput, match="expected the predicted class of a model of several classes, got none"):
        measure("multiclass", y, score=np.full(60, 0.5))
    with pytest.raises(BadInput, match="auroc is no metric for multiclass: choose one of accuracy"):
        measure("multiclass", y, prediction=y, metric="auroc")
    with pytest.raises(BadInput, match="expected class numbers from 0"):
        measure("multiclass", y + 0.5, prediction=y)
    with pytest.raises(NotEnoughData, match="expected rows of at least two classes, got 60 with labels of 1"):
        measure("multiclass", np.zeros(60), prediction=y)


def test_squared_errors_of_probabilities_are_the_same_for_two_classes_written_either_way():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 50).astype(float), rng.random(50)
    assert brier_rows(y, np.column_stack([1 - p, p])) == pytest.approx(brier_rows(y, p), abs=1e-12)


def test_a_paired_difference_of_several_classes_is_that_of_their_accuracies():
    rng = np.random.default_rng(2)
    y, worse = _of_classes(rng, 4, 1_000)
    better = np.where(rng.random(1_000) < 0.8, y, worse)
    found = paired_difference(y, worse, better, "accuracy", several=True)
    assert found.value == pytest.approx(np.mean(y == better) - np.mean(y == worse))
    assert 0 < found.low < found.value < found.high


def test_one_class_leaves_out_what_compares_classes_and_nothing_is_nan():
    found = all_metrics("classification", np.zeros(50), score=np.full(50, 0.2))
    assert {"auroc", "auprc", "mcc", "recall"}.isdisjoint(found)
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(("hits", "n"), [(0, 12), (7, 12), (12, 12), (480, 500)])
def test_wilson_is_scipys(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_delongs_variance_is_that_of_the_placement_values():
    y, score = _scored(np.random.default_rng(3), n=60)
    ones, zeros = score[y == 1], score[y == 0]
    wins = (ones[:, None] > zeros) + 0.5 * (ones[:, None] == zeros)
    error = math.sqrt(wins.mean(1).var(ddof=1) / ones.size + wins.mean(0).var(ddof=1) / zeros.size)
    area, (low, high) = delong(y, score)
    logit, half = math.log(area / (1 - area)), 1.959964 * error / (area * (1 - area))
    assert (low, high) == pytest.approx((1 / (1 + math.exp(half - logit)), 1 / (1 + math.exp(-half - logit))), abs=1e-7)


@pytest.mark.parametrize(
    ("metric", "truth"), [("auroc", 0.9213504), ("accuracy", 0.8413447), ("rmse", 2.0), ("mae", 1.5957691)]
)
def test_nineteen_of_twenty_intervals_hold_the_truth(metric, truth):
    rng, held = np.random.default_rng(11), 0
    for _ in range(400):
        if metric in {"rmse", "mae"}:
            y = rng.normal(0, 2, 300)
            found = measure("regression", y, prediction=np.zeros(300), metric=metric)
        else:
            y = (rng.random(300) < 0.3).astype(float)  # AUROC Φ(√2), accuracy Φ(1) for two normals two σ apart
            score = 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(0, 1, 300))))
            found = measure("classification", y, score=score, metric=metric)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_a_perfect_separation_still_has_an_interval():
    y = np.repeat([0.0, 1.0], [80, 20])
    found = measure("classification", y, score=y)
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.8 < found.low < 0.9


def test_the_metric_follows_from_what_is_given():
    y, score = _scored(np.random.default_rng(0))
    assert measure("classification", y, score=score).name == "auroc"
    assert measure("classification", y, prediction=score >= 0.5).name == "accuracy"
    assert measure("regression", y, prediction=score).name == "rmse"


@pytest.mark.parametrize("metric", ["f1", "mcc", "auprc", "balanced_accuracy"])
def test_a_bootstrap_interval_holds_its_value_and_repeats_with_its_seed(metric):
    y, score = _scored(np.random.default_rng(0))
    one, again = (measure("classification", y, score=score, metric=metric, seed=4) for _ in range(2))
    assert one == again
    assert one.low < one.value < one.high


def test_too_few_rows_or_one_class_are_not_enough_to_judge():
    with pytest.raises(NotEnoughData, match="at least 30 rows"):
        measure("classification", np.ones(10), score=np.ones(10))
    with pytest.raises(NotEnoughData, match="at least 10 rows of each class, got 0"):
        measure("classification", np.ones(100), score=np.ones(100))


@pytest.mark.parametrize(
    ("y", "score"), [([0.0, 2.0] * 20, [0.5] * 40), ([0.0, 1.0] * 20, [0.5] * 39), ([0.0, 1.0] * 20, [np.nan] * 40)]
)
def test_labels_shapes_and_missing_scores_are_refused(y, score):
    with pytest.raises(BadInput):
        measure("classification", y, score=score)


def test_a_paired_difference_sees_what_two_intervals_hide():
    rng = np.random.default_rng(1)
    y, score = _scored(rng, n=1500)
    worse = (score + rng.normal(0, 0.1, 1500)).clip(0, 1)
    a, b = measure("classification", y, score=score), measure("classification", y, score=worse)
    found = paired_difference(y, score, worse, "auroc", seed=0)
    assert found.value == pytest.approx(b.value - a.value, abs=1e-12)
    assert b.high > a.low
    assert found.high < 0


def test_a_scoring_does_not_differ_from_itself():
    y, score = _scored(np.random.default_rng(2))
    found = paired_difference(y, score, score, "auroc", seed=0, resamples=20)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_tolerance_is_two_points_of_auc_or_a_tenth_of_an_error():
    auc = Measured(name="auroc", value=0.91, low=0.89, high=0.93, n=500, higher_is_better=True)
    error = Measured(name="rmse", value=10.0, low=9.0, high=11.0, n=500, higher_is_better=False)
    assert (limit_of(auc), limit_of(error)) == (pytest.approx(0.89), pytest.approx(11.0))
    assert limit_of(auc, setting=0.85) == 0.85
    with pytest.raises(BadInput, match="worse side"):
        limit_of(auc, setting=0.95)


def test_only_an_interval_that_lies_wholly_beyond_the_limit_is_beyond():
    auc = Measured(name="auroc", value=0.86, low=0.84, high=0.88, n=500, higher_is_better=True)
    error = Measured(name="rmse", value=12.0, low=11.5, high=12.5, n=500, higher_is_better=False)
    assert is_beyond(auc, 0.89)
    assert not is_beyond(auc, 0.87)
    assert is_beyond(error, 11.0)
    assert not is_beyond(error, 12.0)


def test_a_figure_survives_storage():
    auc = Measured(name="auroc", value=0.91, low=0.89, high=0.93, n=500, higher_is_better=True)
    assert Measured.from_document({**auc.to_document(), "coverage": 0.9}) == auc
