"""Exact two-sample statistics: SciPy is the oracle, to 1e-12."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitor.drift import sorted_sample, two_sample
from monitor.drift.sorted_sample import Divergences, SortedSample
from monitor.errors import BadInput

RNG = np.random.default_rng(0)
CASES = [
    (RNG.normal(size=80), RNG.normal(0.4, 1.2, 60)),
    (RNG.integers(0, 6, 300), RNG.integers(1, 7, 500)),
    (RNG.exponential(size=2_000), RNG.exponential(1.1, 1_500)),
]
NUMBERS = st.lists(st.integers(-5, 5) | st.floats(-100, 100), min_size=2, max_size=60).map(
    lambda values: np.array(values, dtype=np.float64)
)
FAMILY = [
    two_sample.ks,
    two_sample.anderson_darling,
    two_sample.cramer_von_mises,
    two_sample.wasserstein,
    two_sample.energy,
]


@pytest.mark.parametrize(("a", "b"), CASES)
def test_ks_agrees_with_scipy(a, b):
    oracle = stats.ks_2samp(a, b, method="exact" if a.size * b.size <= 100_000 else "asymp")
    found = two_sample.ks(a, b)
    assert (found.statistic, found.p_value) == pytest.approx((oracle.statistic, oracle.pvalue), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), CASES)
def test_anderson_darling_agrees_with_scipy(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns that p is capped, and of a parameter that it will drop
        oracle = stats.anderson_ksamp([a, b], midrank=True)
    found = two_sample.anderson_darling(a, b)
    assert (found.statistic, found.p_value) == pytest.approx((oracle.statistic, oracle.pvalue), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("a", "b"), CASES)
def test_cramer_von_mises_agrees_with_scipy(a, b):
    oracle = stats.cramervonmises_2samp(a, b, method="asymptotic")
    found = two_sample.cramer_von_mises(a, b)
    assert (found.statistic, found.p_value) == pytest.approx((oracle.statistic, oracle.pvalue), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), CASES)
def test_wasserstein_and_energy_agree_with_scipy(a, b):
    assert two_sample.wasserstein(a, b).statistic == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)
    assert two_sample.wasserstein(a, b, standardise=True).statistic == two_sample.wasserstein(a, b).effect
    assert two_sample.energy(a, b).statistic == pytest.approx(stats.energy_distance(a, b), abs=1e-12)


@pytest.mark.parametrize("decimals", [12, 2])
def test_samples_longer_than_a_run_agree_with_scipy_with_and_without_ties(decimals):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=90_000).round(decimals), rng.normal(0.01, 1.01, 70_001).round(decimals)
    found = two_sample.exact_scores(a, SortedSample.of(b))
    ks, cvm = stats.ks_2samp(a, b, method="asymp"), stats.cramervonmises_2samp(a, b, method="asymptotic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        anderson = stats.anderson_ksamp([a, b], midrank=True)
    assert (found["ks"].statistic, found["ks"].p_value) == pytest.approx((ks.statistic, ks.pvalue), abs=1e-12)
    assert found["wasserstein"].statistic * a.std() == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)
    assert found["energy"].statistic == pytest.approx(stats.energy_distance(a, b), abs=1e-12)
    # SciPy and this code subtract two numbers of the size of n·m/6N here, so that twelve digits leave eight.
    assert found["cramer_von_mises"].statistic == pytest.approx(cvm.statistic, abs=1e-8)
    assert found["anderson_darling"].statistic == pytest.approx(anderson.statistic, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, NUMBERS, st.integers(1, 9))
def test_how_the_merge_is_cut_changes_nothing(a, b, run):
    whole = Divergences.of(SortedSample.of(a), SortedSample.of(b))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_sample, "_RUN", run)
        cut = Divergences.of(SortedSample.of(a), SortedSample.of(b))
    np.testing.assert_allclose(list(vars(cut).values()), list(vars(whole).values()), rtol=1e-9, atol=1e-9)


def test_a_ks_p_too_small_to_sum_up_is_still_scipys():
    a = RNG.normal(size=40_000)
    found = two_sample.ks(a, a + 0.08)
    oracle = stats.ks_2samp(a, a + 0.08, method="asymp").pvalue
    assert 1e-30 < found.p_value < 1e-13
    assert found.p_value == pytest.approx(oracle, rel=1e-3)


def test_one_merge_gives_what_each_function_gives():
    a, b = CASES[1]
    found = two_sample.exact_scores(a, b, thresholds={"ks": 0.05})
    assert found == {
        "ks": two_sample.ks(a, b, threshold=0.05),
        "anderson_darling": two_sample.anderson_darling(a, b),
        "cramer_von_mises": two_sample.cramer_von_mises(a, b),
        "wasserstein": two_sample.wasserstein(a, b, standardise=True),
        "energy": two_sample.energy(a, b),
    }


def test_z_squared_is_the_chi_square_of_the_same_table():
    found = two_sample.proportions_z(120, 1_000, 95, 600)
    oracle = stats.chi2_contingency([[120, 880], [95, 505]], correction=False)
    assert (found.statistic**2, found.p_value) == pytest.approx((oracle.statistic, oracle.pvalue), abs=1e-12)
    assert found.effect == pytest.approx(95 / 600 - 0.12)


def test_hits_beyond_the_rows_are_refused():
    with pytest.raises(BadInput, match="11 of 10"):
        two_sample.proportions_z(11, 10, 1, 10)


@pytest.mark.parametrize("statistic", FAMILY)
def test_missing_values_are_left_out(statistic):
    a, b = CASES[0]
    assert statistic(np.append(a, np.nan), b) == statistic(a, b)


@pytest.mark.parametrize("statistic", FAMILY)
def test_one_value_is_too_few_to_judge(statistic):
    found = statistic([1.0], [1.0, 2.0])
    assert (found.status, found.p_value, found.exceeds) == ("insufficient", None, False)


@pytest.mark.parametrize("statistic", FAMILY)
def test_the_same_sample_twice_is_no_difference(statistic):
    a = CASES[0][0]
    found = statistic(a, a)
    assert found.statistic <= 1e-6
    assert found.p_value is None or found.p_value >= 0.25


def test_constant_samples_are_said_to_be_constant_by_anderson_darling():
    assert two_sample.anderson_darling([1.0, 1.0], [1.0, 1.0]).status == "constant"
