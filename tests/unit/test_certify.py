"""Certificates against closed forms, brute force, random points and attacks."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import Task, ThreatModel, feasible
from monitor.robustness.bounds import hidden_bounds, interval_bounds
from monitor.robustness.certify import certified, certified_error, output_bounds
from monitor.robustness.gradient import Search, attack
from monitor.robustness.region import Region, SwapOptions
from monitor.robustness.relu_network import relu_network
from monitor.robustness.target import Target, is_right
from monitor.schema import Schema
from monitor.training.networks import build


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp(width: int = 5, outputs: int = 1, seed: int = 0, hidden: tuple[int, ...] = (16, 16)) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, before = [], width
        for size in hidden:
            layers += [nn.Linear(before, size), nn.ReLU()]
            before = size
        return nn.Sequential(*layers, nn.Linear(before, outputs))


def normal_rows(n: int, width: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def table(n: int = 500) -> tuple[Schema, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1.8, n),
            "count": rng.integers(0, 60, n),
            "balance": np.where(rng.random(n) < 0.1, np.nan, rng.normal(0, 1e4, n)),
            "channel": rng.choice(["app", "web", "shop"], n),
        }
    )
    schema = Schema.infer(frame, mutable=["amount", "count", "balance"])
    return schema, schema.encode(frame)


def tabular(task: Task, **network: object) -> tuple[nn.Module, np.ndarray, ThreatModel]:
    """An untrained predictor behind a fitted preprocessing with a heavy tail, whole numbers and missing values."""
    schema, rows = table()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(schema.to_document(), task, {"hidden": (32, 32), **network})
    model.preprocess.fit(rows)
    if task is Task.REGRESSION:
        model.target_scale.fill_(250.0)
        model.target_centre.fill_(1_000.0)
    assert model.preprocess.heavy.any()
    return model, rows, ThreatModel.from_schema(schema, rows, level="S4")


def drawn(threat: ThreatModel, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One point in every row's box: anywhere or, in half of the cells, at a corner; whole numbers stay whole."""
    low, high = threat.box(rows)
    share = np.where(rng.random(rows.shape) < 0.5, rng.random(rows.shape).round(), rng.random(rows.shape))
    points = np.clip(low + share * (high - low), low, high)
    return np.where(threat.integer & (high > low), np.round(points), points)


PLAIN = ThreatModel.linf(epsilon=0.2)
CASES = {
    "one logit": lambda: (mlp(), Task.BINARY, normal_rows(500), PLAIN),
    "two logits": lambda: (mlp(outputs=2), Task.BINARY, normal_rows(500), PLAIN),
    "classes": lambda: (mlp(outputs=4), Task.MULTICLASS, normal_rows(500), PLAIN),
    "table": lambda: (lambda m, r, t: (m, Task.BINARY, r, t))(*tabular(Task.BINARY)),
    "table, classes": lambda: (lambda m, r, t: (m, Task.MULTICLASS, r, t))(*tabular(Task.MULTICLASS, classes=3)),
    "table, values": lambda: (lambda m, r, t: (m, Task.REGRESSION, r, t))(*tabular(Task.REGRESSION)),
    "relu first and last": lambda: (
        nn.Sequential(nn.ReLU(), nn.Dropout(0.5), mlp()[0], mlp()[2], *mlp(16, outputs=4, seed=1), nn.ReLU()),
        Task.MULTICLASS,
        normal_rows(500),
        PLAIN,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bounds_hold_at_a_hundred_thousand_points_and_are_near(case):
    model, task, rows, threat = CASES[case]()
    target, rng = Target(model, task), np.random.default_rng(1)
    low, high = output_bounds(target, *threat.box(rows))
    outputs = np.stack([target.outputs(drawn(threat, rows, rng)) for _ in range(200)])
    assert (outputs >= low).all()
    assert (outputs <= high).all()
    assert (high - low).mean() < 3 * (outputs.max(axis=0) - outputs.min(axis=0)).mean()


def test_the_certificate_of_a_linear_model_is_the_closed_form():
    rows, linear = normal_rows(1_000), nn.Linear(5, 3).double()
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    y = np.random.default_rng(1).integers(0, 3, 1_000)
    outputs = rows @ weight.T + bias
    reach = 0.1 * np.abs(weight[y][:, None] - weight[None]).sum(axis=2)
    worst = outputs[np.arange(1_000), y][:, None] - outputs - reach
    worst[np.arange(1_000), y] = np.inf
    sure = certified(Target(linear, Task.MULTICLASS), rows, y.astype(float), ThreatModel.linf(epsilon=0.1))
    assert np.array_equal(sure, worst.min(axis=1) > 0)


@pytest.mark.parametrize("case", ["one logit", "table, classes"])
def test_affine_forms_and_crown_are_never_looser_than_intervals(case):
    model, task, rows, threat = CASES[case]()
    target = Target(model, task)
    network = relu_network(target)
    low, high = (network.inputs(torch.as_tensor(side)) for side in threat.box(rows))
    region = Region(centre=(low + high) / 2, radius=(high - low) / 2)
    loose, tight = interval_bounds(network, region), hidden_bounds(network, region)
    for wide, narrow in zip(loose, tight, strict=True):
        assert ((narrow.low >= wide.low - 1e-12) & (narrow.high <= wide.high + 1e-12)).all()
    least, most = (side.reshape(len(rows), -1) for side in output_bounds(target, *threat.box(rows)))
    assert ((least >= tight[-1].low.numpy()) & (most <= tight[-1].high.numpy())).all()
    assert (most - least).mean() < 0.8 * float((loose[-1].high - loose[-1].low).mean())


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_no_row_is_ever_both_certified_and_broken(outputs):
    task = Task.MULTICLASS if outputs == 3 else Task.BINARY
    decided, n_sure = 0, 0
    for seed in range(9):
        rows, threat = normal_rows(4_000, seed=seed), ThreatModel.linf(epsilon=0.02 * 2 ** (seed % 4))
        target = Target(mlp(outputs=outputs, seed=seed, hidden=(8, 8)), task)
        clean = target.outputs(rows)
        y = (clean > 0).astype(float) if task is Task.BINARY else clean.argmax(axis=1).astype(float)
        sure = certified(target, rows, y, threat)
        broken = ~is_right(target.outputs(attack(target, rows, y, threat, Search(steps=8)).rows), y, task)
        assert not (sure & broken).any()
        decided, n_sure = decided + (sure | broken).sum(), n_sure + sure.sum()
    assert n_sure > 9_000
    assert decided > 0.995 * 36_000


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_no_row_of_a_table_is_both_certified_and_broken(task):
    model, rows, threat = tabular(task)
    target = Target(model, task)
    clean = target.outputs(rows)
    y = (clean > 0).astype(float) if task is Task.BINARY else clean.argmax(axis=1).astype(float)
    broken = attack(target, rows, y, threat, Search(steps=20, restarts=2)).margin < 0
    sure = certified(target, rows, y, threat)
    assert not (sure & broken).any()
    assert (sure | broken).mean() > 0.99
    assert 0 < broken.sum() < len(rows)


def test_rounding_of_the_model_itself_lies_within_the_bounds():
    model, rows = mlp(hidden=(64, 64)), normal_rows(5_000) * 1e3
    target = Target(model, Task.BINARY)
    low, high = output_bounds(target, rows, rows)
    exact = Target(model.double(), Task.BINARY).outputs(rows)
    outputs = target.outputs(rows)
    assert ((low <= outputs) & (outputs <= high)).all()
    assert (np.abs(outputs - exact) > 0).mean() > 0.9
    assert (high - low).max() < 1e-2 * np.abs(outputs).mean()


def test_halving_boxes_certifies_more_and_loses_none():
    rows, threat = normal_rows(1_000), ThreatModel.linf(epsilon=0.3)
    target = Target(mlp(seed=3, hidden=(32, 32)), Task.BINARY)
    y = (target.outputs(rows) > 0).astype(float)
    once, halved = (certified(target, rows, y, threat, effort=effort) for effort in (0.0, 1.0))
    assert halved[once].all()
    assert halved.sum() > once.sum()


def test_rows_outside_undecided_and_rows_with_holes_are_not_certified():
    rows, target = normal_rows(100), Target(mlp(), Task.BINARY)
    y = (target.outputs(rows) > 0).astype(float)
    rows[50:, 2] = np.nan
    sure = certified(target, rows, y, ThreatModel.linf(epsilon=0.0), undecided=np.arange(100) % 2 == 0)
    assert np.array_equal(sure, (np.arange(100) < 50) & (np.arange(100) % 2 == 0))


class Squared(nn.Module):
    """It has the parts of a network that can be bounded, and does more with them."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.preprocess = mlp(), nn.Identity()
        self.preprocess.is_monotone = True

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.network(rows) ** 2


@pytest.mark.parametrize("model", [nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), Squared()])
def test_a_network_of_other_parts_has_no_certificate(model):
    rows, threat = normal_rows(50), ThreatModel.linf(epsilon=0.1)
    assert certified(Target(model, Task.BINARY), rows, np.ones(50), threat) is None
    assert certified_error(Target(model, Task.REGRESSION), rows, np.ones(50), threat) is None


def test_the_certified_error_is_above_what_attacks_reach_and_near_it():
    model, rows, threat = tabular(Task.REGRESSION)
    target, y = Target(model, Task.REGRESSION), np.random.default_rng(0).normal(1_000, 50, 500)
    reached = -attack(target, rows, y, threat, Search(steps=20)).margin
    most = certified_error(target, rows, y, threat)
    assert (most >= reached).all()
    assert most.mean() < 1.15 * reached.mean()


N_SWAPPED = 240


def swap_options(width: int = 5) -> SwapOptions:
    """Three options for each of three features of every row; all cost 1, and 0, 1 or 2 may be taken."""
    row, feature, _ = (a.ravel() for a in np.meshgrid(range(N_SWAPPED), range(3), range(3), indexing="ij"))
    delta = np.random.default_rng(5).normal(0, 0.5, (len(row), width))
    return SwapOptions(
        row=row, feature=feature, delta=delta, cost=np.ones(len(row)), budget=(np.arange(N_SWAPPED) % 3).astype(float)
    )


def swapped(rows: np.ndarray, options: SwapOptions) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every choice of swaps: the rows after it, and which rows could afford it."""
    delta, cost = options.delta.reshape(N_SWAPPED, 3, 3, -1), options.cost.reshape(N_SWAPPED, 3, 3)
    made = []
    for choice in product(range(4), repeat=3):
        taken = [(f, o - 1) for f, o in enumerate(choice) if o]
        points = rows + sum(delta[:, f, o] for f, o in taken)
        made.append((points, options.budget >= sum(cost[:, f, o] for f, o in taken)))
    return made


def test_swaps_of_a_linear_model_are_bounded_as_brute_force_finds():
    rows, linear, options = normal_rows(N_SWAPPED), nn.Linear(5, 1).double(), swap_options()
    weight = linear.weight.detach().numpy()[0]
    target, threat = Target(linear, Task.REGRESSION), ThreatModel.linf(epsilon=0.1)
    outputs = np.stack([np.where(a, target.outputs(p), np.nan) for p, a in swapped(rows, options)])
    low, high = output_bounds(target, *threat.box(rows), swaps=options)
    assert low == pytest.approx(np.nanmin(outputs, axis=0) - 0.1 * np.abs(weight).sum(), abs=1e-9)
    assert high == pytest.approx(np.nanmax(outputs, axis=0) + 0.1 * np.abs(weight).sum(), abs=1e-9)


@pytest.mark.parametrize(("dear", "decided"), [(1.0, 0.97), (2.0, 0.97)])
def test_certified_rows_hold_under_every_choice_of_swaps_and_an_attack_within_it(dear, decided):
    rows, options, threat = normal_rows(N_SWAPPED), swap_options(), ThreatModel.linf(epsilon=0.02)
    options = SwapOptions(**{**vars(options), "cost": np.where(options.feature == 1, dear, 1.0)})
    target = Target(mlp(), Task.BINARY)
    y = (target.outputs(rows) > 0).astype(float)
    broken = np.zeros(N_SWAPPED, dtype=bool)
    for points, allowed in swapped(rows, options):
        broken |= allowed & (attack(target, points, y, threat).margin < 0)
    sure, without = (certified(target, rows, y, threat, swaps=s) for s in (options, None))
    assert not (sure & broken).any()
    assert (sure <= without).all()
    assert (sure | broken).mean() >= decided
    assert sure[options.budget > 0].sum() > 20


def test_swaps_beyond_the_budget_and_lists_of_unequal_length():
    rows, options = normal_rows(N_SWAPPED), swap_options()
    target, box = Target(mlp(), Task.BINARY), ThreatModel.linf(epsilon=0.1).box(rows)
    dear = SwapOptions(**{**vars(options), "cost": np.full(len(options.row), 9.0)})
    assert output_bounds(target, *box, swaps=dear) == pytest.approx(np.array(output_bounds(target, *box)))
    none, threat = SwapOptions(**{**vars(options.of_rows(np.arange(0))), "budget": options.budget}), PLAIN
    y = (target.outputs(rows) > 0).astype(float)
    alone, dearly, never = (certified(target, rows, y, threat, swaps=s) for s in (None, dear, none))
    assert np.array_equal(alone, dearly)
    assert np.array_equal(alone, never)
    with pytest.raises(BadInput, match="costs above 0"):
        SwapOptions(**{**vars(options), "cost": np.ones(3)})


def with_swaps(level: str, swaps: float) -> tuple[Target, np.ndarray, np.ndarray, ThreatModel]:
    """A network over a category with declared and one with free transitions, a count, a boolean and an amount."""
    rng, n = np.random.default_rng(0), 150
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3, 1, n),
            "children": rng.choice([0, 0, 0, 1, 2, 3], n),
            "channel": rng.choice(["app", "web", "shop"], n),
            "new": rng.random(n) < 0.3,
            "plan": rng.choice(["a", "b", "c"], n),
        }
    )
    document = Schema.infer(frame, mutable=list(frame)).to_document()
    document["features"][4]["transitions"] = {"a": {"b": 1.0, "c": 2.0}, "b": {"c": 0.5}}
    schema = Schema.from_document(document)
    rows = schema.encode(frame)
    rows[::10, 2], rows[::7, 1] = 3.0, np.nan  # a level that the schema does not know, and holes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build(schema.to_document(), Task.BINARY, {"hidden": (16, 16)})
    model.preprocess.fit(rows)
    with torch.no_grad():
        model.network[-1].bias -= model(torch.tensor(rows)).median()  # as many rows on either side
    target = Target(model, Task.BINARY)
    y = (target.outputs(rows) > 0).astype(float)
    threat = ThreatModel.from_schema(schema, rows, level=level, swaps=swaps)
    assert len(threat.groups) == 4
    return target, rows, y, threat


@pytest.mark.parametrize("swaps", [0.0, 1.0, 2.0])
def test_swaps_of_a_threat_model_are_those_that_an_independent_check_allows(swaps):
    target, rows, y, threat = with_swaps("S3", swaps)
    broken, still = np.zeros(len(rows), dtype=bool), replace(threat, groups=(), swaps=0.0)
    for step, channel, flip, plan in product((-2, -1, 0, 1, 2), range(3), (0, 1), range(3)):
        points = rows.copy()
        points[:, 1] += step
        points[:, 2] = np.where(channel == 0, points[:, 2], (channel + points[:, 2]) % 3)
        points[:, 3] = np.abs(points[:, 3] - flip)
        points[:, 4] = (points[:, 4] + plan) % 3
        found = attack(target, points, y, still, Search(steps=5))
        broken |= feasible(rows, found.rows, threat) & (found.margin < 0)
    sure = certified(target, rows, y, threat)
    assert not (sure & broken).any()
    assert (sure | broken).mean() > 0.97
    assert min(sure.sum(), broken.sum()) > 10
