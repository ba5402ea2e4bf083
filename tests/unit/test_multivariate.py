"""Scores of all features together: closed forms, brute force and scikit-learn as oracles; size and power."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from monitor.drift import multivariate
from monitor.drift.multivariate import domain_classifier, mmd
from monitor.errors import BadInput


def _correlated(rng: np.random.Generator, rows: int, rho: float) -> np.ndarray:
    return rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.floats(0.3, 5), st.integers(0, 99), st.integers(1, 50))
def test_mmd_is_the_mean_of_kernels_within_less_those_across(n, m, sigma, seed, block):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n + m, 3))
    kernel = rbf_kernel(rows, gamma=1 / (2 * sigma**2))
    first = np.arange(n + m) < n
    within = [(kernel[np.ix_(s, s)].sum() - s.sum()) / (s.sum() * (s.sum() - 1)) for s in (first, ~first)]
    expected = sum(within) - 2 * kernel[np.ix_(first, ~first)].mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multivariate, "_BLOCK", block)
        assert multivariate._mmd_of(rows, first[None, :], sigma) == pytest.approx([expected], abs=1e-12)


def test_mmd_of_two_normals_is_near_its_closed_form():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2_000, 1)), rng.normal(1, 1, size=(2_000, 1))
    spread = np.subtract(*np.quantile(a, [0.75, 0.25])) / 1.349
    s2, shift = 1 / spread**2, 1 / spread  # after standardising; E k = √(σ²/(σ² + 2s²)) · exp(−Δ²/2(σ² + 2s²)), σ = 1
    expected = 2 * np.sqrt(1 / (1 + 2 * s2)) * (1 - np.exp(-(shift**2) / (2 * (1 + 2 * s2))))
    assert mmd(a, b, bandwidth=1.0, permutations=0).statistic == pytest.approx(expected, abs=0.02)


def test_the_permutation_p_of_mmd_is_uniform_without_a_difference():
    rng = np.random.default_rng(1)
    found = [mmd(*rng.normal(size=(2, 60, 2)), permutations=99, seed=k).p_value for k in range(100)]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.1)
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("score", [mmd, domain_classifier])
def test_a_correlation_that_went_is_seen(score):
    rng = np.random.default_rng(2)
    found = score(_correlated(rng, 1_500, 0.8), _correlated(rng, 1_500, 0.0), threshold=0.01)
    assert found.exceeds


def test_a_linear_classifier_does_not_see_a_correlation_but_sees_a_shift():
    rng = np.random.default_rng(3)
    a = _correlated(rng, 1_000, 0.8)
    blind = domain_classifier(a, _correlated(rng, 1_000, 0.0), model="logistic")
    assert abs(blind.effect) < 0.08
    assert domain_classifier(a, _correlated(rng, 1_000, 0.8) + 0.5, model="logistic").p_value < 1e-9


def test_the_auc_is_that_of_scikit_learn_on_the_held_out_scores(monkeypatch):
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(300, 2)), rng.normal(0.5, 1, size=(300, 2))
    side = np.repeat([0, 1], 300)
    held_out = multivariate._held_out_scores(np.concatenate([a, b]), side, "boosting", 0)
    assert domain_classifier(a, b).statistic == pytest.approx(roc_auc_score(side, held_out), abs=1e-12)


def test_the_p_of_the_classifier_is_rarely_small_without_a_difference():
    rng = np.random.default_rng(5)
    found = [domain_classifier(*rng.normal(size=(2, 100, 2)), model="logistic", seed=k).p_value for k in range(25)]
    assert np.mean(np.array(found) < 0.05) <= 0.2


@pytest.mark.parametrize("score", [mmd, domain_classifier])
def test_missing_values_infinities_and_empty_columns_break_nothing(score):
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 200, 4))
    a[::7, 0], b[::5, 1], a[:, 2], b[3, 3] = np.nan, np.nan, np.nan, np.nan
    found = score(a, b)
    assert np.isfinite([found.statistic, found.p_value, found.effect]).all()


def test_the_same_seed_gives_the_same_score_on_more_rows_than_are_used():
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(2, 3_000, 2))
    found = mmd(a, b, permutations=20, seed=1)
    assert found == mmd(a, b, permutations=20, seed=1)
    assert (found.n_reference, found.n_current) == (3_000, 3_000)


def test_too_few_constant_and_mismatched_rows_are_said():
    assert mmd([[1.0]], [[1.0], [2.0]]).status == "insufficient"
    assert mmd([[1.0]] * 5, [[1.0]] * 5).status == "constant"
    assert domain_classifier([[1.0]] * 5, [[1.0]] * 5).status == "insufficient"
    with pytest.raises(BadInput, match="same features"):
        mmd([[1.0, 2.0]], [[1.0]])
    with pytest.raises(BadInput, match="boosting or logistic"):
        domain_classifier(np.zeros((20, 1)), np.ones((20, 1)), model="forest")
