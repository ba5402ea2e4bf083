import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from monitor.errors import BadInput, NotEnoughData, NotFound
from monitor.robustness import Plan, Task, ThreatModel, run_campaign
from monitor.robustness.scoring import auc
from monitor.schema import Schema
from monitor.training import RECIPES, Cancelled, build, factory, train, weights_sha256

QUICK = dataclasses.replace(RECIPES["standard"], epochs=4, min_steps=60)


def table(n: int = 1_500, seed: int = 0) -> tuple[Schema, np.ndarray, np.ndarray]:
    """Payments whose class follows a strong, stable feature and a weak one that is easy to push."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    frame = pd.DataFrame(
        {
            "stable": y + rng.normal(0, 1.0, n),
            "pushed": 0.3 * y + rng.normal(0, 0.3, n),
            "channel": np.where(rng.random(n) < 0.2 + 0.3 * y, "web", "app"),
        }
    )
    frame.loc[rng.random(n) < 0.05, "stable"] = np.nan
    schema = Schema.infer(frame, mutable=["pushed"])
    return schema, schema.encode(frame), y.astype(float)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_trained_network_ranks_new_rows():
    schema, X, y = table()
    trained = train(X, y, schema, task="binary", recipe="standard")
    _, new, truth = table(seed=1)
    with torch.inference_mode():
        assert auc(trained.model(torch.from_numpy(new)).numpy().astype(float), truth) > 0.83  # the best possible is .86


def test_the_same_inputs_give_the_same_weights_and_another_seed_gives_others():
    schema, X, y = table(600)
    recipe = dataclasses.replace(QUICK, name="mixed", noise=0.3, attacked=0.3)
    threat = ThreatModel.from_schema(schema, X)
    hashes = [
        train(X, y, schema, task="binary", recipe=recipe, threat=threat, seed=seed).weights_sha256 for seed in (7, 7, 8)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_training_leaves_the_global_random_state_alone():
    schema, X, y = table(300)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(X, y, schema, task="binary", recipe=QUICK)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.slow
def test_hardening_raises_robust_auc_on_mutable_features():
    schema, X, y = table(3_000)
    threat = ThreatModel.from_schema(schema, X)
    _, new, truth = table(1_500, seed=2)
    robust = {}
    for recipe in ("standard", "hardened"):
        trained = train(X, y, schema, task="binary", recipe=recipe, threat=threat)
        report = run_campaign(trained.model, new, truth, threat, plan=Plan(rows=1_500, levels=("S4",)))
        robust[recipe] = report.levels[0].robust_auc
    assert robust["hardened"] > robust["standard"] + 0.01


def test_progress_tells_each_epoch_with_clean_and_robust_validation():
    schema, X, y = table(600)
    heard = []
    threat = ThreatModel.from_schema(schema, X)
    trained = train(X, y, schema, task="binary", recipe=QUICK, threat=threat, progress=heard.append)
    assert tuple(heard) == trained.history
    assert [one.epoch for one in heard] == list(range(1, len(heard) + 1))
    assert all(one.robust_loss >= one.clean_loss - 0.1 for one in heard)
    assert any(one.kept for one in heard)


def test_a_training_stops_when_asked_to():
    schema, X, y = table(300)
    with pytest.raises(Cancelled, match="epoch 1 of"):
        train(X, y, schema, task="binary", recipe=QUICK, should_stop=lambda: True)


def test_regression_answers_in_raw_units():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(0, 1, 1_000), "z": rng.normal(0, 1, 1_000)})
    schema = Schema.infer(frame)
    y = 5_000 + 800 * frame["x"].to_numpy() + 10 * rng.normal(size=1_000)
    encoded = schema.encode(frame)
    model = train(encoded, y, schema, task="regression", recipe="standard", allow_leaks=["x"]).model
    with torch.inference_mode():
        error = (model(torch.from_numpy(schema.encode(frame))).numpy() - y).std()
    assert error < 0.1 * y.std()


def test_multiclass_separates_three_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1_000)
    frame = pd.DataFrame({"x": 4.0 * y + rng.normal(size=1_000), "z": rng.normal(size=1_000)})
    schema = Schema.infer(frame)
    trained = train(schema.encode(frame), y, schema, task=Task.MULTICLASS, recipe="standard")
    with torch.inference_mode():
        right = trained.model(torch.from_numpy(schema.encode(frame))).argmax(dim=1).numpy() == y
    assert trained.settings["classes"] == 3
    assert right.mean() > 0.9


def test_a_category_that_never_occurred_adds_nothing():
    schema, X, y = table(600)
    model = train(X, y, schema, task="binary", recipe=QUICK).model
    assert torch.equal(model.network[0].weight[:, ~model.preprocess.seen].abs().sum(), torch.tensor(0.0))


def test_the_provenance_holds_what_repeats_the_training():
    schema, X, y = table(300)
    trained = train(X, y, schema, task="binary", recipe=QUICK, seed=5, inputs={"code": "abc"})
    document = trained.provenance.to_document()
    assert document["weights_sha256"] == weights_sha256(trained.model)
    assert (document["seed"], document["rows"], document["inputs"]) == (5, 300, {"code": "abc"})
    assert len(document["data_sha256"]) == 64


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (lambda X, y: (X, np.ones_like(y)), BadInput, "at least two different targets, got only 1"),
        (lambda X, y: (X[:20], y[:20]), NotEnoughData, "at least 100 labelled rows to train on, got 20"),
        (lambda X, y: (X, np.where(np.arange(len(y)) < 3, np.nan, y)), BadInput, "got 3 missing ones"),
        (lambda X, y: (X, 2 * y), BadInput, "binary targets 0 and 1, got 0, 2"),
        (lambda X, y: (X[:, :2], y), BadInput, r"rows \(n, 3\)"),
        (lambda X, y: (X, (np.arange(len(y)) < 2).astype(float)), NotEnoughData, "at least 5 rows of every class"),
    ],
)
def test_unusable_data_are_refused_in_a_sentence(spoil, error, sentence):
    schema, X, y = table(300)
    with pytest.raises(error, match=sentence):
        train(*spoil(X, y), schema, task="binary", recipe=QUICK)


def test_a_hardened_recipe_without_a_threat_model_is_refused():
    schema, X, y = table(300)
    with pytest.raises(BadInput, match="hand in a threat model"):
        train(X, y, schema, task="binary", recipe="hardened")


def test_only_allowed_factories_and_known_settings_build_networks():
    schema, _, _ = table(100)
    with pytest.raises(NotFound, match=r"allowed are holdfast\.tabular"):
        factory("os.system")
    with pytest.raises(BadInput, match="network settings"):
        build(schema.to_document(), Task.BINARY, {"network": "transformer"})
