import numpy as np
import pytest
import torch
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import Task, ThreatModel, feasible
from monitor.robustness.certify import certified, output_bounds
from monitor.robustness.gradient import Search, attack, n_fgsm
from monitor.robustness.objective import Loss, Objective
from monitor.robustness.square import square
from monitor.robustness.target import Target, is_right, margin
from monitor.schema import Direction, Feature, Kind, Schema

SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC, mutable=True),
        Feature(name="count", kind=Kind.INTEGER, mutable=True, direction=Direction.UP),
        Feature(name="age", kind=Kind.NUMERIC),
        Feature(name="balance", kind=Kind.NUMERIC, mutable=True, direction=Direction.DOWN),
    )
)
SCALES = np.array([100.0, 10.0, 1.0, 1_000.0])


def rows_of(n: int = 300) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(n, 4)) * SCALES
    rows[:, 1] = np.round(rows[:, 1])
    return rows


class Scaled(nn.Module):
    """A network on standardised inputs, whose logits are multiplied by `factor`."""

    def __init__(self, network: nn.Module, factor: float = 1.0) -> None:
        super().__init__()
        self.network, self.factor = network, factor
        self.register_buffer("scales", torch.tensor(SCALES))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.factor * self.network(rows / self.scales)


def mlp(outputs: int = 1, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, outputs)).double()


def labels_of(model: nn.Module, rows: np.ndarray, task: Task = Task.BINARY) -> np.ndarray:
    outputs = Target(model, task).outputs(rows)
    return (outputs > 0).astype(float) if task is Task.BINARY else outputs.argmax(axis=1).astype(float)


@pytest.mark.parametrize("adaptive", [True, False])
def test_a_linear_model_reaches_the_closed_form_exactly(adaptive):
    rows, y = rows_of(), np.random.default_rng(1).integers(0, 2, 300).astype(float)
    weights = np.array([0.7, -0.4, 2.0, 0.1])
    linear = nn.Linear(4, 1).double()
    linear.load_state_dict({"weight": torch.tensor(weights)[None], "bias": torch.zeros(1).double()})
    target, threat = Target(linear, Task.BINARY), ThreatModel.linf(epsilon=0.3)
    found = attack(target, rows, y, threat, Search(adaptive=adaptive))
    expected = (2 * y - 1) * (rows @ weights) - 0.3 * np.abs(weights).sum()
    assert found.margin == pytest.approx(expected, rel=1e-12)


def test_a_linear_model_under_a_schema_reaches_the_best_vertex():
    rows, y = rows_of(), np.random.default_rng(1).integers(0, 2, 300).astype(float)
    linear = Scaled(nn.Linear(4, 1).double())
    target, threat = Target(linear, Task.BINARY), ThreatModel.from_schema(SCHEMA, rows, level="S3")
    low, high = threat.box(rows)
    weights = linear.network.weight.detach().numpy()[0] / SCALES
    slope = (2 * y - 1)[:, None] * weights
    expected = margin(target.outputs(np.where(slope > 0, low, high)), y, Task.BINARY)
    assert attack(target, rows, y, threat).margin == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_scale_of_the_logits_changes_nothing(outputs, factor):
    task = Task.BINARY if outputs == 1 else Task.MULTICLASS
    rows, threat = rows_of(), ThreatModel.from_schema(SCHEMA, rows_of(), level="S4")
    y = labels_of(Scaled(mlp(outputs)), rows, task)
    plain = attack(Target(Scaled(mlp(outputs)), task), rows, y, threat)
    scaled = attack(Target(Scaled(mlp(outputs), factor), task), rows, y, threat)
    assert (plain.margin < 0).sum() > 10
    assert abs((plain.margin < 0).mean() - (scaled.margin < 0).mean()) <= 0.002
    if task is Task.BINARY:  # of several classes rounding may lead to another point that is as bad
        assert scaled.margin / factor == pytest.approx(plain.margin, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_changes_nothing(batch_size):
    rows, threat = rows_of(60), ThreatModel.from_schema(SCHEMA, rows_of(), level="S4")
    y = labels_of(Scaled(mlp()), rows)
    whole = attack(Target(Scaled(mlp()), Task.BINARY), rows, y, threat, Search(restarts=2), seed=3)
    parts = attack(
        Target(Scaled(mlp()), Task.BINARY), rows, y, threat, Search(restarts=2, batch_size=batch_size), seed=3
    )
    assert np.array_equal(whole.margin < 0, parts.margin < 0)
    assert parts.margin == pytest.approx(whole.margin, abs=1e-9)


@pytest.mark.parametrize("budget", ["sigma", "rank"])
@pytest.mark.parametrize("level", ["S1", "S3", "S5"])
def test_every_row_that_comes_back_is_feasible_and_scores_what_was_said(budget, level):
    rows = rows_of()
    rows[::7, 0], rows[::5, 1], rows[::11, 3] = np.nan, np.nan, 1e9

    class Filled(Scaled):
        def forward(self, raw):
            return super().forward(torch.nan_to_num(raw))

    target, threat = (
        Target(Filled(mlp()), Task.BINARY),
        ThreatModel.from_schema(SCHEMA, rows, level=level, budget=budget),
    )
    y = labels_of(Filled(mlp()), rows)
    for found in (
        attack(target, rows, y, threat, Search(restarts=1)),
        attack(target, rows, y, threat, Search(adaptive=False, drop_broken=True)),
        square(target, rows, y, threat, queries=10),
    ):
        assert feasible(rows, found.rows, threat).all()
        assert margin(target.outputs(found.rows), y, Task.BINARY) == pytest.approx(found.margin, abs=1e-9)


def test_dropping_broken_rows_breaks_the_same_rows_at_less_cost():
    rows, threat = rows_of(), ThreatModel.from_schema(SCHEMA, rows_of(), level="S5")
    y = labels_of(Scaled(mlp()), rows)
    target = Target(Scaled(mlp()), Task.BINARY)
    pushed, dropped = (attack(target, rows, y, threat, Search(drop_broken=drop)) for drop in (False, True))
    assert np.array_equal(pushed.margin < 0, dropped.margin < 0)
    assert dropped.gradient_rows < pushed.gradient_rows
    assert (pushed.margin <= dropped.margin + 1e-12).all()


def test_more_steps_and_restarts_never_leave_a_milder_row_than_the_start():
    rows, threat = rows_of(), ThreatModel.from_schema(SCHEMA, rows_of(), level="S5")
    y = labels_of(Scaled(mlp()), rows)
    target = Target(Scaled(mlp()), Task.BINARY)
    clean = margin(target.outputs(rows), y, Task.BINARY)
    few, many = (attack(target, rows, y, threat, Search(steps=10, restarts=r)).margin for r in (0, 5))
    assert (few <= clean).all()
    assert (many <= few).all()


def test_apgd_lowers_the_margin_at_least_as_far_as_one_step_on_average():
    rows, threat = rows_of(), ThreatModel.from_schema(SCHEMA, rows_of(), level="S5")
    y = labels_of(Scaled(mlp()), rows)
    target = Target(Scaled(mlp()), Task.BINARY)
    one, many = (attack(target, rows, y, threat, Search(steps=steps)).margin.mean() for steps in (1, 20))
    chance = square(target, rows, y, threat, queries=20).margin.mean()
    assert many <= min(one, chance)


def test_regression_is_pushed_to_the_farther_side():
    rows, weights = rows_of(), np.array([1.0, 0.0, 0.0, -2.0])
    linear = nn.Linear(4, 1).double()
    linear.load_state_dict({"weight": torch.tensor(weights)[None], "bias": torch.zeros(1).double()})
    y = rows @ weights + np.where(np.arange(300) % 2, 0.2, -0.2)
    found = attack(Target(linear, Task.REGRESSION), rows, y, ThreatModel.linf(epsilon=0.5))
    assert -found.margin == pytest.approx(np.full(300, 0.2 + 0.5 * 3), rel=1e-9)


def test_the_attacked_model_keeps_its_mode_and_its_gradients():
    model = Scaled(nn.Sequential(mlp(), nn.Dropout(0.5))).train()
    rows = rows_of(50)
    attack(Target(model, Task.BINARY), rows, np.ones(50), ThreatModel.linf(epsilon=1.0))
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_n_fgsm_is_one_step_from_a_noisy_start():
    rows, gradient = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -0.1]])
    noise, reach = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.1, 0.2]])
    assert n_fgsm(gradient, noise, rows, reach)[0].tolist() == pytest.approx([1 + 0.1 * 2, 2 - 0.2 * 3])


def test_certified_rows_hold_against_every_attack_and_bounds_hold_at_random_points():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1)).double()
    rows, threat = rows_of() / SCALES, ThreatModel.linf(epsilon=0.1)
    target, y = Target(model, Task.BINARY), labels_of(model, rows)
    sure = certified(target, rows, y, threat)
    broken = attack(target, rows, y, threat, Search(restarts=3)).margin < 0
    low, high = output_bounds(target, *threat.box(rows))
    points = target.outputs(rows + np.random.default_rng(0).uniform(-0.1, 0.1, rows.shape))
    assert 0 < sure.sum() < len(rows)
    assert not (sure & broken).any()
    assert ((low <= points + 1e-12) & (points <= high + 1e-12)).all()


def test_a_network_of_other_parts_has_no_certificate():
    assert certified(Target(Scaled(mlp()), Task.BINARY), rows_of(), np.ones(300), ThreatModel.linf(epsilon=0.1)) is None


class Stump:
    """A black box with a step where the first feature crosses 0."""

    def predict_proba(self, rows):
        positive = np.where(np.nan_to_num(rows[:, 0]) > 0, 0.9, 0.1)
        return np.column_stack([1 - positive, positive])


def test_random_search_breaks_a_stump_wherever_the_budget_allows():
    rows = rows_of()
    y = (rows[:, 0] > 0).astype(float)
    target = Target(Stump(), Task.BINARY)
    found = square(target, rows, y, ThreatModel.linf(epsilon=50.0), queries=60, seed=1)
    right = is_right(target.outputs(found.rows), y, Task.BINARY, decision=target.decision)
    assert np.array_equal(right, np.where(y > 0, rows[:, 0] > 50, rows[:, 0] <= -50))


def test_a_gradient_attack_on_a_black_box_is_refused():
    with pytest.raises(BadInput, match="got a black box"):
        attack(Target(Stump(), Task.BINARY), rows_of(), np.ones(300), ThreatModel.linf(epsilon=1.0))


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("task", list(Task))
def test_slopes_of_what_is_lowered_are_those_of_autograd_up_to_a_positive_factor(loss, task):
    generator = torch.Generator().manual_seed(0)
    wide = task is Task.MULTICLASS
    outputs = torch.randn((40, 5) if wide else (40,), generator=generator, dtype=torch.float64)
    y = torch.randint(0, 5 if wide else 2, (40,), generator=generator).double()
    objective = Objective(task=task, loss=loss)
    labels = objective.labels(y, torch.float64)
    true, lowered, slope = objective(outputs, labels)
    given = outputs.clone().requires_grad_(True)
    if wide and loss is Loss.CROSS_ENTROPY:
        again = -nn.functional.cross_entropy(1.5 * given / true.abs()[:, None], y.long(), reduction="none")
        assert again.detach() == pytest.approx(lowered)
    else:
        again = objective(given, labels)[1]
    (exact,) = torch.autograd.grad(again.sum(), given)
    exact, slope = (one if wide else one[:, None] for one in (exact, slope))
    size = exact.norm(dim=1)
    assert (
        torch.where(size > 1e-9, torch.cosine_similarity(exact, slope, dim=1), 1 - slope.norm(dim=1)).min() > 1 - 1e-9
    )


def test_a_number_of_calls_becomes_starts_and_steps_that_do_not_exceed_it():
    for calls in (1, 10, 20, 40, 80, 101, 500):
        search = Search.of_calls(calls)
        assert search.steps * (search.restarts + 1) <= calls < (search.steps + 1) * (search.restarts + 1)
