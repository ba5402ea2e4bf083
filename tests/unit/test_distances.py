"""Distances over counts: closed forms, SciPy as oracle, and the laws that every one of them keeps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from monitor.drift import distances
from monitor.errors import BadInput, BinMismatch

A, B = np.array([120, 340, 280, 160, 100]), np.array([90, 210, 330, 230, 140])
ALL = ["psi", "kl", "js", "hellinger", "tv", "linf"]
counts = st.lists(st.integers(1, 500), min_size=4, max_size=4)


@pytest.mark.parametrize("name", ALL)
def test_equal_proportions_are_at_distance_zero_and_others_are_not(name):
    function = getattr(distances, name)
    assert function(A, A) == pytest.approx(0.0, abs=1e-12)
    assert function(A, B) > 0.001


@given(counts, counts)
def test_symmetric_distances_do_not_depend_on_the_order(a, b):
    for name in ("psi", "js", "hellinger", "tv", "linf"):
        assert getattr(distances, name)(a, b) == pytest.approx(getattr(distances, name)(b, a), abs=1e-12)


@given(counts, counts)
def test_bounded_distances_stay_between_zero_and_one_and_in_their_known_order(a, b):
    tv, hellinger, linf, js = (getattr(distances, name)(a, b) for name in ("tv", "hellinger", "linf", "js"))
    assert 0 <= linf <= tv + 1e-12
    assert hellinger**2 <= tv + 1e-12 <= np.sqrt(2) * hellinger + 2e-12
    assert 0 <= js <= 1


def test_js_agrees_with_scipy():
    assert distances.js(A, B) == pytest.approx(distance.jensenshannon(A, B, base=2), abs=1e-12)


def test_kl_agrees_with_scipy_after_the_same_smoothing():
    assert distances.kl(A, B) == pytest.approx(stats.entropy(B + 0.5, A + 0.5), abs=1e-12)


def test_psi_corrected_for_sampling_has_mean_zero_on_equal_populations():
    rng = np.random.default_rng(0)
    p = A / A.sum()
    found = [distances.psi(rng.multinomial(2_000, p), rng.multinomial(500, p), unbiased=True) for _ in range(400)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 20


@pytest.mark.parametrize(("name", "lambda_"), [("chi2", 1), ("g_test", 0)])
def test_contingency_tests_agree_with_scipy_and_leave_out_empty_bins(name, lambda_):
    oracle = stats.chi2_contingency(np.vstack([A, B]), correction=False, lambda_=lambda_)
    found = getattr(distances, name)(np.append(A, 0), np.append(B, 0))
    assert found == pytest.approx((oracle.statistic, oracle.pvalue), abs=1e-12)


def test_a_single_filled_bin_is_no_evidence():
    assert distances.chi2([10, 0], [20, 0]) == (0.0, 1.0)


def test_ks_over_single_value_bins_is_the_ks_of_the_values():
    values = np.arange(5)
    oracle = stats.ks_2samp(np.repeat(values, A), np.repeat(values, B), method="asymp")
    statistic, _ = distances.ks_from_counts(A, B)
    assert statistic == pytest.approx(oracle.statistic, abs=1e-12)


def test_wasserstein_over_single_value_bins_is_that_of_the_values():
    values = np.array([0.0, 1.0, 2.5, 4.0, 9.0])
    oracle = stats.wasserstein_distance(values, values, A, B)
    assert distances.wasserstein_from_counts(A, B, values) == pytest.approx(oracle, abs=1e-12)
    scored = distances.wasserstein_score(A, B, values, 2.0)
    assert scored.statistic == pytest.approx(oracle / 2)


def test_different_bins_are_refused():
    with pytest.raises(BinMismatch, match="expected counts over 5 bins, got 4"):
        distances.psi(A, B[:4])


def test_a_score_carries_its_sizes_threshold_and_verdict():
    score = distances.score("psi", A, 100 * B, threshold=0.05)
    assert (score.method, score.n_reference, score.n_current, score.p_value, score.exceeds) == (
        "psi",
        1000,
        100_000,
        None,
        True,
    )
    assert distances.score("chi2", A, B, threshold=1e-30).exceeds is False


def test_too_few_rows_are_said_and_never_exceed():
    score = distances.score("js", A, [1, 0, 0, 0, 0], threshold=0.0)
    assert (score.status, score.exceeds) == ("insufficient", False)


def test_an_unknown_statistic_is_refused_with_the_list():
    with pytest.raises(BadInput, match="psi"):
        distances.score("magic", A, B)
