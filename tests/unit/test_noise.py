import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from monitor.errors import BadInput
from monitor.robustness.noise import FAMILIES, Surroundings, corrupt, sensors
from monitor.robustness.scale import robust_scale
from monitor.schema import Schema

N = 4_000
_rng = np.random.default_rng(0)


def steady(n: int) -> np.ndarray:
    """Standard normals that hardly change from row to row, as a sensor's values do."""
    return lfilter([np.sqrt(1 - 0.98**2)], [1, -0.98], _rng.normal(size=n))


FRAME = pd.DataFrame(
    {
        "amount": np.exp(3 + steady(N)),
        "count": np.floor(50 * norm.cdf(steady(N))),
        "channel": _rng.choice(["app", "apt", "shop"], N),
        "new": _rng.random(N) < 0.3,
    }
).astype({"count": int})
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
    assert not np.array_equal(noisy(family, 3), X, equal_nan=True)


SENSORS = [f.name for f in (*sensors.FIRST, *sensors.SECOND)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_shape_and_takes_few_rows_and_holes(family):
    holes = X[:40].copy()
    holes[::3, AMOUNT], holes[1::4, CHANNEL] = np.nan, np.nan
    for rows in (holes, X[:2], X[:1]):
        changed = corrupt(family, rows, 5, AROUND, np.random.default_rng(0))
        assert changed.shape == rows.shape
        assert not np.isinf(changed).any()
    assert np.isnan(corrupt(family, holes, 1, AROUND, np.random.default_rng(0)))[::3, AMOUNT].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_disturbs_only_the_kinds_that_it_needs(family):
    changed = ~np.isclose(noisy(family, 5), X)
    allowed = {
        "numbers": [AMOUNT, COUNT],
        "two numbers": [AMOUNT, COUNT],
        "categories": [CHANNEL],
        "levels": [CHANNEL, NEW],
        "anything": [AMOUNT, COUNT, CHANNEL, NEW],
    }[FAMILIES[family].needs]
    assert sorted(np.flatnonzero(changed.any(axis=0))) == allowed


def test_a_family_applies_where_there_is_something_to_disturb():
    numbers = Surroundings.of(Schema.infer(FRAME[["amount"]]), X[:, [AMOUNT]])
    applied = {name for name, family in FAMILIES.items() if family.applies(numbers)}
    assert {"gaussian", "missing", "snr"} <= applied
    assert not {"typo", "category_swap", "unseen_level", "column_swap"} & applied
    assert all(family.applies(AROUND) for family in FAMILIES.values())


@pytest.mark.parametrize("family", SENSORS)
def test_sensors_leave_whole_numbers_whole_and_within_the_bounds(family):
    document = SCHEMA.to_document()
    for j in (AMOUNT, COUNT):
        document["features"][j] |= {"lower": float(X[:, j].min()), "upper": float(X[:, j].max())}
    around = Surroundings.of(Schema.from_document(document), X)
    changed = corrupt(family, X, 4, around, np.random.default_rng(0))[:, :2]
    known = np.isfinite(changed)
    assert np.array_equal(changed[known[:, COUNT], COUNT], np.round(changed[known[:, COUNT], COUNT]))
    assert ((changed >= X[:, :2].min(axis=0)) & (changed <= X[:, :2].max(axis=0)))[known].all()


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


def test_a_drift_grows_over_the_rows_to_its_size():
    step = np.abs(noisy("drift", 4) - X)[:, AMOUNT] / robust_scale(X[:, AMOUNT])
    assert step == pytest.approx(np.linspace(0, 1, N), abs=1e-9)


def test_spikes_are_few_and_six_sigma_high():
    step = np.abs(noisy("spikes", 3) - X)[:, AMOUNT] / robust_scale(X[:, AMOUNT])
    assert set(np.round(step, 6)) == {0.0, 6.0}
    assert (step > 0).mean() == pytest.approx(0.1, abs=0.02)


def test_stuck_cells_hold_the_last_value_before_the_run():
    changed = noisy("stuck", 5)[:, AMOUNT]
    held = changed != X[:, AMOUNT]
    assert held.mean() == pytest.approx(0.4, abs=0.05)
    assert np.array_equal(changed[1:][held[1:]], changed[:-1][held[1:]])
    assert np.diff(np.flatnonzero(np.diff(held.astype(int)))).max() >= 10


def test_saturation_stops_a_share_of_the_values_at_two_limits():
    changed = noisy("saturation", 5)[:, AMOUNT]
    low, high = np.quantile(X[:, AMOUNT], [0.2, 0.8])
    assert changed == pytest.approx(np.clip(X[:, AMOUNT], low, high))


def test_drop_outs_come_in_runs_of_the_declared_share():
    lost = np.isnan(noisy("dropout", 5)[:, AMOUNT]).astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], lost, [0]])))
    assert lost.mean() == pytest.approx(0.4, abs=0.05)
    assert np.diff(edges)[:-1:2].min() >= 10


def test_lag_brings_the_numbers_of_earlier_rows_and_the_categories_in_time():
    changed = noisy("lag", 3)
    assert np.array_equal(changed[5:, [AMOUNT, COUNT]], X[:-5, [AMOUNT, COUNT]])
    assert np.array_equal(changed[:, [CHANNEL, NEW]], X[:, [CHANNEL, NEW]])


def test_common_mode_moves_the_numbers_of_a_row_together():
    step = (noisy("common_mode", 5) - X)[:, :2] / AROUND.scale[:2]
    assert np.corrcoef(step.T)[0, 1] > 0.99
    assert step[:, 0].std() == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize(("severity", "decibel"), [(1, 40), (3, 20), (5, 0)])
def test_the_signal_to_noise_ratio_is_the_declared_one(severity, decibel):
    noise = (noisy("snr", severity) - X)[:, AMOUNT]
    assert 10 * np.log10(X[:, AMOUNT].var() / noise.var()) == pytest.approx(decibel, abs=0.5)


def test_missing_by_other_depends_on_the_next_feature_alone():
    lost = np.isnan(noisy("missing_by_other", 5)[:, AMOUNT])
    assert lost.mean() == pytest.approx(0.4, abs=0.03)
    assert X[lost, COUNT].mean() > 1.2 * X[~lost, COUNT].mean()
    assert np.isnan(noisy("missing_by_other", 5)[:, CHANNEL])[X[:, NEW] == 1].mean() > 0.6


def test_a_typo_makes_a_level_one_letter_away_or_an_unseen_one():
    levels = list(SCHEMA["channel"].levels)
    changed, before = noisy("typo", 5)[:, CHANNEL], X[:, CHANNEL]
    hit = changed != before
    assert hit.mean() == pytest.approx(0.4, abs=0.03)
    made = {(levels[int(a)], [*levels, "unseen"][int(b)]) for a, b in zip(before[hit], changed[hit], strict=True)}
    assert made == {("app", "apt"), ("apt", "app"), ("shop", "unseen")}


def test_swapped_columns_exchange_their_values_on_a_share_of_rows():
    changed = noisy("column_swap", 5)
    hit = changed[:, AMOUNT] != X[:, AMOUNT]
    assert hit.mean() == pytest.approx(0.4, abs=0.03)
    assert np.array_equal(changed[hit][:, [AMOUNT, COUNT]], X[hit][:, [COUNT, AMOUNT]])


def test_hard_bounds_hold_under_noise_of_numbers():
    document = SCHEMA.to_document()
    document["features"][AMOUNT]["lower"] = 0.0
    around = Surroundings.of(Schema.from_document(document), X)
    assert corrupt("gaussian", X, 5, around, np.random.default_rng(0))[:, AMOUNT].min() == 0.0


def test_an_unknown_family_names_the_known_ones():
    with pytest.raises(BadInput, match="gaussian, student_t, offset"):
        corrupt("cosmic_rays", X, 1, AROUND, np.random.default_rng(0))
