"""Paired intervals, gaps between groups and slices that get worse, against closed forms and planted differences."""

import numpy as np
import pandas as pd
import pytest

from monitor.jobs.compare_child import Measurements
from monitor.jobs.gate_figures import (
    Shown,
    SideBySide,
    calibration_error,
    differences_of,
    fairness_of,
    slices_of,
)
from monitor.performance.fairness import enough, largest_gap, rates
from monitor.performance.groups import groups_of
from monitor.performance.metrics import Task, auroc, recall
from monitor.performance.slices import worse_slices
from monitor.schema import Schema

ROWS = 4_000


def _world(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"channel": rng.choice(["app", "web"], ROWS), "age": rng.normal(40, 10, ROWS)})
    probability = rng.uniform(size=ROWS)
    return frame, (rng.uniform(size=ROWS) < probability).astype(float), probability


def _beside(frame: pd.DataFrame, y: np.ndarray, old: np.ndarray, new: np.ndarray) -> SideBySide:
    shown = [Shown(said=said, decided=(said > 0.5).astype(float)) for said in (old, new)]
    return SideBySide(
        frame=frame, schema=Schema.infer(frame), y=y, old=shown[0], new=shown[1], task=Task.CLASSIFICATION
    )


def test_every_row_is_in_one_group_of_a_feature():
    frame, _, _ = _world()
    frame.loc[:50, ["channel", "age"]] = [None, np.nan]
    for feature in frame.columns:
        groups = groups_of(frame, Schema.infer(frame), feature)
        assert np.array_equal(np.sum([group.rows for group in groups], axis=0), np.ones(ROWS))
    assert [group.name for group in groups_of(frame, Schema.infer(frame), "channel")] == [
        "= app", "= web", "is missing",
    ]  # fmt: skip


def test_the_gap_is_the_difference_of_the_groups_own_rates():
    frame, y, probability = _world()
    called = (probability > 0.5).astype(float)
    true_positive, positive = rates(y, called, task=Task.CLASSIFICATION)
    groups = groups_of(frame, Schema.infer(frame), "channel")
    gap = largest_gap(groups, true_positive)
    by_hand = pd.Series(called[y == 1]).groupby(frame["channel"].to_numpy()[y == 1]).mean()
    assert gap.value == pytest.approx(by_hand.max() - by_hand.min())
    assert gap.lowest == f"= {by_hand.idxmin()}"
    assert largest_gap(groups, positive).value == pytest.approx(
        np.ptp(pd.Series(called).groupby(frame["channel"].to_numpy()).mean())
    )


def test_a_group_of_few_rows_decides_nothing():
    frame, y, probability = _world()
    frame.loc[:9, "channel"] = "kiosk"
    (rate, *_) = rates(y, (probability > 0.5).astype(float), task=Task.CLASSIFICATION)
    kept = enough(groups_of(frame, Schema.infer(frame), "channel"), rate)
    assert [group.name for group in kept] == ["= app", "= web"]


def test_a_candidate_that_finds_fewer_of_one_group_widens_the_gap_significantly():
    frame, y, probability = _world()
    unfair = np.where(frame["channel"] == "web", probability - 0.2, probability)
    for figure in fairness_of(_beside(frame, y, probability, unfair), ["channel"]):
        gap = figure.candidate.value - figure.champion.value
        assert figure.difference[0] < gap < figure.difference[1]
        assert figure.difference[0] > 0.02
        assert figure.candidate.lowest == "= web"


def test_a_feature_that_is_not_there_is_not_measured():
    frame, y, probability = _world()
    assert {one.candidate for one in fairness_of(_beside(frame, y, probability, probability), ["sex"])} == {None}


def test_a_planted_loss_is_worst_where_it_is_and_in_no_other_quarter():
    frame, y, probability = _world()
    old_people = frame["age"] > frame["age"].quantile(0.75)
    worse = np.where(old_people, 0.5, probability)
    found, *others = slices_of(_beside(frame, y, probability, worse))
    assert (found["feature"], found["n"]) == ("age", int(old_people.sum()))
    assert 0 < found["low"] < found["value"] < found["high"]
    assert found["sentence"].startswith("age above 46.")
    assert {one["feature"] for one in others} <= {"channel"}  # whose levels share those rows


def test_equal_candidates_show_a_worse_slice_in_at_most_a_twentieth_of_comparisons():
    hits = 0
    for seed in range(300):
        frame, _, _ = _world(seed)
        rng = np.random.default_rng([1, seed])
        groups = [g for name in frame.columns for g in groups_of(frame, Schema.infer(frame), name)]
        losses = rng.exponential(size=(2, ROWS))
        hits += bool(worse_slices(groups, losses[0], losses[1], loss="loss"))
    assert hits <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)


def _attacked(scores: np.ndarray, rows: np.ndarray) -> Measurements:
    return Measurements(
        learned=scores, held=scores, report={}, headline=None, stream={}, reality_cap=None, latency_p95_ms=1.0,
        attacked=scores[rows], attacked_rows=rows, threshold=0.5,
    )  # fmt: skip


def test_worst_case_figures_are_paired_where_both_were_attacked_on_the_same_rows():
    frame, y, probability = _world()
    noisy, rows = probability + np.random.default_rng(3).normal(0, 0.3, ROWS), np.arange(0, ROWS, 4)
    both = _beside(frame, y, noisy, probability)
    found = differences_of(both, _attacked(noisy, rows), _attacked(probability, rows))
    truth = y[rows]
    area = auroc(truth, probability[rows]) - auroc(truth, noisy[rows])
    assert found["robust_auc_s2"][0] < area < found["robust_auc_s2"][1]
    finds = [recall(truth, (said[rows] > 0.5).astype(float)) for said in (noisy, probability)]
    assert found["worst_recall_s2"][0] < finds[1] - finds[0] < found["worst_recall_s2"][1]
    others = differences_of(both, _attacked(noisy, rows[:-1]), _attacked(probability, rows))
    assert set(found) - set(others) == {"robust_auc_s2", "worst_recall_s2"}


def test_a_paired_interval_is_narrower_than_two_separate_ones():
    frame, y, probability = _world()
    shifted = np.clip(probability + 0.01, 0, 1)
    found = differences_of(_beside(frame, y, probability, shifted), None, _attacked(shifted, np.arange(9)))
    low, high = found["positive_rate"]
    assert high - low < 0.01 < 2 * 1.96 * np.sqrt(0.25 / ROWS)


def test_of_several_classes_accuracy_is_compared_between_groups():
    y, found = np.array([0.0, 1.0, 2.0, 2.0]), np.array([0.0, 2.0, 2.0, 1.0])
    (rate,) = rates(y, found, task=Task.MULTICLASS)
    assert (rate.name, rate.values.tolist(), rate.counted.all()) == ("accuracy", [1.0, 0.0, 1.0, 0.0], True)


def test_several_classes_are_calibrated_where_the_likeliest_is_right_as_often_as_it_says():
    rng = np.random.default_rng(0)
    chances = rng.dirichlet([1.0, 1.0, 1.0], 20_000)
    y = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).astype(np.float64)
    assert calibration_error(y, chances) < 0.01
    sure = chances**3 / (chances**3).sum(axis=1, keepdims=True)
    assert calibration_error(y, sure) > 0.15
