"""Columns that no statistic can be computed of: a status and a sentence for each, and the others unharmed."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitor.drift import Detector, FeatureStatus, Reference, Status
from monitor.schema import Schema
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
ROWS = 200
COLUMNS = {
    "constant": lambda rng, i: np.full(ROWS, 3.0),
    "all_null": lambda rng, i: np.full(ROWS, np.nan),
    "infinite": lambda rng, i: np.where(rng.random(ROWS) < 0.5, np.inf, -np.inf),
    "many_levels": lambda rng, i: [f"{i}-{row}" for row in range(ROWS)],
    "mixed": lambda rng, i: [1, "two", None, 4.5, True] * (ROWS // 5),
    "huge": lambda rng, i: [10**30 + int(step) for step in rng.integers(0, 10**6, ROWS)],
    "nearly_huge": lambda rng, i: rng.normal(size=ROWS) * 1e300,
}


def _window(i):
    return Window(START + timedelta(days=i), START + timedelta(days=i + 1))


def _frame(i, shift=0.0):
    rng = np.random.default_rng(i)
    columns = {name: made(rng, i) for name, made in COLUMNS.items()}
    return pd.DataFrame({"good": rng.normal(shift, 1, ROWS), **columns})


@pytest.fixture(scope="module")
def detector():
    entries = [(_window(i), _frame(i)) for i in range(28)]
    together = pd.concat([frame for _, frame in entries])
    return Detector(Reference.fit(entries, schema=Schema.infer(together)))


def test_no_column_costs_another_its_verdict_and_each_has_a_sentence(detector):
    calm = detector.update(_window(28), _frame(100))
    moved = detector.update(_window(29), _frame(101, shift=2.0))
    assert (calm.alarm, moved.alarm, moved.culprits) == (False, True, ("good",))
    assert all(feature.sentence for feature in moved.features.values())
    assert json.loads(json.dumps(moved.to_document(), allow_nan=False)) == moved.to_document()


def test_what_cannot_be_tested_says_so(detector):
    statuses = {name: feature.status for name, feature in detector.update(_window(30), _frame(102)).features.items()}
    assert statuses["constant"] is FeatureStatus.CONSTANT
    assert statuses["all_null"] is FeatureStatus.ALL_NULL
    assert statuses["many_levels"] is FeatureStatus.HIGH_CARDINALITY


@pytest.mark.parametrize("rows", [0, 1])
def test_a_window_of_no_or_one_row_is_insufficient(detector, rows):
    report = detector.update(_window(31 + rows), _frame(103).head(rows))
    assert (report.status, report.alarm) == (Status.INSUFFICIENT, False)
    assert "at least 50 are needed" in report.sentence


@pytest.mark.slow
def test_a_million_levels_are_counted_as_present_or_missing():
    frame = pd.DataFrame({"id": np.arange(1_000_000).astype(str)})
    schema = Schema.infer(frame)
    entries = [(_window(i), frame.iloc[i * 50_000 : (i + 1) * 50_000]) for i in range(20)]
    report = Detector(Reference.fit(entries, schema=schema)).update(_window(20), frame.head(1_000))
    assert report.features["id"].status is FeatureStatus.HIGH_CARDINALITY
