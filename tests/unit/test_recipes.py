import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch

from monitor.errors import BadInput
from monitor.robustness import Task, ThreatModel
from monitor.robustness.scoring import auc, calibration_error
from monitor.schema import Direction, Feature, Kind, Schema
from monitor.training import RECIPES, Recipe, train
from monitor.training.curriculum import InnerAttack
from monitor.training.inner import Reach, attacked, slope_of
from monitor.training.loop import held_out_outputs
from monitor.training.losses import TrainingLoss, class_weights

SHORT = {"epochs": 4, "min_steps": 60, "max_steps": 60}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def table(n: int = 1_200, seed: int = 0, *, share: float = 0.5) -> tuple[Schema, np.ndarray, np.ndarray]:
    """Two numbers and a channel that say something of a class; the probability of the class is known."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"a": rng.normal(0, 1, n), "b": rng.normal(0, 1, n), "channel": np.where(rng.random(n) < 0.5, "web", "app")}
    )
    logit = 1.5 * frame["a"] - frame["b"] + 0.5 * (frame["channel"] == "web") + np.log(share / (1 - share))
    schema = Schema.infer(frame, mutable=["a", "b"])
    return schema, schema.encode(frame), (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)


def short(name: str, **changes: object) -> Recipe:
    return dataclasses.replace(RECIPES[name], **{**SHORT, **changes})


def targets(task: Task, y: np.ndarray, X: np.ndarray) -> np.ndarray:
    if task is Task.BINARY:
        return y
    value = 1.5 * X[:, 0] - X[:, 1] + np.random.default_rng(1).normal(0, 0.5, len(X))
    return value if task is Task.REGRESSION else np.digitize(value, [-1.0, 1.0]).astype(float)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("task", list(Task))
def test_every_recipe_learns_every_task(name, task):
    schema, X, y = table()
    y = targets(task, y, X)
    found = train(X, y, schema, task=task, recipe=short(name), threat=ThreatModel.from_schema(schema, X), seed=1)
    outputs = held_out_outputs(found.model, X, task)
    if task is Task.REGRESSION:
        assert np.corrcoef(outputs, y)[0, 1] > 0.8
    else:
        score = outputs if task is Task.BINARY else outputs[:, 2] - outputs[:, 0]
        assert auc(score, (y == y.max()).astype(float)) > 0.8
    assert found.quality.metric == ("loss" if task is Task.REGRESSION else "auroc")


@pytest.mark.parametrize("name", ["hardened", "n_fgsm", "trades", "pgd"])
def test_attacked_rows_keep_bounds_mutability_and_direction(name):
    features = (
        Feature(name="up", kind=Kind.NUMERIC, mutable=True, direction=Direction.UP, upper=1.5),
        Feature(name="free", kind=Kind.NUMERIC, mutable=True),
        Feature(name="fixed", kind=Kind.NUMERIC),
    )
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (300, 3)).clip(max=1.5)
    rows[::7, 1] = np.nan
    recipe, threat = RECIPES[name], ThreatModel.from_schema(Schema(features), rows)
    at = threat.at(recipe.level)
    slope = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = attacked(
        torch.from_numpy(rows), lambda x: torch.nan_to_num(x) * slope**2, Reach.of(at, rows), recipe, rng, ramp=1.0
    ).numpy()
    assert np.array_equal(moved[:, 2], rows[:, 2])
    assert (moved[:, 0] >= rows[:, 0]).all()
    assert (moved[:, 0] <= 1.5).all()
    assert np.array_equal(np.isnan(moved), np.isnan(rows))
    assert (moved[:, 0] > rows[:, 0]).mean() > 0.3
    low, high = at.box(rows)
    within = ((moved >= low - 1e-9) & (moved <= high + 1e-9) | np.isnan(rows)).all()
    assert within == (recipe.attack is not InnerAttack.N_FGSM)  # N-FGSM is clipped to what is possible alone


def test_pgd_reaches_the_corner_of_the_box_where_the_loss_is_linear():
    schema, X, _ = table(200)
    threat = ThreatModel.from_schema(schema, X).at("S2")
    slope = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    moved = attacked(
        torch.from_numpy(X), lambda x: slope.expand(x.shape), Reach.of(threat, X), RECIPES["pgd"],
        np.random.default_rng(0), ramp=1.0,
    ).numpy()  # fmt: skip
    low, high = threat.box(X)
    np.testing.assert_allclose(moved[:, 0], high[:, 0])
    np.testing.assert_allclose(moved[:, 1], low[:, 1])


def test_the_slope_by_network_inputs_has_the_signs_of_the_slope_by_raw_rows():
    schema, X, y = table(400)
    X = X.copy()
    X[::5, 0] = np.nan
    X[1::9, 1] = 50.0  # winsorised: no move changes the output
    trained = train(X, y, schema, task="binary", recipe=short("standard"))
    predictor = trained.model.requires_grad_(True)
    rows, harm = torch.from_numpy(X), lambda outputs: (outputs**3).sum()
    point = rows.clone().requires_grad_(True)
    (expected,) = torch.autograd.grad(harm(predictor(point)), point)
    found = slope_of(predictor, harm)(rows)
    assert torch.equal(found.sign(), torch.nan_to_num(expected).sign())
    assert 0 < float((found != 0).double().mean()) < 1


def test_the_distance_of_trades_is_the_divergence_of_the_probabilities():
    clean, moved = torch.tensor([0.3, -2.0]), torch.tensor([1.1, -2.5])
    p, q = torch.sigmoid(clean).numpy(), torch.sigmoid(moved).numpy()
    expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    assert float(TrainingLoss(task=Task.BINARY).distance(clean, moved)) == pytest.approx(expected, rel=1e-5)
    two = [torch.stack([torch.zeros(2), z], dim=1) for z in (clean, moved)]
    assert float(TrainingLoss(task=Task.MULTICLASS).distance(*two)) == pytest.approx(expected, rel=1e-5)


def test_balanced_classes_keep_the_calibration_of_rare_positives():
    schema, X, y = table(6_000, share=0.05)
    _, new, truth = table(20_000, seed=9, share=0.05)
    found = train(X, y, schema, task="binary", recipe=dataclasses.replace(RECIPES["standard"], balanced=True))
    probability = 1 / (1 + np.exp(-held_out_outputs(found.model, new, Task.BINARY)))
    assert calibration_error(probability, truth) < 0.02
    assert probability.mean() == pytest.approx(truth.mean(), abs=0.02)


def test_balanced_loss_of_the_true_odds_has_no_slope_on_average():
    y = np.array([1.0] * 10 + [0.0] * 90)
    outputs = torch.full((100,), float(np.log(10 / 90)), dtype=torch.float64, requires_grad=True)
    loss = TrainingLoss(task=Task.BINARY, weights=class_weights(y, Task.BINARY))(outputs, torch.from_numpy(y))
    (slope,) = torch.autograd.grad(loss, outputs)
    assert float(slope.sum()) == pytest.approx(0, abs=1e-6)


def test_label_smoothing_holds_the_outputs_back():
    schema, X, y = table(2_000)
    plain, smooth = (
        held_out_outputs(
            train(X, y, schema, task="binary", recipe=short("standard", label_smoothing=s)).model, X, Task.BINARY
        )
        for s in (0.0, 0.3)
    )
    assert np.abs(smooth).mean() < 0.8 * np.abs(plain).mean()
    with pytest.raises(BadInput, match="got a regression"):
        train(X, X[:, 0], schema, task="regression", recipe=short("standard", label_smoothing=0.1))


def test_feature_dropout_teaches_to_do_without_a_feature():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3_000).astype(float)
    frame = pd.DataFrame({"strong": y + rng.normal(0, 0.5, 3_000), "weak": y + rng.normal(0, 0.9, 3_000)})
    schema = Schema.infer(frame)
    X = schema.encode(frame)
    lost = X.copy()
    lost[:, 0] = np.nan
    plain, dropped = (
        auc(
            held_out_outputs(
                train(X, y, schema, task="binary", recipe=short("standard", feature_dropout=s)).model, lost, Task.BINARY
            ),
            y,
        )
        for s in (0.0, 0.3)
    )
    assert dropped >= plain - 0.005
    assert dropped > 0.77  # the best possible from the weak one alone is .78


def test_a_fifth_of_flipped_labels_hurts_the_ranking_little():
    schema, X, y = table(4_000)
    _, new, truth = table(8_000, seed=3)
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(y)) < 0.2, 1 - y, y)
    threat = ThreatModel.from_schema(schema, X)
    reached = [
        auc(held_out_outputs(train(X, of, schema, task="binary", threat=threat).model, new, Task.BINARY), truth)
        for of in (y, noisy)
    ]
    assert reached[0] - reached[1] < 0.02


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"noise": 0.7, "attacked": 0.6}, "add up to at most 1"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"level": "S9"}, "levels among S1"),
        ({"inner_steps": 0}, "one inner step"),
    ],
)
def test_impossible_recipes_are_refused(changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        Recipe(name="own", **changes)
