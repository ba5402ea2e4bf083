import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from monitor.artifacts import Store, attach_trained, load_model
from monitor.errors import BadInput, NotFound
from monitor.robustness import Task, ThreatModel, run_campaign
from monitor.robustness.certify import certified
from monitor.robustness.plan import Plan
from monitor.robustness.scoring import auc
from monitor.robustness.target import Target
from monitor.schema import Schema
from monitor.training import FACTORIES, RECIPES, Preprocess, Trained, build, train
from monitor.training.loop import held_out_outputs

SHORT = dataclasses.replace(RECIPES["hardened"], epochs=4, min_steps=400, max_steps=400)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def table(n: int = 1_000) -> tuple[Schema, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(0, 1, n)})
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * frame["a"]))).astype(float)
    schema = Schema.infer(frame, mutable=["a"])
    return schema, schema.encode(frame), y


def fitted(network: Mapping[str, Any], factories: Mapping[str, Any] = FACTORIES, **settings: Any) -> Trained:
    schema, X, y = table()
    threat = ThreatModel.from_schema(schema, X)
    given: dict[str, Any] = {"task": "binary", "recipe": SHORT, **settings}
    return train(X, y, schema, threat=threat, network=network, factories=factories, **given)


class Plain(nn.Module):
    """A user's network without a preprocessing of its own: drop-out, batch normalisation, two logits."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, outputs)
        )

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.layers(rows)
        return outputs


class Own(nn.Module):
    """A user's network with our preprocessing inside, one column of outputs."""

    input_dtype = torch.float64

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.preprocess = Preprocess(schema)
        self.last = nn.Linear(self.preprocess.width, 1)

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.last(self.preprocess(rows))
        return outputs


MINE = {
    "my.net:plain": lambda schema, task, settings: Plain(len(schema["features"]), **settings),
    "my.net:own": lambda schema, task, settings: Own(Schema.from_document(schema)),
    "my.net:still": lambda schema, task, settings: nn.Identity(),
    "my.net:text": lambda schema, task, settings: "a network",
    "my.net:broken": lambda schema, task, settings: 1 / 0,
}


def test_a_residual_network_learns_and_loads_back(tmp_path):
    schema, X, y = table()
    trained = fitted({"network": "resnet", "hidden": (32, 32), "width": 24})
    assert auc(held_out_outputs(trained.model, X, Task.BINARY), y) > 0.85
    store = Store(tmp_path)
    loaded = load_model(attach_trained(trained, store, schema=schema), store)
    expected = 1 / (1 + np.exp(-held_out_outputs(trained.model, X[:50], Task.BINARY)))
    np.testing.assert_allclose(loaded.predict_score(X[:50]), expected, atol=1e-6)


def test_a_residual_network_has_no_certificate_and_the_report_says_so():
    schema, X, y = table()
    model = fitted({"network": "resnet", "hidden": (16,), "width": 16}).model
    threat = ThreatModel.from_schema(schema, X)
    assert certified(Target(model, Task.BINARY), X[:50], y[:50], threat) is None
    (level,) = run_campaign(model, X[:200], y[:200], threat, plan=Plan(rows=200, levels=("S2",))).levels
    assert level.certified is None
    assert level.robust_auc is not None


def test_a_residual_block_adds_to_its_input_and_answers_rows_alone():
    schema, X, _ = table(64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(schema.to_document(), Task.BINARY, {"network": "resnet", "hidden": (8,), "width": 8}).eval()
    model.preprocess.fit(X)
    together = model(torch.from_numpy(X))
    np.testing.assert_allclose(together[:1].detach(), model(torch.from_numpy(X[:1])).detach(), atol=1e-5)
    (block,) = model.network.blocks
    nn.init.zeros_(block.narrow.weight)
    nn.init.zeros_(block.narrow.bias)
    inside = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(inside), inside)


@pytest.mark.parametrize(("name", "settings"), [("my.net:plain", {"outputs": 2}), ("my.net:own", {})])
def test_a_network_of_ones_own_is_trained_by_the_default_recipe(name, settings):
    _, X, y = table()
    trained = fitted({"factory": name, **settings}, MINE)
    assert auc(held_out_outputs(trained.model, X, Task.BINARY), y) > 0.85
    assert (trained.factory, trained.settings) == (name, settings)
    again = fitted({"factory": name, **settings}, MINE)
    assert again.weights_sha256 == trained.weights_sha256


def test_a_network_that_cannot_answer_missing_cells_gets_no_such_noise():
    assert "missing" not in fitted({"factory": "my.net:plain", "outputs": 1}, MINE).provenance.families
    assert "missing" in fitted({"factory": "my.net:own"}, MINE).provenance.families


@pytest.mark.parametrize(
    ("name", "settings", "error", "sentence"),
    [
        ("os.system", {}, NotFound, "allowed are my.net:broken"),
        ("my.net:still", {}, BadInput, "expected parameters to train"),
        ("my.net:text", {}, BadInput, "expected a torch module from factory my.net:text, got str"),
        ("my.net:broken", {}, BadInput, "factory my.net:broken failed"),
        ("my.net:plain", {"outputs": 3}, BadInput, r"expected logits \(n,\), \(n, 1\) or \(n, 2\).*my.net:plain"),
    ],
)
def test_what_a_factory_must_not_do_is_said(name, settings, error, sentence):
    with pytest.raises(error, match=sentence):
        fitted({"factory": name, **settings}, MINE)


def test_a_network_with_too_few_outputs_for_its_classes_is_refused():
    schema, X, _ = table()
    y = np.digitize(X[:, 0] + np.random.default_rng(1).normal(0, 1, len(X)), [-1.0, 1.0])
    with pytest.raises(BadInput, match="expected 3 outputs"):
        train(
            X, y, schema, task="multiclass", recipe=dataclasses.replace(SHORT, attacked=0.0, noise=0.0),
            network={"factory": "my.net:plain", "outputs": 2}, factories=MINE,
        )  # fmt: skip
