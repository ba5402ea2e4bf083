import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.robustness import Task
from monitor.schema import Schema
from monitor.training import RECIPES, suspected_leaks, train
from monitor.training.checks import degenerate
from monitor.training.families import LARGEST, family_weights, with_least


def rows_and_classes(n: int = 4_000, share: float = 0.3) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    y = (rng.random(n) < share).astype(float)
    honest = {"amount": y + rng.normal(0, 1, n), "channel": np.where(rng.random(n) < 0.3 + 0.3 * y, "web", "app")}
    return pd.DataFrame(honest), y


def leaks(frame: pd.DataFrame, y: np.ndarray, task: str = "binary") -> dict[str, str]:
    schema = Schema.infer(frame)
    return {leak.feature: leak.measure for leak in suspected_leaks(schema.encode(frame), y, schema, task)}


def test_honest_features_and_identifiers_are_not_suspected():
    frame, y = rows_and_classes()
    frame["id"] = [f"c{k}" for k in range(len(frame))]
    frame["row"] = np.arange(len(frame), dtype=float)
    assert leaks(frame, y) == {}


@pytest.mark.parametrize(
    ("column", "measure"),
    [
        (lambda y, rng: np.where(y == 1, "written off", "paid"), "auroc"),
        (lambda y, rng: 5.0 + 90 * y + rng.normal(0, 1, len(y)), "auroc"),
        (lambda y, rng: np.abs(y - 0.5 + rng.normal(0, 0.01, len(y))) * np.where(y == 1, 1, -1), "auroc"),
        (lambda y, rng: np.where(y == 1, rng.normal(0, 1, len(y)), np.nan), "auroc"),
        (lambda y, rng: np.where(y == 1, rng.choice([-9.0, 9.0], len(y)), rng.normal(0, 1, len(y))), "auroc"),
    ],
    ids=["level", "number", "sign", "missingness", "both ends"],
)
def test_a_feature_that_is_the_target_in_disguise_is_suspected(column, measure):
    frame, y = rows_and_classes()
    frame["leak"] = column(y, np.random.default_rng(1))
    assert leaks(frame, y) == {"leak": measure}


def test_missingness_that_is_a_rare_class_is_suspected():
    frame, y = rows_and_classes(20_000, share=0.01)
    rng = np.random.default_rng(1)
    frame["closed"] = np.where(y == 1, rng.normal(0, 1, len(y)), np.nan)
    frame.loc[np.flatnonzero(y == 1)[:2], "closed"] = np.nan
    assert set(leaks(frame, y)) == {"closed"}


def test_leaks_are_found_for_values_and_for_several_classes():
    rng = np.random.default_rng(0)
    y = rng.lognormal(3, 1, 3_000)
    frame = pd.DataFrame({"cents": np.round(100 * y), "near": y * rng.lognormal(0, 0.2, 3_000)})
    assert leaks(frame, y, "regression") == {"cents": "r2"}
    classes = rng.integers(0, 3, 3_000)
    named = pd.DataFrame(
        {"outcome": np.array(["a", "b", "c"])[classes], "half": (classes == 1) + rng.normal(0, 1, 3_000)}
    )
    assert leaks(named, classes.astype(float), "multiclass") == {"outcome": "auroc"}


def test_a_leak_stops_the_training_unless_it_is_allowed_by_name():
    frame, y = rows_and_classes(600)
    frame["chargeback"] = y
    schema = Schema.infer(frame)
    given = {"task": "binary", "recipe": "standard"}
    with pytest.raises(
        BadInput, match=r"chargeback alone predicts the target with an AUC of 1\.000: is it written after"
    ):
        train(schema.encode(frame), y, schema, **given)
    with pytest.raises(BadInput, match="the schema has, got chargebacks"):
        train(schema.encode(frame), y, schema, **given, allow_leaks=["chargebacks"])
    trained = train(schema.encode(frame), y, schema, **given, allow_leaks=["chargeback"])
    assert trained.provenance.to_document()["allow_leaks"] == ("chargeback",)


def test_labels_that_are_all_missing_are_told_apart():
    frame, _ = rows_and_classes(300)
    schema = Schema.infer(frame)
    with pytest.raises(BadInput, match="all 300 labels are missing: wait for labels"):
        train(schema.encode(frame), np.full(300, np.nan), schema, task="binary", recipe="standard")


def test_features_that_say_nothing_give_no_candidate():
    y = np.random.default_rng(0).integers(0, 2, 300).astype(float)
    schema = Schema.infer(pd.DataFrame({"constant": np.zeros(300)}))
    with pytest.raises(BadInput, match="learned nothing: it gives every row the same output"):
        train(np.zeros((300, 1)), y, schema, task="binary", recipe=RECIPES["standard"])


@pytest.mark.parametrize(
    ("outputs", "task", "sentence"),
    [
        (np.full(200, -1.2), Task.BINARY, "the same output"),
        (np.where(np.arange(200) < 3, 2.0, -1.0), Task.BINARY, "one output, so it predicts one class"),
        (np.where(np.arange(200) < 3, np.nan, -1.0), Task.BINARY, "no finite output"),
        (np.column_stack([np.linspace(3, 4, 200), np.zeros(200)]), Task.MULTICLASS, "predicts class 0 for every row"),
        (np.full(200, 7.0), Task.REGRESSION, "the same output, 7"),
    ],
)
def test_a_network_that_answers_everything_alike_is_degenerate(outputs, task, sentence):
    y = np.tile([0.0, 1.0], 100)
    assert sentence in str(degenerate(outputs, y, task))


def test_an_honest_network_on_rare_positives_is_not_degenerate():
    rng = np.random.default_rng(0)
    y = (rng.random(2_000) < 0.01).astype(float)
    assert degenerate(-4 + y + rng.normal(0, 0.5, 2_000), y, Task.BINARY) is None


def report(drops: dict[str, float], clean: float = 0.9) -> dict[str, object]:
    noise = [{"family": f, "severity": s, "auc": clean - d, "quality": 0.8} for f, d in drops.items() for s in (1, 5)]
    return {"task": "binary", "clean_auc": clean, "noise": noise}


def test_families_are_weighted_by_what_they_cost_and_none_is_forgotten():
    weights = family_weights(report({"gaussian": 0.01, "missing": 0.06, "category_swap": 0.03}))
    assert weights == {"gaussian": 0.1, "missing": 0.6, "category_swap": 0.3}
    assert family_weights(report({"gaussian": -0.1})) == family_weights({}) == with_least({})
    alone = family_weights(report({"unit_x10": 0.3}))
    assert alone["gaussian"] == max(alone.values())
    assert min(alone.values()) == pytest.approx(0.1)


def test_weights_of_a_regression_come_from_the_growth_of_its_error():
    noise = [{"family": "missing", "auc": None, "quality": 3.0}, {"family": "gaussian", "auc": None, "quality": 2.0}]
    weights = family_weights({"task": "regression", "clean_auc": None, "clean": 1.0, "noise": noise})
    assert weights["missing"] / weights["gaussian"] == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("weights", [{"earthquake": 1.0}, {"gaussian": -1.0}, {"gaussian": float("nan")}])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(BadInput, match="weights of"):
        with_least(weights)


def test_the_families_drawn_are_in_the_provenance():
    frame, y = rows_and_classes(400)
    schema = Schema.infer(frame)
    given = {"missing": 0.8}
    families = train(schema.encode(frame), y, schema, task="binary", recipe="noise", families=given).provenance.families
    assert set(families) == set(LARGEST)
    assert families["missing"] == pytest.approx(0.8)
