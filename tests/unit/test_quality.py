"""Faults in data are found, named and told apart from drift; stationary windows have none."""

import numpy as np
import pandas as pd
import pytest

from monitor.drift.quality import QualityKind, QualityReference, check_freshness, check_quality
from monitor.errors import NotEnoughData
from monitor.schema import Schema


def _payments(rng: np.random.Generator, rows: int, *, wobble: float = 0.0) -> pd.DataFrame:
    moved = rng.normal(0, wobble, 3)
    channel = rng.choice(["app", "web", "pos"], rows, p=[0.38, 0.32, 0.30])
    frame = pd.DataFrame(
        {
            "amount": rng.lognormal(3.5 + moved[0], 1.1, rows),
            "age": rng.normal(45 + 14 * moved[1], 14, rows).clip(18, 95).round(),
            "temperature": rng.normal(18 + 6 * moved[2], 6, rows),
            "height": rng.normal(172, 9, rows),
            "visits": rng.poisson(1.5, rows).astype(float),
            "channel": channel,
            "device": np.where(channel == "app", rng.choice(["ios", "android"], rows), "none"),
        }
    )
    frame.loc[rng.random(rows) < 0.02, "age"] = np.nan
    return frame


@pytest.fixture(scope="module")
def reference() -> QualityReference:
    frame = _payments(np.random.default_rng(0), 10_000, wobble=0.05)
    return QualityReference.fit(frame, Schema.infer(frame))


@pytest.fixture
def window() -> pd.DataFrame:
    return _payments(np.random.default_rng(1), 400)


def _only(found):
    assert len(found) == 1, [finding.sentence for finding in found]
    return found[0]


@pytest.mark.parametrize(("rows", "wobble"), [(100, 0.05), (200, 0.1)])
def test_four_hundred_stationary_windows_have_no_finding(reference, rows, wobble):
    rng = np.random.default_rng(rows)
    windows = [_payments(rng, rows, wobble=wobble) for _ in range(200)]
    assert [finding.sentence for frame in windows for finding in check_quality(reference, frame)] == []


def test_a_hundredfold_amount_on_one_channel_is_named_with_its_rows(reference, window):
    app = window.channel == "app"
    window.loc[app, "amount"] *= 100
    found = _only(check_quality(reference, window))
    assert (found.kind, found.segment) == (QualityKind.UNIT, "channel=app")
    assert found.share == pytest.approx(app.mean())
    assert found.sentence == f"amount ×100 on channel=app ({app.mean():.0%} of rows)"
    assert found.breaks_pipeline


@pytest.mark.parametrize(("factor", "name"), [(10, "×10"), (1 / 10, "÷10"), (1000, "×1,000"), (1e6, "×1,000,000")])
def test_a_power_of_ten_on_all_rows_is_named(reference, window, factor, name):
    window["amount"] *= factor
    assert _only(check_quality(reference, window)).sentence == f"amount {name} (all rows)"


@pytest.mark.parametrize(("factor", "name"), [(1 / 2.54, "÷2.54"), (0.45359237, "×0.4536"), (1.609344, "×1.609")])
def test_inches_pounds_and_miles_are_seen_where_the_spread_is_small(reference, window, factor, name):
    window["height"] *= factor
    assert _only(check_quality(reference, window)).sentence == f"height {name} (all rows)"


def test_celsius_read_as_fahrenheit_is_named(reference, window):
    window["temperature"] = window.temperature * 1.8 + 32
    assert _only(check_quality(reference, window)).sentence == "temperature °C→°F (all rows)"


def test_the_unit_error_on_one_channel_is_seen_in_nearly_every_day_of_two_hundred_rows(reference):
    rng, seen = np.random.default_rng(5), 0
    for _ in range(30):
        frame = _payments(rng, 200, wobble=0.05)
        frame.loc[frame.channel == "app", "amount"] *= 100
        seen += any(f.sentence.startswith("amount ×100 on channel=app") for f in check_quality(reference, frame))
    assert seen == 30


@pytest.mark.parametrize("sigmas", [-0.5, 0.43, 0.5, 0.85])
def test_a_heavy_tail_that_shifts_is_drift_and_no_unit_error(reference, sigmas):
    rng = np.random.default_rng(3)
    for _ in range(30):
        frame = _payments(rng, 400)
        frame["amount"] *= np.exp(1.1 * sigmas)
        assert check_quality(reference, frame) == ()


def test_counts_have_no_unit(reference, window):
    window["visits"] *= 10
    assert all(found.kind is not QualityKind.UNIT for found in check_quality(reference, window))


def test_missing_values_are_found_when_their_share_jumps_and_not_when_it_creeps(reference, window):
    rng = np.random.default_rng(2)
    creeping, jumping = window.copy(), window.copy()
    creeping.loc[rng.random(400) < 0.03, "age"] = np.nan
    jumping.loc[rng.random(400) < 0.20, "age"] = np.nan
    assert check_quality(reference, creeping) == ()
    assert _only(check_quality(reference, jumping)).kind is QualityKind.MISSING


def test_a_column_that_vanished_is_missing_in_all_rows(reference, window):
    found = _only(check_quality(reference, window.drop(columns="temperature")))
    assert (found.kind, found.feature, found.share) == (QualityKind.MISSING, "temperature", 1.0)


def test_unknown_levels_are_named_and_do_not_break_the_pipeline(reference, window):
    window.loc[window.index[:60], "channel"] = "kiosk"
    found = _only(check_quality(reference, window))
    assert (found.kind, found.breaks_pipeline) == (QualityKind.UNSEEN, False)
    assert "'kiosk'" in found.sentence


def _with_an_empty_column(frame: pd.DataFrame, empty: object) -> pd.DataFrame:
    return frame.assign(price=pd.Series([empty] * len(frame), dtype=object if empty is None else float))


@pytest.mark.parametrize("empty", [np.nan, None])
def test_a_column_that_was_empty_and_has_values_now_came_into_use(window, empty):
    before = _with_an_empty_column(_payments(np.random.default_rng(0), 2_000), empty)
    normal = QualityReference.fit(before, Schema.infer(before))
    assert check_quality(normal, _with_an_empty_column(window, empty)) == ()
    found = _only(check_quality(normal, window.assign(price=20.0)))
    assert (found.kind, found.feature, found.share) == (QualityKind.APPEARED, "price", 1.0)
    assert found.sentence == "price has a value in 100.0% of rows (usually in 0.0%): the column came into use"
    assert not found.breaks_pipeline


def test_a_rarely_filled_column_may_be_filled_a_little_more_often(window):
    rng = np.random.default_rng(3)
    before = _payments(rng, 5_000).assign(note=np.where(rng.random(5_000) < 0.04, 1.0, np.nan))
    normal = QualityReference.fit(before, Schema.infer(before))
    assert check_quality(normal, window.assign(note=np.where(rng.random(400) < 0.08, 1.0, np.nan))) == ()
    assert _only(check_quality(normal, window.assign(note=1.0))).kind is QualityKind.APPEARED


def test_a_sentinel_value_is_out_of_range(reference, window):
    window.loc[window.index[:20], "age"] = 999
    found = _only(check_quality(reference, window))
    assert (found.kind, found.share) == (QualityKind.RANGE, 0.05)
    assert "for example 999" in found.sentence


def test_text_in_a_number_is_a_type_fault_and_is_not_counted_as_missing_too(reference, window):
    mixed = window.temperature.astype(object)
    mixed[window.index[:100]] = "12,5"
    found = _only(check_quality(reference, window.assign(temperature=mixed)))
    assert (found.kind, found.share) == (QualityKind.TYPE, 0.25)


def test_a_silent_window_is_stale_and_a_quiet_one_is_not():
    assert check_freshness(rows=0, usual_rows=200).sentence == "No rows came; usually 200 do."
    assert check_freshness(rows=100, usual_rows=200) is None


def test_a_reference_too_small_to_know_what_is_normal_is_refused():
    frame = _payments(np.random.default_rng(0), 50)
    with pytest.raises(NotEnoughData, match="at least 200"):
        QualityReference.fit(frame, Schema.infer(frame))
