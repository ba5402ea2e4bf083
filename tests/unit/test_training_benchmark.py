import numpy as np
import pytest

from benchmarks.attack_cost.worlds import DataMissing, data_folder
from benchmarks.training_cost.goals import goals_of, summary
from benchmarks.training_cost.tables import MUTABLE, NAMES, split


def measured(method: str, *, seed: int, robust: float, clean: float = 0.8, noise: float = 0.04, seconds: float = 2.0):
    levels = {"S1": robust, "S2": robust}
    return {
        "table": "t", "seed": seed, "method": method, "clean_auc": clean, "pooled_auc_loss": noise, "ece": 0.01,
        "robust_auc": levels, "worst_recall": levels, "certified_and_broken": 0, "train_seconds": seconds,
        "validation_seconds": 1.0,
    }  # fmt: skip


ROWS = [
    row
    for seed in (1, 2)
    for row in (
        measured("standard", seed=seed, robust=0.60),
        measured("noise", seed=seed, robust=0.64),
        measured("hardened", seed=seed, robust=0.69, clean=0.795, noise=0.03, seconds=3.0),
        measured("pgd", seed=seed, robust=0.70, seconds=16.0),
    )
]


def test_goals_are_shares_and_points_of_the_means_over_seeds():
    found = {goal.name: goal for goal in goals_of(ROWS)}
    share = found["t: share of PGD-10(S2)'s gain of robust AUC at S2"]
    assert (share.value, share.met) == (pytest.approx(0.9), False)
    assert found["t: training time, × standard"].value == pytest.approx(1.5)
    assert found["t: loss of clean AUC, points"].value == pytest.approx(0.5)
    assert not found["t: loss of clean AUC, points"].met
    assert found["t: robust AUC at S2 over noise-only, points"].value == pytest.approx(5.0)
    assert found["mean: pooled AUC loss under noise, share of standard's"].value == pytest.approx(0.75)


def test_goals_without_their_methods_are_left_out_and_costs_are_relative():
    alone = [row for row in ROWS if row["method"] == "standard"]
    assert [goal.name for goal in goals_of(alone)] == ["certified and broken rows in 2 stress tests"]
    assert summary(ROWS)["t"]["pgd"]["cost"] == pytest.approx(8.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_split_repeats_and_shares_no_row_between_training_and_test(name):
    try:
        data_folder()
    except DataMissing:
        pytest.skip("needs HOLDFAST_DATA: the folder with the real data sets")
    one, again, other = (split(name, seed, trained_on=2_000, tested_on=1_000) for seed in (1, 1, 2))
    assert np.array_equal(one.x_train, again.x_train, equal_nan=True)
    assert not np.array_equal(one.y_test, other.y_test)
    assert {feature.name for feature in one.schema.features if feature.mutable} == set(MUTABLE[name])
    assert 0.1 < one.y_test.mean() < 0.5
