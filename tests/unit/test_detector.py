"""The detector: right alarms, early and few, and a state that comes back bit for bit."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from monitor.drift import (
    Binning,
    Detector,
    FalseAlarmBudget,
    FeatureOverride,
    Profile,
    Reference,
    State,
    Status,
    shadow_replay,
)
from monitor.drift.bins import BinKind
from monitor.errors import BadInput
from monitor.schema import Schema
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
NUMERIC, CATEGORICAL = 16, 4
LEVELS = np.array([0.3, 0.25, 0.2, 0.15, 0.08, 0.02])


def _windows(count):
    return [Window(START + timedelta(days=i), START + timedelta(days=i + 1)) for i in range(count)]


def _frame(seed, rows=400, shift=0.0, app=0.3, missing=0.0):
    rng = np.random.default_rng(seed)
    amount = rng.normal(shift, 1, rows)
    amount[rng.random(rows) < missing] = np.nan
    channel = np.where(rng.random(rows) < app, "app", rng.choice(["web", "shop"], rows))
    return pd.DataFrame({"amount": amount, "channel": channel, "age": rng.integers(18, 90, rows)})


def _started(windows=28, **options):
    days = _windows(windows + 60)
    entries = [(day, _frame(i)) for i, day in enumerate(days[:windows])]
    reference = Reference.fit(entries, schema=Schema.infer(entries[0][1]))
    return Detector(reference, **options), days[windows:]


def _binning():
    """Bins of sixteen normal features with 1 % missing, and four with six levels."""
    rng = np.random.default_rng(7)
    columns = {
        f"x{j:02d}": np.where(rng.random(20_000) < 0.01, np.nan, rng.normal(size=20_000)) for j in range(NUMERIC)
    }
    columns |= {f"c{j}": rng.choice(list("abcdef"), 20_000, p=LEVELS) for j in range(CATEGORICAL)}
    frame = pd.DataFrame(columns)
    return Binning.fit(frame, Schema.infer(frame))


BINNING = _binning()


def _stream(seed, windows, *, rows=1_000, tau=0.0, rho=0.0, season=0.0):
    """Effects of each feature and day, shape (windows, 20): AR(1) with spread tau, and a week on the first five."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(windows, NUMERIC + CATEGORICAL))
    effects = noise.copy()
    for t in range(1, windows):
        effects[t] = rho * effects[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    effects *= tau
    effects[:, :5] += season * np.sin(2 * np.pi * np.arange(windows) / 7 + 1)[:, None]
    return effects, rng


def _profile(effects, rng, rows=1_000):
    """One day's counts drawn straight from the bins' probabilities."""
    counts = np.zeros(BINNING.size, np.int64)
    for bins, effect in zip(BINNING.features, effects, strict=True):
        if bins.kind is BinKind.RANGES:
            share = np.append(0.99 * np.diff(ndtr(np.array([-np.inf, *bins.edges, np.inf]) - effect)), 0.01)
        else:
            base = LEVELS[["abcdef".index(level) for level in bins.shown]]
            score = np.arange(base.size) - base @ np.arange(base.size)
            tilted = base * np.exp(effect * score / np.sqrt(base @ score**2))
            share = np.append(tilted / tilted.sum(), [0, 0, 0])
        counts[BINNING.slice(bins.name)] = rng.multinomial(rows, share / share.sum())
    empty = Profile.empty(BINNING)
    return replace(empty, rows=rows, counts=counts)


def _reports(seed, reference_windows, monitored, *, rows=1_000, shift=0.0, **nature):
    """A year of reports; with a shift, feature x07 moves from the fifteenth monitored window on."""
    effects, rng = _stream(seed, reference_windows + monitored, **nature)
    effects[reference_windows + 14 :, 7] += shift
    days = _windows(len(effects))
    profiles = [_profile(day, rng, rows) for day in effects]
    entries = list(zip(days, profiles, strict=True))
    reference = Reference.from_profiles(entries[:reference_windows], schema=BINNING.schema, binning=BINNING)
    detector = Detector(reference)
    return [detector.update(day, profile) for day, profile in entries[reference_windows:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference_windows", "rows", "nature"),
    [
        (56, 100, {}),
        (28, 1_000, {"tau": 0.05, "rho": 0.5}),
        (56, 1_000, {"tau": 0.05, "rho": 0.5}),
        (56, 1_000, {"tau": 0.1, "rho": 0.7, "season": 0.2}),
    ],
)
def test_stationary_years_have_fewer_false_incidents_than_the_budget(reference_windows, rows, nature):
    years = [_reports(seed, reference_windows, 365, rows=rows, **nature) for seed in range(8)]
    assert sum(report.alarm for year in years for report in year) <= 6
    assert sum(report.state is State.OPEN for year in years for report in year) <= 90


@pytest.mark.slow
@pytest.mark.parametrize("nature", [{"tau": 0.05, "rho": 0.5}, {"tau": 0.05, "rho": 0.5, "season": 0.2}])
def test_a_quarter_sigma_in_one_of_twenty_is_found_in_three_windows_with_its_name(nature):
    delays, named = [], []
    for seed in range(12):
        reports = _reports(100 + seed, 56, 44, shift=0.25, **nature)[14:]
        fired = [i for i, report in enumerate(reports, start=1) if report.features["x07"].lane]
        delays.append(fired[0] if fired else 31)
        named.append(bool(fired) and reports[fired[0] - 1].culprits[0] == "x07")
    assert np.median(delays) <= 3
    assert max(delays) <= 15
    assert np.mean(named) >= 0.9


def test_a_shift_is_one_alarm_with_its_size_in_words():
    detector, days = _started()
    calm = [detector.update(day, _frame(100 + i)) for i, day in enumerate(days[:5])]
    moved = [detector.update(day, _frame(200 + i, shift=0.8)) for i, day in enumerate(days[5:20])]
    assert [report.alarm for report in calm + moved] == [False] * 5 + [True] + [False] * 14
    amount = moved[0].features["amount"]
    assert (moved[0].culprits, moved[-1].culprits, moved[-1].state) == (("amount",), ("amount",), State.OPEN)
    assert amount.interval[0] < 0.8 < amount.interval[1]
    assert (amount.moved, amount.lane) == (True, "window")
    assert moved[0].e_value < moved[5].alarm_at < moved[5].features["amount"].e_value
    assert amount.p_value < 1e-6
    assert abs(amount.effect) > amount.threshold
    assert amount.sentence.startswith("amount rose by 0.")
    assert "median" in amount.sentence


def test_the_share_of_a_level_is_told_in_percent():
    detector, days = _started()
    report = detector.update(days[0], _frame(1, rows=2_000, app=0.6))
    assert (report.culprits, report.features["channel"].level) == (("channel",), "app")
    assert report.features["channel"].sentence.startswith("share of channel=app 30 % → ")


def test_an_incident_resolves_after_calm_windows_and_a_late_return_is_a_new_one():
    detector, days = _started()
    shifts = [1.0] * 5 + [0.0] * 25 + [1.0] * 3
    reports = [detector.update(day, _frame(300 + i, shift=shifts[i])) for i, day in enumerate(days[: len(shifts)])]
    states = [report.state for report in reports]
    assert states.count(State.RESOLVED) == 1
    assert 8 <= states.index(State.RESOLVED) <= 16
    assert [i for i, report in enumerate(reports) if report.alarm] == [0, 30]


def test_a_return_within_seven_days_is_the_same_incident():
    detector, days = _started()
    states = []
    for i, day in enumerate(days):
        report = detector.update(day, _frame(400 + i, shift=1.0 if not states or State.RESOLVED in states else 0.0))
        states.append(report.state)
        if states[-2:] == [State.RESOLVED, State.OPEN]:
            break
    assert (report.alarm, report.reopened, report.state) == (False, True, State.OPEN)


def test_missing_values_and_unseen_levels_are_found():
    detector, days = _started()
    frame = _frame(1, missing=0.1)
    frame.loc[:20, "channel"] = "kiosk"
    report = detector.update(days[0], frame)
    assert set(report.culprits) == {"amount", "channel"}
    assert report.features["amount"].sentence.startswith("missing share of amount 0.")
    assert report.features["channel"].sentence.startswith("share of unseen values of channel 0")


def test_the_scores_of_other_tools_come_along():
    detector, days = _started()
    report = detector.update(days[0], _frame(1, shift=1.0))
    assert set(report.features["amount"].scores) == {"psi", "js", "ks", "wasserstein"}
    assert set(report.features["channel"].scores) == {"psi", "js", "chi2"}
    assert report.features["amount"].scores["psi"].exceeds
    assert report.features["amount"].magnitude == pytest.approx(1.0, abs=0.2)


def test_odd_columns_get_a_status_and_never_break_the_others():
    def odd(i, **options):
        return _frame(i, **options).assign(empty=np.nan, same=3.0, text=[f"{i}-{row}" for row in range(400)])

    days = _windows(30)
    entries = [(day, odd(i)) for i, day in enumerate(days[:28])]
    together = pd.concat([frame for _, frame in entries])
    detector = Detector(Reference.fit(entries, schema=Schema.infer(together)))
    report = detector.update(days[28], odd(50, shift=1.0).drop(columns="age").assign(extra=1))
    statuses = {name: feature.status.value for name, feature in report.features.items() if feature.status != "ok"}
    assert statuses == {
        "empty": "all_null",
        "same": "constant",
        "text": "high_cardinality",
        "age": "missing_column",
        "extra": "unseen_column",
    }
    assert "amount" in report.culprits
    assert all(feature.sentence for feature in report.features.values())


def test_a_short_reference_is_said_and_scores_are_given_meanwhile():
    detector, days = _started(windows=12)
    report = detector.update(days[0], _frame(1, shift=3.0))
    assert (report.status, report.alarm, report.sentence) == (
        Status.INSUFFICIENT,
        False,
        "learning normal, 2 more windows",
    )
    assert report.features["amount"].scores["psi"].exceeds


def test_a_small_window_waits_for_the_next():
    detector, days = _started()
    small = detector.update(days[0], _frame(1, rows=30))
    merged = detector.update(days[1], _frame(2, rows=40))
    assert (small.status, small.rows, merged.status, merged.rows) == (Status.INSUFFICIENT, 30, Status.OK, 70)
    assert merged.window == Window(days[0].start, days[1].end)


@pytest.mark.parametrize("at", [0, 1, 7, 20])
def test_a_restored_detector_goes_on_bit_for_bit(at):
    whole, days = _started()
    halved, _ = _started()
    for i, day in enumerate(days[:25]):
        if i == at:
            copy = Reference.from_document(json.loads(json.dumps(halved.reference.to_document())))
            halved = Detector.restore(copy, halved.state())
        frame = _frame(500 + i, shift=0.5 * (i > 10), rows=30 if i == 0 else 400)
        assert halved.update(day, frame).to_document() == whole.update(day, frame).to_document()
    assert halved.state() == whole.state()


def test_a_state_needs_the_reference_that_made_it():
    detector, _ = _started()
    other, _ = _started(windows=20)
    with pytest.raises(BadInput, match="start afresh"):
        Detector.restore(other.reference, detector.state())
    with pytest.raises(BadInput, match="Detector.state"):
        Detector.restore(detector.reference, b"junk")


def test_budget_and_sensitivity_survive_and_can_be_replaced():
    detector, _ = _started(budget=FalseAlarmBudget(incidents=4), sensitivity="quiet")
    kept = Detector.restore(detector.reference, detector.state())
    other = Detector.restore(detector.reference, detector.state(), sensitivity="sensitive")
    assert (kept.budget.incidents, kept.sensitivity, other.sensitivity) == (4, "quiet", "sensitive")
    with pytest.raises(BadInput, match="sensitive, balanced, quiet"):
        Detector(detector.reference, sensitivity="deaf")


def test_a_report_is_plain_json():
    detector, days = _started()
    frame = _frame(1)
    frame.loc[0, "amount"] = np.inf
    document = detector.update(days[0], frame).to_document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_a_feature_with_a_season_is_judged_against_its_own_weekday():
    days = _windows(70)
    frames = [_frame(i, shift=1.0 * (day.start.weekday() >= 5)) for i, day in enumerate(days)]
    reference = Reference.fit(list(zip(days[:42], frames[:42], strict=True)), schema=Schema.infer(frames[0]))
    detector = Detector(reference)
    assert not any(detector.update(day, frame).alarm for day, frame in zip(days[42:], frames[42:], strict=True))
    sunday_on_a_monday = detector.update(_windows(71)[-1], _frame(99, shift=1.0))
    assert sunday_on_a_monday.culprits == ("amount",)


def test_a_muted_feature_is_shown_and_never_alarms():
    detector, days = _started(overrides={"amount": FeatureOverride(weight=0)})
    report = detector.update(days[0], _frame(1, shift=2.0))
    assert (report.alarm, report.culprits) == (False, ())
    assert report.features["amount"].effect > 1


def test_a_feature_may_be_tolerated_more_than_the_others():
    detector, days = _started(overrides={"amount": FeatureOverride(tolerance=3.0)})
    assert not detector.update(days[0], _frame(1, shift=0.8)).alarm
    assert detector.update(days[1], _frame(2, shift=0.8, app=0.6)).culprits == ("channel",)


def test_an_expected_event_is_shown_and_neither_alarms_nor_is_remembered():
    detector, days = _started()
    before = detector.state()
    report = detector.update(days[0], _frame(1, shift=3.0), expected="Black Friday")
    assert (report.status, report.alarm, detector.state() == before) == (Status.SKIPPED, False, True)
    assert report.sentence == "Black Friday was expected: shown, and not judged"
    assert report.features["amount"].scores["psi"].exceeds


@pytest.mark.parametrize(
    "override", [{"tolerance": -1.0}, {"weight": -1.0}, {"weight": np.nan}, {"tolerance": np.inf}, {"loudness": 1}]
)
def test_overrides_out_of_range_are_refused(override):
    with pytest.raises(BadInput):
        FeatureOverride.from_document(override)


def test_an_override_of_a_stranger_is_refused():
    with pytest.raises(BadInput, match="expected overrides of amount, channel, age, got amuont"):
        _started(overrides={"amuont": FeatureOverride()})


def test_of_levels_the_sentence_names_the_one_whose_share_changed_most():
    detector, days = _started()
    frame = _frame(1, rows=2_000)
    rng = np.random.default_rng(0)
    channel = rng.choice(["app", "web", "shop", "kiosk"], 2_000, p=[0.3, 0.65, 0.04, 0.01])  # kiosk is surest: unseen
    report = detector.update(days[0], frame.assign(channel=channel))
    assert report.features["channel"].level in ("web", "shop")
    assert not report.features["channel"].sentence.startswith("share of unseen")


def test_a_shadow_replay_tells_what_the_settings_would_have_said_of_the_reference():
    quiet = shadow_replay(_started()[0])
    assert (quiet.windows, quiet.days, quiet.alarms) == (28, 28.0, 0)
    assert quiet.allowed == pytest.approx(28 / 365)
