import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.robustness import ThreatModel, feasible, reality_cap
from monitor.robustness.scale import robust_scale
from monitor.schema import Direction, Feature, Kind, Schema

SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC, unit="EUR", lower=0.0, mutable=True),
        Feature(name="months", kind=Kind.INTEGER, unit="months", mutable=True, direction=Direction.UP),
        Feature(name="age", kind=Kind.NUMERIC),
        Feature(name="channel", kind=Kind.CATEGORICAL, levels=("app", "web"), mutable=True),
    )
)


def reference(n: int = 2_000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    columns = [rng.lognormal(5, 1, n), rng.integers(0, 20, n), rng.normal(40, 10, n), rng.integers(0, 2, n)]
    return np.column_stack(columns).astype(float)


def test_the_scale_of_a_normal_column_is_its_standard_deviation():
    column = np.random.default_rng(0).normal(3.0, 2.0, 200_000)
    assert robust_scale(column) == pytest.approx(2.0, rel=0.02)


def test_the_scale_falls_back_when_the_quartiles_coincide():
    mostly_zero = np.concatenate([np.zeros(950), np.linspace(1, 10, 50)])
    rarely_set = np.concatenate([np.zeros(9_990), np.arange(10.0)])
    q01, q99 = np.quantile(mostly_zero, [0.01, 0.99])
    assert robust_scale(mostly_zero) == pytest.approx((q99 - q01) / 4.65)
    assert robust_scale(rarely_set) == pytest.approx(np.arange(1.0, 10.0).std())
    assert robust_scale(np.full(5, 3.0)) == 0.0


def test_the_box_is_budget_and_bounds_and_direction_and_mutability():
    rows = reference()
    threat = ThreatModel.from_schema(SCHEMA, rows, level="S3")
    row = np.array([[300.0, 12.0, 40.0, 1.0]])
    low, high = threat.box(row)
    reach, steps = 0.25 * robust_scale(rows[:, 0]), np.floor(0.25 * robust_scale(rows[:, 1]))
    assert steps >= 1
    assert low[0] == pytest.approx([300 - reach, 12.0, 40.0, 1.0])
    assert high[0] == pytest.approx([300 + reach, 12.0 + steps, 40.0, 1.0])


def test_the_box_stays_within_hard_bounds_yet_always_holds_the_row():
    threat = ThreatModel.from_schema(SCHEMA, reference(), level="S5")
    rows = np.array([[1.0, 3.0, 0.0, 0.0], [-50.0, 3.0, 0.0, 0.0], [1e9, 3.0, 0.0, 0.0]])
    low, high = threat.box(rows)
    assert low[0, 0] >= 0
    assert low[1, 0] == -50.0
    assert high[2, 0] == 1e9
    assert ((low <= rows) & (rows <= high)).all()


def test_missing_cells_and_fractions_of_whole_numbers_cannot_move():
    threat = ThreatModel.from_schema(SCHEMA, reference(), level="S5")
    rows = np.array([[np.nan, 12.5, np.nan, np.nan]])
    low, high = threat.box(rows)
    assert np.array_equal(low, rows, equal_nan=True)
    assert np.array_equal(high, rows, equal_nan=True)


def test_what_is_mutable_but_cannot_move_is_listed_with_its_reason():
    threat = ThreatModel.from_schema(SCHEMA, reference(), level="S1")
    assert threat.frozen == {"months": "whole numbers, and S1 is less than one step"}
    assert threat.at("S3").frozen == {}
    still = ThreatModel.from_schema(SCHEMA, reference(), level="S3", swaps=0)
    assert still.frozen == {"channel": "it moves by steps, and the budget is less than one"}


def test_budgets_are_told_in_raw_units():
    threat = ThreatModel.from_schema(SCHEMA, reference(), level="S3")
    amount, months, channel = threat.raw_budget()
    assert amount.text.startswith("amount ± ")
    assert amount.text.endswith(" EUR")
    assert months.down == 0
    assert months.up >= 1
    assert "+" in months.text
    assert channel.text == "channel: another level"


def test_a_rank_budget_moves_a_share_of_the_reference():
    rows = np.arange(1_001.0)[:, None]
    schema = Schema((Feature(name="x", kind=Kind.NUMERIC, mutable=True),))
    threat = ThreatModel.from_schema(schema, rows, level="S3", budget="rank")
    low, high = threat.box(np.array([[500.0]]))
    assert low[0, 0] == pytest.approx(475, abs=1)
    assert high[0, 0] == pytest.approx(525, abs=1)


def test_an_atom_does_not_leak_under_a_rank_budget():
    rows = np.concatenate([np.zeros(500), np.linspace(1, 2, 500)])[:, None]
    schema = Schema((Feature(name="x", kind=Kind.NUMERIC, mutable=True),))
    low, high = ThreatModel.from_schema(schema, rows, level="S5", budget="rank").box(np.array([[0.0]]))
    assert low[0, 0] == high[0, 0] == 0.0  # rank .25 ± .10 stays within the atom


@pytest.mark.parametrize("budget", ["sigma", "rank"])
def test_box_vertices_are_feasible_and_a_step_beyond_is_not(budget):
    rows = reference()
    threat = ThreatModel.from_schema(SCHEMA, rows, level="S3", budget=budget)
    low, high = threat.box(rows)
    assert feasible(rows, low, threat).all()
    assert feasible(rows, high, threat).all()
    beyond = rows.copy()
    beyond[:, 0] = high[:, 0] + 0.5 * robust_scale(rows[:, 0])
    assert not feasible(rows, beyond, threat).any()


def test_the_checker_refuses_immutable_cells_wrong_directions_fractions_and_filled_gaps():
    threat = ThreatModel.from_schema(SCHEMA, reference(), level="S5")
    clean = np.array([[300.0, 12.0, 40.0, 1.0]])
    for column, value in [(2, 40.1), (1, 11.0), (1, 12.5), (3, 2.0), (3, 0.5), (0, np.nan)]:
        moved = clean.copy()
        moved[0, column] = value
        assert not feasible(clean, moved, threat)[0], (column, value)
    gap = np.array([[np.nan, 12.0, 40.0, 1.0]])
    assert not feasible(gap, clean, threat)[0]


def test_the_reality_cap_is_half_the_distance_between_classes():
    x = np.concatenate([np.linspace(-1, 1, 100), np.linspace(4, 6, 100)])
    frame = pd.DataFrame({"x": x, "c": "a"})
    schema = Schema.infer(frame, mutable=["x"])
    rows, labels = schema.encode(frame), np.repeat([0, 1], 100)
    cap = reality_cap(schema, rows, labels)
    nearest = np.concatenate([4 - x[:100], x[100:] - 1]) / robust_scale(x)
    assert cap == pytest.approx(np.quantile(nearest, 0.05) / 2, rel=1e-6)
    threat = ThreatModel.from_schema(schema, rows, level="S1", reality_cap=cap)
    assert threat.beyond_reality == (threat.epsilon > cap)


def test_classes_that_never_share_a_category_have_no_reality_cap():
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "c": ["a", "a", "b", "b"]})
    schema = Schema.infer(frame)
    assert reality_cap(schema, schema.encode(frame), np.array([0, 0, 1, 1])) is None


def test_unknown_levels_and_wrong_shapes_are_refused():
    with pytest.raises(BadInput, match="S1, S2, S3, S4, S5"):
        ThreatModel.from_schema(SCHEMA, reference(), level="S9")
    with pytest.raises(BadInput, match=r"shape \(n, 4\)"):
        ThreatModel.from_schema(SCHEMA, reference()[:, :2])
    with pytest.raises(BadInput, match="epsilon"):
        ThreatModel.linf(epsilon=-1.0)
