"""What every attack must keep, and where the exact answer is known, that it reaches it."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from monitor.robustness import Task, ThreatModel, feasible
from monitor.robustness.certify import certified
from monitor.robustness.evolve import evolve
from monitor.robustness.gradient import Search, attack
from monitor.robustness.minimum import minimum_epsilon
from monitor.robustness.rescore import completed
from monitor.robustness.square import square
from monitor.robustness.swaps import spent, swap
from monitor.robustness.target import Target, margin
from monitor.schema import Direction, Feature, Kind, Schema
from monitor.training import train

LEVELS = ("app", "web", "kiosk", "fax")
SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC, lower=0.0, mutable=True),
        Feature(name="income", kind=Kind.NUMERIC, mutable=True),
        Feature(name="children", kind=Kind.INTEGER, mutable=True, direction=Direction.UP),
        Feature(name="channel", kind=Kind.CATEGORICAL, levels=LEVELS, mutable=True),
        Feature(name="tier", kind=Kind.CATEGORICAL, levels=("a", "b", "c"), mutable=True,
                transitions={"a": {"b": 1.0}, "b": {"a": 1.0, "c": 2.0}}),
        Feature(name="ratio", kind=Kind.NUMERIC, formula="amount / (income + 1)"),
        Feature(name="age", kind=Kind.NUMERIC),
    ),
    ("amount <= income * 3",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(n: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    amount, income = rng.uniform(5, 30, n), rng.uniform(8, 30, n)
    columns = [amount, income, rng.integers(0, 3, n), rng.integers(0, 5, n), rng.integers(0, 3, n)]
    rows = np.column_stack([*columns, np.round(amount / (income + 1), 2), rng.normal(40, 9, n)]).astype(float)
    rows[::17, 0], rows[::13, 3] = np.nan, np.nan
    return rows


class Net(nn.Module):
    """Numbers scaled, categories one-hot, behind a small network."""

    def __init__(self, outputs: int = 1, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Linear(14, 24), nn.ReLU(), nn.Linear(24, outputs)).double()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        filled = torch.nan_to_num(rows)
        one_hot = [nn.functional.one_hot(filled[:, j].detach().long(), k) for j, k in ((3, 5), (4, 4))]
        scaled = filled[:, [0, 1, 2, 5, 6]] / torch.tensor([10.0, 10, 1, 1, 40])
        return self.layers(torch.cat([scaled, *one_hot], dim=1).double())


ATTACKS = {
    "apgd": lambda *given, **kw: attack(*given, Search(restarts=1), **kw),
    "pgd": lambda *given, **kw: attack(*given, Search(adaptive=False, drop_broken=True), **kw),
    "one step": lambda *given, **kw: attack(*given, Search(steps=1), **kw),
    "square": lambda *given, **kw: square(*given, queries=30, **kw),
    "swap": lambda *given, **kw: swap(*given, **kw),
    "evolve": lambda *given, **kw: evolve(*given, queries=200, **kw),
}


def labels_of(target: Target, rows: np.ndarray) -> np.ndarray:
    outputs = target.outputs(rows)
    return (outputs > np.median(outputs)).astype(float) if outputs.ndim == 1 else outputs.argmax(1).astype(float)


@pytest.mark.parametrize("level", ["S2", "S5"])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("outputs", [1, 3])
def test_every_attack_returns_feasible_rows_that_score_what_it_says_and_are_no_better_than_clean(name, level, outputs):
    rows, task = rows_of(), Task.BINARY if outputs == 1 else Task.MULTICLASS
    target, threat = Target(Net(outputs), task), ThreatModel.from_schema(SCHEMA, rows, level=level)
    y = labels_of(target, rows)
    found = ATTACKS[name](target, rows, y, threat, seed=1)
    assert feasible(rows, found.rows, threat).all()
    assert found.margin == pytest.approx(margin(target.outputs(found.rows), y, task))
    assert (found.margin <= margin(target.outputs(rows), y, task) + 1e-9).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_repeats_itself_with_the_same_seed(name):
    rows = rows_of()
    target, threat = Target(Net(), Task.BINARY), ThreatModel.from_schema(SCHEMA, rows, level="S4")
    y = labels_of(target, rows)
    one, other = (ATTACKS[name](target, rows, y, threat, seed=5).rows for _ in range(2))
    assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("name", ["apgd", "pgd", "square", "evolve"])
def test_moves_stay_in_the_ball_of_another_norm(name, norm):
    rows = rows_of()
    target, threat = Target(Net(), Task.BINARY), ThreatModel.from_schema(SCHEMA, rows, level="S5", norm=norm)
    found = ATTACKS[name](target, rows, labels_of(target, rows), threat, seed=1)
    assert feasible(rows, found.rows, threat).all()
    assert (found.rows != rows).any()


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", np.inf)])
def test_a_linear_model_falls_by_the_dual_norm(norm, dual):
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(200, 6)), rng.integers(0, 2, 200).astype(float)
    linear = nn.Linear(6, 1).double()
    weights = linear.weight.detach().numpy()[0]
    found = attack(Target(linear, Task.BINARY), rows, y, ThreatModel.ball(norm, epsilon=0.3), Search(steps=60))
    expected = margin(Target(linear, Task.BINARY).outputs(rows), y, Task.BINARY) - 0.3 * np.linalg.norm(weights, dual)
    assert found.margin == pytest.approx(expected, abs=2e-3)


def enumerable() -> tuple[Schema, np.ndarray]:
    """Two counts, two categories and a relation: few enough points around a row to visit all."""
    schema = Schema(
        (
            Feature(name="n", kind=Kind.INTEGER, mutable=True),
            Feature(name="m", kind=Kind.INTEGER, mutable=True, direction=Direction.UP),
            Feature(name="c", kind=Kind.CATEGORICAL, levels=LEVELS, mutable=True),
            Feature(name="k", kind=Kind.INTEGER, mutable=True),
            Feature(name="d", kind=Kind.NUMERIC, formula="n + 2 * m"),
        ),
        ("n <= k",),
    )
    rng = np.random.default_rng(0)
    n, m = rng.integers(0, 4, 400), rng.integers(0, 3, 400)
    k = n + rng.integers(0, 12, 400)
    return schema, np.column_stack([n, m, rng.integers(0, 4, 400), k, n + 2 * m]).astype(float)[:200]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)).double()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        one_hot = nn.functional.one_hot(rows[:, 2].detach().long(), 4).double()
        return self.layers(torch.cat([rows[:, [0, 1, 3, 4]] / 3, one_hot], dim=1))


def brute_force(target: Target, rows: np.ndarray, y: np.ndarray, threat: ThreatModel) -> np.ndarray:
    """The lowest margin over every point of the integer lattice that the checker allows."""
    lowest = margin(target.outputs(rows), y, Task.BINARY)
    reach = int(np.max(np.nan_to_num(threat.box(rows)[1] - rows)))
    for step in itertools.product(range(-3, 4), range(4), range(4), range(-reach, reach + 1)):
        moved = rows.copy()
        moved[:, 0] += step[0]
        moved[:, 1] += step[1]
        moved[:, 2] = (moved[:, 2] + step[2]) % 4
        moved[:, 3] += step[3]
        moved = completed(rows, moved, threat)[0]
        allowed = feasible(rows, moved, threat)
        found = np.where(allowed, margin(target.outputs(moved), y, Task.BINARY), np.inf)
        lowest = np.minimum(lowest, found)
    return lowest


@pytest.mark.parametrize("level", ["S3", "S5"])
def test_an_enumerable_schema_is_within_a_point_of_brute_force(level):
    schema, rows = enumerable()
    target, threat = Target(Small(), Task.BINARY), ThreatModel.from_schema(schema, rows, level=level)
    y = labels_of(target, rows)
    exact = (brute_force(target, rows, y, threat) >= 0).mean()
    first = attack(target, rows, y, threat)
    changed = swap(target, rows, y, threat, start=first.rows)
    found = evolve(target, rows, y, threat, queries=1_000, start=changed.rows)
    assert exact < 0.9
    assert exact <= (found.margin >= 0).mean() <= exact + 0.01


def test_one_swap_is_the_best_of_all_single_swaps():
    rows = rows_of()
    target, threat = Target(Net(), Task.BINARY), ThreatModel.from_schema(SCHEMA, rows, level="S2")
    y = labels_of(target, rows)
    lowest = margin(target.outputs(rows), y, Task.BINARY)
    for column, values in ((2, None), (3, range(4)), (4, range(3))):
        for value in values if values is not None else (None,):
            moved = rows.copy()
            moved[:, column] = rows[:, column] + 1 if value is None else value
            allowed = feasible(rows, moved, threat)
            filled = np.where(allowed[:, None], moved, rows)
            lowest = np.minimum(lowest, margin(target.outputs(filled), y, Task.BINARY))
    assert swap(target, rows, y, threat).margin == pytest.approx(lowest)


def test_changes_cost_what_was_declared_and_stay_within_the_budget():
    rows = rows_of()
    threat = ThreatModel.from_schema(SCHEMA, rows, level="S5")
    target = Target(Net(), Task.BINARY)
    found = swap(target, rows, labels_of(target, rows), threat)
    costs = spent(rows, found.rows, threat)
    assert costs.sum(axis=1).max() <= 3
    assert (costs > 0).sum(axis=1).max() > 1
    forbidden = (rows[:, 4] == 2) & (found.rows[:, 4] != 2)
    assert not forbidden.any()


def test_trying_the_most_harmful_values_alone_finds_most_of_what_all_do():
    rows = rows_of(600)
    target, threat = Target(Net(), Task.BINARY), ThreatModel.from_schema(SCHEMA, rows, level="S3")
    y = labels_of(target, rows)
    every, some = swap(target, rows, y, threat), swap(target, rows, y, threat, most=4)
    assert some.queries < 0.9 * every.queries
    assert (some.margin < 0).sum() >= 0.9 * (every.margin < 0).sum()


@pytest.mark.parametrize("drop_broken", [False, True])
@pytest.mark.parametrize("outputs", [1, 4])
def test_single_precision_rows_are_the_same_in_batches_of_one_seven_and_all(drop_broken, outputs):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(9, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, outputs))
    rows = np.random.default_rng(0).normal(size=(90, 9))
    target = Target(net, Task.BINARY if outputs == 1 else Task.MULTICLASS)
    y, threat = labels_of(target, rows), ThreatModel.linf(epsilon=0.1)
    search = [Search(steps=20, restarts=1, drop_broken=drop_broken, batch_size=size) for size in (1, 7, 1_024)]
    one, seven, every = (attack(target, rows, y, threat, s).rows for s in search)
    assert np.array_equal(one, every)
    assert np.array_equal(seven, every)


def test_the_minimum_budget_of_a_linear_model_is_its_margin_over_the_dual_norm():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 5))
    linear = nn.Linear(5, 1).double()
    target = Target(linear, Task.BINARY)
    y = (target.outputs(rows) > 0).astype(float)
    threats = [ThreatModel.linf(epsilon=e) for e in (0.2, 1.0)]
    worst = [attack(target, rows, y, threat).rows for threat in threats]
    exact = np.abs(target.outputs(rows)) / np.abs(linear.weight.detach().numpy()).sum()
    found = minimum_epsilon(target, rows, y, threats, worst)
    assert np.array_equal(np.isinf(found), exact > 1.0)
    inside = np.isfinite(found)
    assert (found[inside] >= exact[inside] - 1e-9).all()
    assert found[inside] == pytest.approx(exact[inside], abs=0.05)


def test_relations_hold_a_search_back_that_would_else_go_further():
    rows = rows_of(300)
    free = Schema(SCHEMA.features)
    target = Target(Net(seed=2), Task.BINARY)
    y = labels_of(target, rows)
    held, loose = (attack(target, rows, y, ThreatModel.from_schema(s, rows, level="S5")) for s in (SCHEMA, free))
    beyond = ~feasible(rows, loose.rows, ThreatModel.from_schema(SCHEMA, rows, level="S5"))
    assert beyond.sum() > 5
    assert held.margin[beyond].mean() > loose.margin[beyond].mean()
    assert held.margin[~beyond] == pytest.approx(loose.margin[~beyond], abs=0.05)


def test_no_row_is_certified_that_swaps_break_and_some_are_certified():
    frame = pd.DataFrame({"a": np.random.default_rng(0).normal(size=800), "n": np.arange(800) % 3})
    frame["c"] = np.random.default_rng(1).choice(LEVELS, 800)
    schema = Schema.infer(frame, mutable=["a", "n", "c"])
    rows = schema.encode(frame)
    y = (rows[:, 0] + 0.2 * rows[:, 1] + 0.3 * (rows[:, 2] == 1) > 0.2).astype(float)
    threat = ThreatModel.from_schema(schema, rows, level="S4")
    model = train(rows, y, schema, task="binary", recipe="standard", network={"hidden": (12,)}).model
    target = Target(model, Task.BINARY)
    found = evolve(target, rows, y, threat, queries=300, start=swap(target, rows, y, threat).rows)
    sure = certified(target, rows, y, threat)
    assert sure.mean() > 0.1
    assert not (sure & (found.margin < 0)).any()
    assert (found.margin < 0).mean() > 0.2
