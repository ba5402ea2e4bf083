"""The thresholds that other tools made customary."""

import numpy as np
import pytest

from monitor.drift.scores import chunk_threshold, customary_thresholds
from monitor.errors import BadInput


@pytest.mark.parametrize(
    ("is_numeric", "distinct", "rows", "test"),
    [
        (True, 6, 1_000, "ks"),
        (True, 5, 1_000, "chi2"),
        (True, 2, 1_000, "z"),
        (False, 12, 1_000, "chi2"),
        (False, 2, 1_000, "z"),
        (True, 6, 1_001, "wasserstein"),
        (True, 5, 1_001, "js"),
        (False, 2, 1_001, "js"),
    ],
)
def test_evidently_chooses_its_test_by_kind_and_by_the_size_of_the_reference(is_numeric, distinct, rows, test):
    found = customary_thresholds("evidently", is_numeric=is_numeric, distinct=distinct, n_reference=rows)
    assert list(found) == [test]


def test_evidentlys_jensen_shannon_threshold_is_translated_from_nats_to_bits():
    found = customary_thresholds("evidently", is_numeric=False, distinct=9, n_reference=5_000)["js"]
    assert found * np.sqrt(np.log(2)) == pytest.approx(0.1)


def test_a_chunk_threshold_is_three_deviations_above_the_mean_of_the_chunks():
    distances = np.random.default_rng(0).uniform(0.01, 0.05, 30)
    assert chunk_threshold([*distances, np.nan]) == pytest.approx(distances.mean() + 3 * distances.std())


def test_an_unknown_profile_is_refused_with_the_list():
    with pytest.raises(BadInput, match="evidently, psi, nannyml, sagemaker"):
        customary_thresholds("mine", is_numeric=True, distinct=9, n_reference=9)
