"""Corners of threat models: values instead of classes, missing parts, derived cells, cheap steps, odd models."""

import numpy as np
import pytest
import torch
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import ThreatModel, run_campaign
from monitor.robustness.certify import certified
from monitor.robustness.evolve import evolve
from monitor.robustness.feasibility import feasible
from monitor.robustness.gradient import Search, attack
from monitor.robustness.square import square
from monitor.robustness.swaps import swap
from monitor.robustness.target import Target, Task
from monitor.schema import Feature, Kind, Schema


class Linear(nn.Module):
    """The first columns times weights plus a shift; missing cells count as 0."""

    def __init__(self, *weights: float, shift: float = 0.0) -> None:
        super().__init__()
        self.weights, self.shift = nn.Parameter(torch.tensor(weights, dtype=torch.float64)), shift

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(rows)[:, : len(self.weights)] @ self.weights + self.shift


def number(name: str, formula: str | None = None) -> Feature:
    return Feature(name=name, kind=Kind.NUMERIC, mutable=formula is None, formula=formula)


def category(name: str, transitions: dict[str, dict[str, float]] | None = None) -> Feature:
    return Feature(name=name, kind=Kind.CATEGORICAL, levels=("u", "v", "w"), mutable=True, transitions=transitions)


def normal(columns: int, n: int = 100) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, columns))


def test_a_tick_stresses_a_regression_with_a_mutable_category():
    rows = np.c_[normal(1), np.arange(100) % 3]
    schema = Schema((number("a"), category("c")))
    threat = ThreatModel.from_schema(schema, rows, level="S2")
    report = run_campaign(Linear(1.0, 5.0), rows, rows @ [1.0, 5.0], threat, schema=schema, task="regression")
    assert report.levels[0].attacked > 5.0  # one level further costs 5 at least


def test_no_row_of_a_regression_counts_as_broken_before_it_is_attacked():
    rows = normal(2)
    target, y = Target(Linear(1.0, 2.0), Task.REGRESSION), rows @ [1.0, 2.0] + 0.1
    threat = ThreatModel.linf(epsilon=0.5)
    worst = -(0.1 + 1.5)
    found = attack(target, rows, y, threat, Search(steps=3, drop_broken=True))
    np.testing.assert_allclose(found.margin, worst, rtol=1e-5)
    for search in (square, evolve):
        assert (search(target, rows, y, threat, queries=200, drop_broken=True).margin < -1.0).all()


def test_random_search_goes_on_from_a_row_whose_derived_cell_has_moved():
    clean = normal(2)
    clean = np.c_[clean, clean.sum(axis=1)]
    schema = Schema((number("a"), number("b"), number("total", "a + b")))
    threat = ThreatModel.from_schema(schema, clean, level="S5")
    start = clean - [0.5, 0.0, 0.5]
    target = Target(Linear(1.0, 1.0, -1.0, shift=0.3), Task.BINARY)  # .3 wherever the total is one
    found = square(target, clean, np.ones(100), threat, queries=5, start=start)
    assert feasible(clean, found.rows, threat).all()


def test_a_missing_part_of_a_formula_leaves_the_gradient_of_the_other_parts():
    rows = normal(2) + 5
    rows = np.c_[rows, rows[:, 0] / rows[:, 1]]
    rows[:50, 1:] = np.nan
    schema = Schema((number("a"), number("b"), number("ratio", "a / b")))
    threat = ThreatModel.from_schema(schema, rows, level="S3")
    found = attack(Target(Linear(1.0, shift=-4.0), Task.BINARY), rows, np.ones(100), threat, Search(steps=3))
    assert found.nan_gradients == 0.0
    low, _ = threat.box(rows)
    np.testing.assert_allclose(found.rows[:, 0], low[:, 0])


def test_changes_that_cost_less_than_one_are_taken_as_long_as_the_budget_lasts():
    cheap = {"u": {"v": 0.4}}
    schema = Schema(tuple(category(name, cheap) for name in "abc"))
    clean = np.zeros((20, 3))
    threat = ThreatModel.from_schema(schema, clean, level="S2")
    found = swap(Target(Linear(-1.0, -1.0, -1.0, shift=2.0), Task.BINARY), clean, np.ones(20), threat)
    np.testing.assert_allclose(found.margin, 0.0)  # two changes for .8, not three for 1.2


class Shifted(nn.Module):
    """A monotone preprocessing, growing or falling."""

    is_monotone = True

    def __init__(self, sign: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.sign, self.shift = sign, shift

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return (self.sign * (rows - self.shift)).float()


class Behind(nn.Module):
    """x + bias behind a preprocessing."""

    def __init__(self, preprocess: nn.Module, bias: float, layer: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.preprocess, self.network = preprocess, nn.Sequential(layer(1, 1))
        for parameter, value in ((self.network[0].weight, 1.0), (self.network[0].bias, bias)):
            nn.init.constant_(parameter, value)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.network(self.preprocess(rows))


def test_a_falling_preprocessing_is_certified_over_its_whole_box():
    target, rows, y = Target(Behind(Shifted(-1.0), 0.0), Task.BINARY), np.array([[-0.5]]), np.ones(1)
    threats = [ThreatModel.linf(epsilon=epsilon) for epsilon in (0.4, 1.0)]
    assert [certified(target, rows, y, threat).tolist() for threat in threats] == [[True], [False]]


def test_a_certificate_knows_that_raw_rows_were_rounded_before_the_preprocessing():
    rows = np.full((17, 1), 1e6 + 1)
    rows[16] += -0.97  # single precision has steps of 1/16 there: the model is given 1e6
    target = Target(Behind(Shifted(shift=1e6), -0.01), Task.BINARY)
    assert target.outputs(rows)[16] < 0
    assert certified(target, rows, np.ones(17), ThreatModel.linf(epsilon=0.0)).tolist() == [True] * 16 + [False]


class Capped(nn.Linear):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows).clamp(max=3.0) * (rows < 4.0)


def test_a_layer_with_a_forward_of_its_own_has_no_certificate():
    rows = np.r_[np.ones((16, 1)), [[5.0]]]
    target = Target(Behind(Shifted(), 0.0, Capped), Task.BINARY)
    assert certified(target, rows, np.ones(17), ThreatModel.linf(epsilon=0.1)) is None


def test_a_row_with_an_infinite_cell_is_feasible_as_it_is_in_every_norm():
    rows = np.array([[np.inf, 0.0], [np.nan, 0.0], [1.0, 0.0]])
    schema = Schema((number("a"), number("b")))
    for norm in ("linf", "l2", "l1"):
        threat = ThreatModel.from_schema(schema, normal(2), level="S3", norm=norm)
        assert feasible(rows, rows, threat).all()


def test_a_rank_budget_has_no_length():
    with pytest.raises(BadInput, match="rank"):
        ThreatModel.from_schema(Schema((number("a"),)), normal(1), level="S3", budget="rank", norm="l2")


@pytest.mark.parametrize("relation", ["älter <= b", "(älter +\n 1) <= b * 1_000", "-älter ** 2 <= --b"])
def test_the_checker_reads_every_relation_that_can_be_declared(relation):
    rows = normal(2)
    threat = ThreatModel.from_schema(Schema((number("älter"), number("b")), (relation,)), rows, level="S3")
    assert feasible(rows, rows, threat).all()


class Memory(dict):
    put = dict.__setitem__


def test_a_bank_keeps_threats_apart_that_share_the_name_of_their_level():
    rows, schema = normal(2) ** 3, Schema((number("a"), number("b")))
    threats = [ThreatModel.from_schema(schema, rows, level="S3", budget=budget) for budget in ("rank", "sigma")]
    given = (Linear(1.0, 1.0), rows, (rows.sum(axis=1) > 0).astype(float), threats)
    kept, plain = run_campaign(*given, bank=Memory()), run_campaign(*given)
    assert [level.attacked for level in kept.levels] == [level.attacked for level in plain.levels]
    gradients = [[level.attacks[0].infeasible for level in report.levels] for report in (kept, plain)]
    assert gradients[0] == gradients[1] == [0, 0]
