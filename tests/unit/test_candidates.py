import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from monitor.errors import JobCancelled
from monitor.jobs import train_child
from monitor.robustness import ThreatModel
from monitor.schema import Schema
from monitor.training import RECIPES, candidates, train_candidates
from monitor.training.trainer import Quality, Trained


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, recipe in list(RECIPES.items()):
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, epochs=4, min_steps=40, max_steps=40))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def table(n: int = 700) -> tuple[Schema, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(0, 1, n)})
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * frame["a"]))).astype(float)
    schema = Schema.infer(frame, mutable=["a"])
    return schema, schema.encode(frame), y


def costing(monkeypatch: pytest.MonkeyPatch, **losses: float) -> list[str]:
    """Trainings whose clean AUC is what the test says; the list of recipes that were trained."""
    ran: list[str] = []
    real = candidates.train

    def trained(*given: object, **settings: object) -> Trained:
        found = real(*given, **settings)  # type: ignore[arg-type]
        ran.append(found.recipe.name)
        quality = Quality(metric="auroc", value=0.9 - losses.get(found.recipe.name, 0.0), rows=105)
        return dataclasses.replace(found, quality=quality)

    monkeypatch.setattr(candidates, "train", trained)
    return ran


def climbed(recipe: str = "hardened") -> candidates.Candidates:
    schema, X, y = table()
    return train_candidates(X, y, schema, task="binary", recipe=recipe, threat=ThreatModel.from_schema(schema, X))


def test_a_hardened_candidate_that_costs_little_is_kept_beside_the_noise_only_one(monkeypatch):
    ran = costing(monkeypatch, hardened=0.005)
    found = climbed()
    assert [one.recipe.name for one in found.distinct] == ["hardened", "noise"]
    assert (found.fallback, found.first.provenance.fallback) == ("", "")
    assert sorted(ran) == ["hardened", "noise", "standard"]


def test_a_hardened_candidate_that_costs_too_much_gives_way_to_the_lighter_one(monkeypatch):
    costing(monkeypatch, hardened=0.0061)
    found = climbed()
    assert [one.recipe.name for one in found.distinct] == ["hardened_light", "noise"]
    assert found.fallback == found.first.provenance.fallback
    assert found.fallback == (
        "hardened cost 0.61 points of clean AUC on 105 validation rows against the standard training, more than "
        "0.50 points of clean AUC: fell back to hardened_light"
    )


def test_the_last_rung_is_noise_alone_and_trained_once(monkeypatch):
    ran = costing(monkeypatch, hardened=0.02, hardened_light=0.01, noise=0.05)
    found = climbed()
    assert found.first is found.second
    assert found.first.recipe.name == "noise"
    assert "hardened cost 2.00 points of clean AUC and hardened_light cost 1.00" in found.fallback
    assert (len(ran), found.trainings) == (4, 4)


def test_a_recipe_off_the_ladder_is_trained_as_it_is(monkeypatch):
    ran = costing(monkeypatch, pgd=0.5)
    assert [one.recipe.name for one in climbed("pgd").distinct] == ["pgd", "noise"]
    assert ran == ["pgd", "noise"]


@pytest.mark.parametrize("declared", [False, True])
def test_where_nothing_can_be_attacked_there_is_the_noise_only_candidate(declared):
    schema, X, y = table()
    threat = ThreatModel.from_schema(schema.with_mutable([]), X) if declared else None
    found = train_candidates(X, y, schema, task="binary", threat=threat)
    assert [one.recipe.name for one in found.distinct] == ["noise"]
    assert "nothing is declared mutable" in found.first.provenance.fallback


def test_a_regression_is_compared_by_the_growth_of_its_loss():
    worse, reference = (Quality(metric="loss", value=value, rows=9) for value in (1.02, 1.0))
    assert worse.loss_against(reference) == pytest.approx(0.02)


def ordered(folder: Path, recipe: str = "noise") -> Path:
    schema, X, y = table()
    folder.mkdir()
    order = train_child.Order(task="binary", recipe=recipe, seed=3, inputs={"code_version": "1"})
    train_child.write_work(folder, X, y, schema=schema, order=order)
    return folder


def test_the_child_leaves_weights_facts_and_no_half_of_them(tmp_path):
    folder = ordered(tmp_path / "a", "hardened")
    heard: list[dict[str, object]] = []
    train_child.run(folder, lambda progress: heard.append(dict(progress)))
    found = train_child.read_candidates(folder)
    assert found[-1].recipe == "noise"
    assert all(one.weights.exists() for one in found)
    assert not list(folder.glob("*.part"))
    assert json.dumps(found[0].provenance)
    done = [entry["done"] for entry in heard]
    assert done == sorted(done)
    assert max(done) <= heard[0]["total"] == 400


def test_a_child_that_is_stopped_leaves_nothing(tmp_path):
    folder = ordered(tmp_path / "a")
    before = sorted(path.name for path in folder.iterdir())

    def stop(progress: object) -> None:
        raise JobCancelled("stopped on request")

    with pytest.raises(JobCancelled):
        train_child.run(folder, stop)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.slow
def test_two_child_processes_give_the_same_weights(tmp_path):
    script = (
        "import sys, pathlib; from monitor.jobs import train_child; "
        "train_child.run(pathlib.Path(sys.argv[1]), lambda _: None)"
    )
    found = []
    for name in ("a", "b"):
        folder = ordered(tmp_path / name, "hardened")
        subprocess.run([sys.executable, "-c", script, str(folder)], check=True)
        found.append([(one.recipe, one.provenance["weights_sha256"]) for one in train_child.read_candidates(folder)])
    assert found[0] == found[1] != []
