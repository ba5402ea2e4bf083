"""Values as a service holds them, as the server reads them; and what importing the client costs."""

import json
import math
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.client.lines import label_line, plain, trace_line
from monitor.intake.formats import LINES, read

ROOT = Path(__file__).resolve().parents[2]


class Colour(Enum):
    RED = "red"


def sent(features: dict, **told: object) -> dict:
    """A row as the server's own reader finds it."""
    row = {"trace_id": "a", "event_time": 0.0, "version": None, "score": None, "prediction": None} | told
    received = read(trace_line(features, **row), LINES)  # type: ignore[arg-type]
    assert not received.bad
    return {name: values[0] for name, values in received.rows.columns.items()}  # type: ignore[union-attr]


VALUES = [
    (1, 1), (1.5, 1.5), (True, True), (None, None), ("ü\ud800"[:1], "ü"), (math.inf, math.inf),
    (np.float64(0.1), 0.1), (np.float32(0.5), 0.5), (np.int64(-3), -3), (np.uint8(200), 200), (np.bool_(True), True),
    (np.str_("app"), "app"), (np.longdouble("1.5"), 1.5), (np.float16(0.25), 0.25), (np.array([1, 2]), [1, 2]),
    (np.datetime64("2026-03-02T08:00:00", "ns"), "2026-03-02T08:00:00.000000000"), (np.datetime64("NaT"), None),
    (pd.NA, None), (pd.NaT, None), (pd.Timestamp("2026-03-02", tz="UTC"), "2026-03-02T00:00:00+00:00"),
    (Decimal("12.50"), 12.5), (Decimal("1e400"), math.inf), (Fraction(1, 4), 0.25), (torch.tensor(2.5), 2.5),
    (date(2026, 3, 2), "2026-03-02"), (datetime(2026, 3, 2, 8, tzinfo=UTC), "2026-03-02T08:00:00+00:00"),
    (timedelta(minutes=2), 120.0), (Colour.RED, "red"), (uuid.UUID(int=5), str(uuid.UUID(int=5))), (b"app", "app"),
    (np.array([0.5, -0.25], np.float32), [0.5, -0.25]), (torch.tensor([0.5]), [0.5]),
    ({"deep": np.int8(1)}, {"deep": 1}), (frozenset({7}), [7]), ((1, 2), [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda value: f"{type(value).__name__}")
def test_a_value_goes_through_as_one_would_expect(value, expected):
    found = sent({"x": value})["x"]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), np.float64("nan"), Decimal("NaN"), Decimal("sNaN")])
def test_nan_stays_nan_and_is_not_missing(value):
    assert math.isnan(sent({"x": value})["x"])


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (1_772_438_400.25, "2026-03-02T08:00:00.250000+00:00"),
        (np.int64(1_772_438_400), "2026-03-02T08:00:00+00:00"),
        (datetime(2026, 3, 2, 8), "2026-03-02T08:00:00"),  # noqa: DTZ001  # a time without a zone is UTC to the server
        (datetime(2026, 3, 2, 9, tzinfo=timezone(timedelta(hours=1))), "2026-03-02T09:00:00+01:00"),
        ("2026-03-02", "2026-03-02"),
    ],
)
def test_a_time_may_be_seconds_a_datetime_or_a_text(told, expected):
    assert sent({"x": 1}, event_time=told)["event_time"] == expected
    assert json.loads(label_line("a", np.int64(1), told)) == {"trace_id": "a", "label": 1, "label_time": expected}


def test_what_is_said_of_a_prediction_stands_beside_its_features():
    row = sent({"x": 1, 7: 2}, version="v2", score=np.float32(0.5), prediction=np.bool_(False))
    assert row == {
        "x": 1, "7": 2, "trace_id": "a", "event_time": "1970-01-01T00:00:00+00:00", "version": "v2", "score": 0.5,
        "prediction": False,
    }  # fmt: skip
    assert set(sent({"x": 1})) == {"x", "trace_id", "event_time"}


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.decimals()))
@settings(max_examples=200, deadline=None, derandomize=True, database=None)
def test_any_row_is_one_line_that_the_server_can_read(features):
    line = trace_line(features, "a", 0.0, None, None, None)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line.splitlines()) == 1
    json.loads(line)


def test_plain_never_returns_what_it_was_given_where_json_cannot_write_it():
    class Odd:
        def __str__(self) -> str:
            return "odd"

    assert plain(Odd()) == "odd"


def test_the_client_is_imported_from_the_standard_library_alone():
    """-S and -I: no site-packages, no environment; anything that is not of the standard library fails."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from monitor.client import TraceLogger; import monitor.client.spool\n"
        "print([name for name in sys.modules if name.split('.')[0] not in {*sys.stdlib_module_names, 'monitor'}],"
        " [name for name in sys.modules if name.startswith('monitor.') and not name.startswith('monitor.client')])"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "['__main__'] []"
