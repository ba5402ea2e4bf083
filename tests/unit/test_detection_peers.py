"""The rules by which the detection benchmark compares us with peers; no peer's environment is needed."""

import math

import numpy as np
import pytest
from scipy.stats import poisson

from benchmarks.detection_peers import PeerUnavailable, incidents, matched_threshold, poisson_interval, run_peer


def _year(**scores: float) -> list[float]:
    """A year of zeros but for the windows named w<number>."""
    year = [0.0] * 365
    for name, score in scores.items():
        year[int(name[1:])] = score
    return year


def test_no_alarm_is_no_incident():
    assert incidents([False] * 30) == []


def test_an_alarm_seven_windows_after_the_last_one_is_the_same_incident_and_eight_is_another():
    alarm = [window in {3, 10, 17, 25} for window in range(40)]
    assert incidents(alarm) == [3, 25]


def test_an_incident_lasts_as_long_as_alarms_follow_each_other():
    assert incidents([True] * 365) == [0]


def test_every_alarm_is_an_incident_when_none_is_the_same():
    assert incidents([True, True, False, True], same_within=0) == [0, 1, 3]


def test_the_matched_threshold_leaves_the_target_number_of_incidents():
    years = [_year(w10=5.0, w100=3.0, w200=1.0), _year(w50=4.0, w300=2.0)]
    assert matched_threshold(years, 1.0) == 3.0  # 5 and 4 are above: two incidents in two years
    assert matched_threshold(years, 0.5) == 4.0
    assert matched_threshold(years, 0.0) == 5.0


def test_the_matched_threshold_counts_incidents_and_not_alarms():
    assert matched_threshold([_year(w10=5.0, w12=4.0, w14=3.0, w200=2.0)], 1.0) == 2.0


def test_the_matched_threshold_does_not_hide_in_one_endless_incident():
    generator = np.random.default_rng(0)
    years = generator.normal(size=(3, 365)).tolist()
    threshold = matched_threshold(years, 2.0)
    assert threshold > 2  # far below, all alarms are one incident a year, which would meet the target, too
    assert sum(len(incidents([score > threshold for score in year])) for year in years) <= 6


def test_the_matched_threshold_refuses_scores_that_are_not_numbers():
    with pytest.raises(ValueError, match="finite"):
        matched_threshold([[1.0, math.nan]], 1.0)


@pytest.mark.parametrize(("count", "exposure", "level"), [(1, 1.0, 0.95), (7, 3.5, 0.95), (40, 20.0, 0.8)])
def test_the_interval_of_a_rate_has_the_tails_of_the_poisson_distribution(count: int, exposure: float, level: float):
    lower, upper = poisson_interval(count, exposure, level)
    assert poisson.cdf(count, upper * exposure) == pytest.approx((1 - level) / 2)
    assert poisson.sf(count - 1, lower * exposure) == pytest.approx((1 - level) / 2)


def test_no_event_bounds_the_rate_from_above_only():
    assert poisson_interval(0, 4.0) == pytest.approx((0.0, -math.log(0.025) / 4))


def test_an_impossible_count_is_refused():
    with pytest.raises(ValueError, match="count ≥ 0"):
        poisson_interval(-1, 1.0)


def test_an_unknown_peer_is_named_with_the_known_ones():
    with pytest.raises(PeerUnavailable, match="nannyml"):
        run_peer("whylogs", None, None, numeric=[], categorical=[])
