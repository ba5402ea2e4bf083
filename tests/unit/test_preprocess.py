import numpy as np
import pytest
import torch

from monitor.errors import BadInput
from monitor.robustness.scale import robust_scale
from monitor.schema import Feature, Kind, Schema
from monitor.training import Preprocess

LEVELS = tuple("abcde")
SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC),
        Feature(name="age", kind=Kind.NUMERIC),
        Feature(name="channel", kind=Kind.CATEGORICAL, levels=LEVELS),
    )
)


def reference(n: int = 5_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    codes = rng.choice(5, n, p=[0.5, 0.3, 0.15, 0.05 - 1e-4, 1e-4])
    return np.column_stack([rng.lognormal(3, 2, n), rng.normal(40, 10, n), codes.astype(float)])


@pytest.fixture
def fitted() -> Preprocess:
    return Preprocess(SCHEMA).fit(reference())


def through(preprocess: Preprocess, *rows: list[float]) -> np.ndarray:
    return preprocess(torch.tensor(rows, dtype=torch.float64)).numpy()


def test_a_light_tail_is_scaled_by_median_and_robust_sigma(fitted):
    ages = reference()[:, 1]
    expected = (47.0 - np.median(ages)) / robust_scale(ages)
    assert through(fitted, [1.0, 47.0, 0.0])[0, 1] == pytest.approx(expected, rel=1e-6)


def test_a_heavy_tail_goes_through_a_centred_asinh(fitted):
    amounts = reference()[:, 0]
    expected = np.arcsinh((500.0 - np.median(amounts)) / robust_scale(amounts))
    assert through(fitted, [500.0, 40.0, 0.0])[0, 0] == pytest.approx(expected, rel=1e-6)


def test_wild_values_are_winsorised(fitted):
    top = np.quantile(reference()[:, 1], 0.999)
    assert np.array_equal(through(fitted, [1.0, 1e12, 0.0]), through(fitted, [1.0, top, 0.0]))


def test_missing_numbers_become_the_median_with_an_indicator(fitted):
    outputs = through(fitted, [np.nan, 40.0, 0.0])
    assert outputs[0, [0, 2, 3]].tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("code", "column"), [(0.0, 0), (2.0, 2), (4.0, 5), (5.0, 6), (99.0, 6), (-1.0, 6), (np.nan, 7)]
)
def test_every_category_has_one_column_with_rare_unseen_and_missing_apart(fitted, code, column):
    one_hot = through(fitted, [1.0, 40.0, code])[0, 4:]
    assert one_hot.tolist() == np.eye(8)[column].tolist()


def test_gradients_flow_to_raw_numbers_and_never_turn_nan(fitted):
    rows = torch.tensor([[5.0, 40.0, 1.0], [np.nan, 45.0, np.nan]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(fitted(rows).sum(), rows)
    assert (gradient[0, :2] > 0).all()
    assert gradient[1, 0] == 0
    assert torch.isfinite(gradient).all()


def test_the_statistics_travel_in_the_state(fitted):
    other = Preprocess(SCHEMA)
    other.load_state_dict(fitted.state_dict())
    rows = reference(50)
    assert np.array_equal(through(other, *rows.tolist()), through(fitted, *rows.tolist()))


def test_five_percent_contamination_moves_the_inputs_little(fitted):
    dirty = reference()
    dirty[:250, :2] = 1e9
    moved = Preprocess(SCHEMA).fit(dirty)
    typical = reference()[500:1_000]
    assert np.abs(through(moved, *typical.tolist()) - through(fitted, *typical.tolist()))[:, :2].mean() < 0.2


def test_an_all_missing_or_constant_column_gives_zeros_and_says_it_was_never_seen():
    rows = reference(200)
    rows[:, 0], rows[:, 1] = np.nan, 7.0
    preprocess = Preprocess(SCHEMA).fit(rows)
    assert through(preprocess, [123.0, 7.0, 0.0])[0, :2].tolist() == [0.0, 0.0]
    assert preprocess.seen[:4].tolist() == [False, False, True, False]


def test_no_rows_are_refused():
    with pytest.raises(BadInput, match="got none"):
        Preprocess(SCHEMA).fit(np.empty((0, 3)))
