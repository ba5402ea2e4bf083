"""Columns that follow the clock, name rows, or give the target away."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitor.drift import likely_leaks, time_proxies, unique_columns, year_columns
from monitor.errors import SchemaMismatch
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)


def _weeks(make, weeks=30):
    rng = np.random.default_rng(0)
    windows = [Window(START + timedelta(weeks=i), START + timedelta(weeks=i + 1)) for i in range(weeks)]
    return [(window, make(i, rng)) for i, window in enumerate(windows)]


def test_week_numbers_years_and_running_numbers_are_proxies_and_drifting_features_are_not():
    walk = np.random.default_rng(1).normal(size=30).cumsum()

    def make(i, rng):
        return pd.DataFrame(
            {
                "week": (i + 40) % 52,
                "quarter": f"Q{i // 13}",
                "row": np.arange(i * 100, (i + 1) * 100),
                "price": rng.normal(i / 5, 1, 100),  # drifts by 6σ, but varies within a week
                "shifted": rng.normal(3 * (i > 15), 1, 100),
                "rate": walk[i],  # constant in a week, but wanders
                "level": rng.choice(["a", "b"], 100, p=[0.1 + i / 40, 0.9 - i / 40]),
                "constant": 1,
            }
        )

    assert time_proxies(_weeks(make)) == ("week", "quarter", "row")


def test_a_timestamp_is_a_proxy():
    entries = _weeks(lambda i, _: pd.DataFrame({"at": pd.date_range(START + timedelta(weeks=i), periods=50, freq="h")}))
    assert time_proxies(entries) == ("at",)


def test_a_column_that_counts_the_years_is_told_from_one_that_steps_within_a_year():
    times = pd.Series(pd.date_range("2025-07-01", "2026-06-30 18:00", freq="6h", tz="UTC"))
    later = times.dt.year == 2026
    frame = pd.DataFrame(
        {
            "yr": later.astype(int),
            "season": np.where(later, "25/26", "24/25"),
            "year": times.dt.year,
            "release": (times >= pd.Timestamp("2026-01-03", tz="UTC")).astype(int),
            "constant": 1,
            "half": times.dt.month.gt(6).astype(int).where(times.dt.day > 1),
        }
    )
    assert year_columns(frame, times) == ("yr", "season", "year")
    assert year_columns(frame[~later], times[~later]) == ("year",)


def test_a_few_windows_cannot_tell():
    assert time_proxies(_weeks(lambda i, _: pd.DataFrame({"week": [i] * 10}), weeks=3)) == ()


def test_identifiers_are_text_or_whole_numbers_that_do_not_repeat():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "key": [f"u{i}" for i in range(300)],
            "number": rng.permutation(300),
            "amount": rng.normal(size=300),
            "age": rng.integers(18, 80, 300),
            "flag": rng.random(300) < 0.5,
        }
    )
    assert unique_columns(frame) == ("key", "number")
    assert unique_columns(frame[:50]) == ()


def test_a_copy_of_the_target_is_a_leak_and_a_good_feature_is_not():
    rng = np.random.default_rng(0)
    y = rng.random(2_000) < 0.3
    frame = pd.DataFrame(
        {
            "y": y.astype(int),
            "status": np.where(y, rng.choice(["late", "never"], 2_000), "on time"),
            "fee": np.where(y, rng.exponential(size=2_000), np.nan),
            "score": y + rng.normal(0, 0.7, 2_000),
            "key": [f"k{i}" for i in range(2_000)],
        }
    )
    leaks = likely_leaks(frame, "y")
    assert {leak.name for leak in leaks} == {"status", "fee"}
    assert leaks[0].sentence.startswith(f"{leaks[0].name} alone predicts y almost perfectly (AUC 1.000)")


def test_a_leak_of_three_classes_must_give_every_class_away():
    rng = np.random.default_rng(0)
    y = rng.choice(["a", "b", "c"], 900)
    frame = pd.DataFrame({"y": y, "all": np.char.upper(y), "one": y == "a"})
    assert [leak.name for leak in likely_leaks(frame, "y")] == ["all"]


def test_a_numeric_target_is_cut_at_its_median():
    rng = np.random.default_rng(0)
    y = rng.normal(size=1_000)
    frame = pd.DataFrame({"y": y, "double": 2 * y, "noisy": y + rng.normal(size=1_000)})
    assert [leak.name for leak in likely_leaks(frame, "y")] == ["double"]


def test_a_target_that_is_not_there_is_refused():
    with pytest.raises(SchemaMismatch, match="label"):
        likely_leaks(pd.DataFrame({"y": [1]}), "label")
