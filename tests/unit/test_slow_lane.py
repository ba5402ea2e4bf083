"""The slow lane: bets that are fair under the null hypothesis, and that a lasting small shift loses."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitor.drift import Binning, Detector, FalseAlarmBudget, FeatureOverride, Profile, Reference
from monitor.drift.slow_lane import STAKED, Bets, SlowLane
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
ROWS = 300
FEATURES = 4


def _windows(count):
    return [Window(START + timedelta(days=i), START + timedelta(days=i + 1)) for i in range(count)]


def _frame(rng, rows=ROWS, shift=0.0):
    frame = pd.DataFrame(rng.normal(size=(rows, FEATURES)), columns=[f"x{j}" for j in range(FEATURES)])
    frame["c"] = rng.choice(["a", "b", "c"], rows, p=[0.6, 0.3, 0.1])
    return frame.assign(x0=frame.x0 + shift)


def _reference(seed, windows=40):
    rng = np.random.default_rng(seed)
    entries = [(window, _frame(rng)) for window in _windows(windows)]
    frames = pd.concat([frame for _, frame in entries])
    binning = Binning.fit(frames)
    return Reference.fit(entries, schema=binning.schema, binning=binning)


def _lane(reference, ticks):
    normal = reference.normal
    tolerance = np.full(normal.size, 0.05)
    return SlowLane(normal, ticks=ticks, tolerance=tolerance, weights=normal.slow_weights)


def test_no_bet_wins_on_average_when_rows_follow_the_reference():
    reference = _reference(0, windows=200)
    lane, rng = _lane(reference, 30), np.random.default_rng(1)
    usable = np.ones(reference.normal.size, np.bool_)
    gains = []
    for _ in range(400):
        bets, profile = lane.fresh(), Profile.of(_frame(rng), reference.binning)
        lane.update(bets, profile.counts, profile.rows, 0, usable)  # M = e·(0 + 1): what the window multiplied
        gains.append(bets.directed)
    mean, error = np.mean(gains, axis=0), np.std(gains, axis=0) / 20
    assert mean.shape[0] * STAKED == mean.size
    assert (mean <= 1 + 4 * error).all()


@pytest.mark.slow
@pytest.mark.parametrize("c", [10, 30])
def test_the_average_run_length_on_exact_nulls_is_at_least_c(c):
    """Alarms at 5c of the slow lane alone: far rarer than one in c windows; streams of 3c, twenty references."""
    windows, alarms = 0, 0
    for seed in range(20):
        reference = _reference(100 + seed)
        lane, rng = _lane(reference, c), np.random.default_rng(seed)
        bets, usable = lane.fresh(), np.ones(reference.normal.size, np.bool_)
        for _ in range(3 * c):
            profile = Profile.of(_frame(rng), reference.binning)
            lane.update(bets, profile.counts, profile.rows, 0, usable)
            windows += 1
            if lane.evidence(bets).e_value >= lane.alarm_at:
                alarms += 1
                break
    assert windows / max(alarms, 1) >= c


@pytest.mark.slow
@pytest.mark.parametrize("per_days", [10, 30])
def test_the_whole_detector_keeps_its_average_run_length_on_exact_nulls(per_days):
    """Both lanes, pairs and all; a budget below thirty windows is kept as if it were thirty."""
    windows, alarms = 0, 0
    for seed in range(16):
        detector = Detector(_reference(200 + seed), budget=FalseAlarmBudget(per_days=per_days))
        rng = np.random.default_rng(seed)
        for window in _windows(130)[40:]:
            windows += 1
            if detector.update(window, _frame(rng)).alarm:
                alarms += 1
                break
    assert windows / max(alarms, 1) >= per_days


def test_a_small_lasting_shift_is_worth_more_and_more():
    reference, rng = _reference(0), np.random.default_rng(5)
    detector = Detector(reference)
    e_values = [detector.update(window, _frame(rng, shift=0.2)).e_value for window in _windows(60)[40:]]
    assert e_values[-1] > e_values[9] > e_values[0]
    assert e_values[-1] > detector.update(_windows(61)[-1], _frame(rng)).alarm_at


def test_one_far_day_is_not_a_lasting_shift():
    reference, rng = _reference(0), np.random.default_rng(5)
    lane = _lane(reference, 365)
    bets = lane.fresh()
    far = Profile.of(_frame(rng, shift=5.0), reference.binning)
    lane.update(bets, far.counts, far.rows, 0, np.ones(reference.normal.size, np.bool_))
    assert lane.evidence(bets).e_value < lane.alarm_at


def test_bets_that_cannot_be_tested_neither_win_nor_lose():
    reference, rng = _reference(0), np.random.default_rng(5)
    lane = _lane(reference, 365)
    bets = lane.fresh()
    profile = Profile.of(_frame(rng, shift=1.0), reference.binning)
    lane.update(bets, profile.counts, profile.rows, 0, np.zeros(reference.normal.size, np.bool_))
    assert not bets.directed.any()
    assert not bets.shapes.any()


def test_forgetting_keeps_what_the_past_looked_like():
    bets = Bets.fresh(2, 1, 3)
    bets.directed[:], bets.past[:] = 7.0, 1.5
    again = bets.forgotten()
    assert not again.directed.any()
    assert (again.past == 1.5).all()


def test_a_feature_that_was_never_filled_does_not_move_the_model_when_it_is():
    rng = np.random.default_rng(0)
    entries = [(window, _frame(rng).assign(nothing=np.nan)) for window in _windows(40)]
    together = pd.concat([frame for _, frame in entries])
    reference = Reference.fit(entries, schema=Binning.fit(together).schema)
    detector = Detector(reference)
    filled = [detector.update(window, _frame(rng).assign(nothing=7.0)) for window in _windows(70)[40:]]
    assert not any(report.alarm for report in filled)


def test_a_muted_feature_has_no_part_in_the_bet_on_the_whole_model():
    reference, rng = _reference(0), np.random.default_rng(5)
    detector = Detector(reference, overrides={"x0": FeatureOverride(weight=0)})
    reports = [detector.update(window, _frame(rng, shift=1.0)) for window in _windows(70)[40:]]
    assert not any(report.alarm for report in reports)
    assert max(report.e_value for report in reports) < reports[0].alarm_at / 10
