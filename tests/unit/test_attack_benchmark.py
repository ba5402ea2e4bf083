"""The rules by which the attack benchmark compares us with peers; no peer's environment and no real data are needed."""

import io
import json

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.attack_cost import models
from benchmarks.attack_cost.accuracy import Cell, figures
from benchmarks.attack_cost.goals import goals_of
from benchmarks.attack_cost.models import network, times, trained
from benchmarks.attack_cost.scoring import score, settle
from benchmarks.attack_cost.worlds import world
from benchmarks.peer_attack import exchange
from benchmarks.peer_attack.relations import satisfied, violation
from monitor.robustness.threat_model import ThreatModel

NAMES = ("paid", "billed", "both")
BOX = ThreatModel.linf(epsilon=0.5)


def threshold_at(value: float) -> nn.Sequential:
    """Two logits of one feature: class 1 above the value."""
    layer = nn.Linear(1, 2).requires_grad_(False)
    layer.weight.copy_(torch.tensor([[0.0], [1.0]]))
    layer.bias.copy_(torch.tensor([value, 0.0]))
    return nn.Sequential(layer)


def cell(**changed: object) -> Cell:
    plain = {
        "model": "credit, standard", "seed": 1, "epsilon": 0.1, "clean": 0.9, "peer": "art PGD-40", "ours": 0.5,
        "theirs": 0.5, "our_calls": 30.0, "their_calls": 40.0, "our_seconds": 1.0, "their_seconds": 2.0,
        "our_refused": 0, "their_refused": 0,
    }  # fmt: skip
    return Cell(**(plain | changed))


def test_a_world_is_drawn_by_its_seed_alone():
    first, again, other = world("digits", 1), world("digits", 1), world("digits", 2)
    assert np.array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


def test_rows_to_attack_are_no_rows_to_train_on():
    of = world("digits", 1)
    both = np.concatenate([of.x_train, of.x])
    assert len(of.x) == 1_000
    assert len(both) == 1_797


def test_training_is_repeatable_and_hardening_changes_it(monkeypatch):
    monkeypatch.setitem(models.EPOCHS, "digits", 2)
    of = world("digits", 1)
    first, again, hard = (trained(of, kind, 1)[0].weight for kind in ("standard", "standard", "hardened"))
    assert torch.equal(first, again)
    assert not torch.equal(first, hard)


def test_confident_logits_are_the_same_classifier():
    model, rows = network((3, 8, 2)), torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(times(model, 1_000.0)(rows), 1_000 * model(rows), rtol=1e-4)


def test_a_row_within_the_box_counts_as_broken():
    scored = score(threshold_at(1.0), np.array([[1.2]]), np.array([[0.8]]), np.array([1.0]), BOX)
    assert (scored.robust_accuracy, scored.refused) == (0.0, 0)


def test_an_infeasible_answer_is_refused_and_counts_as_unbroken():
    scored = score(threshold_at(1.0), np.array([[1.7]]), np.array([[0.9]]), np.array([1.0]), BOX)
    assert (scored.robust_accuracy, scored.refused) == (1.0, 1)


def test_a_row_that_was_wrong_stays_wrong_whatever_the_answer():
    scored = score(threshold_at(1.0), np.array([[0.9]]), np.array([[1.2]]), np.array([1.0]), BOX)
    assert scored.robust_accuracy == 0.0


def test_only_rounding_is_cut_off():
    settled = settle(np.zeros((2, 1)), np.array([[0.500001], [0.6]]), BOX)
    assert settled.ravel().tolist() == [0.5, 0.6]


@pytest.mark.parametrize("standardised", [False, True])
def test_a_saved_model_comes_back_with_the_same_outputs(tmp_path, standardised: bool):
    model: nn.Module = network((3, 8, 2)).requires_grad_(False)
    if standardised:
        model = exchange.Standardised(torch.ones(3), torch.full((3,), 2.0), model)
    x = np.random.default_rng(0).normal(size=(5, 3))
    exchange.save(tmp_path, model, x, np.ones(5), lower=-1.0, upper=2.0)
    case = exchange.load(tmp_path)
    assert torch.equal(case.model(torch.from_numpy(x).float()), model(torch.from_numpy(x).float()))
    assert (case.lower, case.upper) == (-1.0, 2.0)


def test_a_peer_answers_question_by_question_and_survives_a_failure(tmp_path, monkeypatch, capsys):
    exchange.save(tmp_path, network((1, 2)), np.ones((4, 1)), np.ones(4), lower=0.0, upper=1.0)
    asked = {"folder": str(tmp_path), "epsilon": 0.1, "steps": 3, "seed": 0, "out": str(tmp_path / "out.npy")}
    lines = [json.dumps(asked | {"method": name}) + "\n" for name in ("none", "gradients")]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(lines)))
    threads = torch.get_num_threads()
    exchange.serve("me", "1", {"gradients": _three_gradients})
    torch.set_num_threads(threads)
    greeting, failed, said = map(json.loads, capsys.readouterr().out.splitlines())
    assert (greeting["version"], "error" in failed, said["gradient_rows"]) == ("1", True, 12)
    assert np.load(tmp_path / "out.npy").shape == (4, 1)


def _three_gradients(asked: exchange.Question, model: exchange.Counted) -> np.ndarray:
    for _ in range(asked.steps):
        model(torch.from_numpy(asked.case.x).float().requires_grad_(True))
    return asked.case.x


def test_a_relation_says_how_far_a_row_is_off():
    columns = {"paid": np.array([1.0, 5.0]), "billed": np.array([2.0, 2.0])}
    assert violation("paid <= billed + 1", columns).tolist() == [0.0, 2.0]
    assert violation("billed >= paid", columns).tolist() == [0.0, 3.0]


def test_a_row_satisfies_when_relations_and_derived_columns_hold():
    rows = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.1], [3.0, 2.0, 5.0]])
    assert satisfied(rows, NAMES, ["paid <= billed"], {"both": "paid + billed"}).tolist() == [True, False, False]


def test_the_worst_cell_decides_and_calls_are_compared():
    cells = [cell(ours=0.505), cell(ours=0.4, seed=2), cell(ours=0.5, our_calls=41.0, seed=3)]
    found = {goal.name: goal for goal in goals_of({"accuracy": figures(cells)})}
    above = found["robust accuracy above art PGD-40, worst cell, points"]
    assert (above.value, above.met) == (pytest.approx(0.5), False)
    assert not found["gradient calls, largest share of a peer's"].met


def test_the_strongest_peer_is_met_by_our_best_run_alone():
    cells = [cell(theirs=0.6), cell(peer="foolbox LinfPGD-40", ours=0.45, theirs=0.45)]
    assert figures(cells)["strongest peer"]["worst_excess"] == pytest.approx(0.0)


def test_without_figures_there_is_nothing_to_judge_but_feasibility():
    assert [goal.name for goal in goals_of({})] == ["infeasible rows among ours, all sections"]
