import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.robustness.noise import FAMILIES, Surroundings, corrupt
from monitor.robustness.scale import robust_scale
from monitor.schema import Schema

N = 4_000
_rng = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "amount": _rng.lognormal(3, 1, N),
        "count": _rng.integers(0, 50, N),
        "channel": _rng.choice(["app", "web", "shop"], N),
        "new": _rng.random(N) < 0.3,
    }
)
SCHEMA = Schema.infer(FRAME)
X = SCHEMA.encode(FRAME)
AROUND = Surroundings.of(SCHEMA, X)
AMOUNT, COUNT, CHANNEL, NEW = range(4)


def noisy(family: str, severity: int, seed: int = 0) -> np.ndarray:
    return corrupt(family, X, severity, AROUND, np.random.default_rng(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_changes_a_copy_more_at_each_severity_and_repeats_by_seed(family):
    before = X.copy()
    changes = [
        np.nanmean(~np.isclose(noisy(family, s), X)) + np.nanmean(np.abs(noisy(family, s) - X)) for s in (1, 3, 5)
    ]
    assert np.array_equal(X, before)
    assert changes[0] < changes[1] < changes[2]
    assert np.array_equal(noisy(family, 3, seed=5), noisy(family, 3, seed=5), equal_nan=True)


@pytest.mark.parametrize("family", ["gaussian", "student_t", "offset", "gain", "rounding"])
def test_noise_of_numbers_leaves_categories_and_whole_numbers_such(family):
    changed = noisy(family, 4)
    assert np.array_equal(changed[:, [CHANNEL, NEW]], X[:, [CHANNEL, NEW]])
    assert np.array_equal(changed[:, COUNT], np.round(changed[:, COUNT]))


@pytest.mark.parametrize("family", ["gaussian", "student_t"])
def test_noise_has_the_declared_size_in_robust_sigma(family):
    step = (noisy(family, 4) - X)[:, AMOUNT] / robust_scale(X[:, AMOUNT])
    assert step.std() == pytest.approx(1.0, rel=0.1)


def test_an_offset_moves_a_column_as_one():
    step = (noisy("offset", 5) - X)[:, AMOUNT]
    assert np.abs(step) == pytest.approx(2 * robust_scale(X[:, AMOUNT]))
    assert np.unique(np.sign(step)).size == 1


@pytest.mark.parametrize(("severity", "share"), [(1, 0.01), (3, 0.1), (5, 0.4)])
def test_missing_loses_the_declared_share_of_cells(severity, share):
    assert np.isnan(noisy("missing", severity)).mean() == pytest.approx(share, abs=0.01)


def test_missing_large_loses_large_values_first():
    lost = np.isnan(noisy("missing_large", 4)[:, AMOUNT])
    assert lost.mean() == pytest.approx(0.2, abs=0.03)
    assert X[lost, AMOUNT].mean() > 1.3 * X[~lost, AMOUNT].mean()


@pytest.mark.parametrize(("family", "factor"), [("unit_x10", 10.0), ("unit_x100", 100.0), ("sign", -1.0)])
def test_unit_and_sign_errors_multiply_a_share_of_the_cells(family, factor):
    changed = noisy(family, 5)[:, AMOUNT] / X[:, AMOUNT]
    assert set(np.round(np.unique(changed), 9)) == {1.0, factor}
    assert np.isclose(changed, factor).mean() == pytest.approx(0.4, abs=0.03)


def test_stale_cells_hold_values_of_the_reference():
    changed = noisy("stale", 5)
    assert all(np.isin(changed[:, j], X[:, j]).all() for j in range(4))


def test_swapped_categories_are_known_and_unseen_ones_are_not():
    swapped, unseen = noisy("category_swap", 5)[:, CHANNEL], noisy("unseen_level", 5)[:, CHANNEL]
    assert set(np.unique(swapped)) == {0.0, 1.0, 2.0}
    assert (swapped != X[:, CHANNEL]).mean() == pytest.approx(0.4 * 2 / 3, abs=0.03)
    assert set(np.unique(unseen)) == {0.0, 1.0, 2.0, 3.0}


def test_hard_bounds_hold_under_noise_of_numbers():
    document = SCHEMA.to_document()
    document["features"][AMOUNT]["lower"] = 0.0
    around = Surroundings.of(Schema.from_document(document), X)
    assert corrupt("gaussian", X, 5, around, np.random.default_rng(0))[:, AMOUNT].min() == 0.0


def test_an_unknown_family_names_the_known_ones():
    with pytest.raises(BadInput, match="gaussian, student_t, offset"):
        corrupt("cosmic_rays", X, 1, AROUND, np.random.default_rng(0))
