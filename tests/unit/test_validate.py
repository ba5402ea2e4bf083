import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from monitor.errors import SchemaMismatch
from monitor.intake.fields import class_text
from monitor.intake.validate import Validated, validate, validate_labels
from monitor.schema import Feature, Kind, Schema

SCHEMA = Schema((Feature(name="amount", kind=Kind.NUMERIC), Feature(name="channel", kind=Kind.CATEGORICAL)))
OLDEST, LATEST = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


def rows(n: int = 3, **columns: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"trace_id": [f"t{i}" for i in range(n)], "event_time": "2026-03-01T12:00:00Z", "amount": 1.5, "channel": "app"}
    )
    return frame.assign(**columns)


def check(frame: pd.DataFrame) -> Validated:
    return validate(frame, SCHEMA, oldest=OLDEST, latest=LATEST, version="v1")


def reasons(frame: pd.DataFrame) -> dict[int, str]:
    return {row.position: row.reason for row in check(frame).bad}


def test_good_rows_come_out_typed_with_what_they_did_not_name():
    good = check(rows()).good.to_frame()
    assert good["version"].tolist() == ["v1"] * 3
    assert good["prediction"].tolist() == [None] * 3
    assert good["score"].isna().all()
    assert str(good["event_time"].dtype) == "datetime64[us, UTC]"


def test_a_time_without_a_zone_is_utc_and_others_are_converted():
    times = ["2026-03-01 12:00:00", "2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00.000000Z"]
    assert check(rows(event_time=times)).good.to_frame()["event_time"].nunique() == 1
    assert check(rows(event_time=pd.Timestamp("2026-03-01 12:00"))).good.to_frame()["event_time"][0] == pd.Timestamp(
        times[2]
    )


def test_times_that_cannot_be_are_refused_with_the_reason():
    found = reasons(rows(4, event_time=["2036-03-01T00:00:00Z", "soon", None, "2025-12-31T23:59:59Z"]))
    assert found[0] == "event_time: expected a time up to 2026-04-01 00:00, got 2036-03-01 00:00"
    assert found[1] == "event_time: expected an ISO 8601 time, got 'soon'"
    assert "expected an ISO 8601 time" in found[2]
    assert found[3] == "event_time: rows before 2026-01-01 are no longer kept, got 2025-12-31 23:59"


def test_bad_rows_leave_the_good_ones_alone():
    found = check(rows(event_time=["2026-03-01", "never", "2026-03-01"]))
    assert found.good.to_frame()["trace_id"].tolist() == ["t0", "t2"]
    assert found.positions.tolist() == [0, 2]
    assert json.loads(found.bad[0].raw)["trace_id"] == "t1"


@pytest.mark.parametrize(
    ("trace_id", "reason"),
    [
        (None, "trace_id: expected an id, got none"),
        ("", "trace_id: expected an id, got none"),
        ("x" * 257, "trace_id: expected at most 256 characters, got 257"),
        ("a\x00b", "trace_id: expected readable text, got 'a\\x00b'"),
        ("\ud800", "trace_id: expected readable text, got '\\ud800'"),
        (["a"], "trace_id: expected one value, got ['a']"),
    ],
)
def test_ids_that_cannot_be_stored_are_refused(trace_id, reason):
    assert reasons(rows(2).assign(trace_id=pd.Series([trace_id, "t1"], dtype=object))) == {0: reason}


def test_numbers_as_ids_become_text():
    assert check(rows(trace_id=[1, 2, 3])).good.to_frame()["trace_id"].tolist() == ["1", "2", "3"]


def test_what_the_quality_check_measures_is_no_reason_to_refuse():
    odd = rows(5, amount=[np.inf, np.nan, "1,50", -1e9, None], channel=["fax", None, "", "app", 7])
    assert reasons(odd) == {}
    good = check(odd).good
    assert good.unread["amount"].tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(good.to_frame()["amount"], [np.inf, np.nan, np.nan, -1e9, np.nan])
    assert good.to_frame()["channel"].tolist() == ["fax", None, "", "app", "7"]


def test_values_that_no_column_holds_are_refused():
    found = reasons(rows(channel=["a\x00b", {"deep": 1}, "x" * 8_193]))
    assert found[0] == "channel: expected readable text, got 'a\\x00b'"
    assert found[1].startswith("channel: expected one value, got {'deep'")
    assert found[2] == "channel: expected at most 8,192 characters, got 8,193"


def test_a_score_must_be_finite_or_absent():
    assert reasons(rows(4, score=["0.5", None, "high", np.inf])) == {
        2: "score: expected a finite number, got 'high'",
        3: "score: expected a finite number, got inf",
    }


def test_the_raw_text_is_cut_and_may_hold_anything():
    found = check(rows(1, trace_id=["x" * 100_000], channel="\x00"))
    assert len(found.bad[0].raw) == 65_536
    assert "\x00" not in found.bad[0].raw


def test_a_frame_without_ids_or_without_any_feature_is_a_mapping_fault():
    with pytest.raises(SchemaMismatch, match="got event_time, amount, channel: map trace_id"):
        check(rows().drop(columns="trace_id"))
    with pytest.raises(SchemaMismatch, match="expected features such as amount, channel"):
        check(rows().drop(columns=["amount", "channel"]))


def test_no_rows_are_no_fault():
    assert len(check(rows().iloc[:0]).good) == 0


def test_labels_and_classes_as_text_say_the_same_for_the_same_value():
    assert [class_text(value) for value in (1.0, 0.0, True, False)] == ["1", "0", "1", "0"]
    assert [class_text(value) for value in (1.5, np.nan, "yes", None)] == ["1.5", None, "yes", None]


def test_a_label_without_a_time_is_known_now_and_one_from_the_future_is_refused():
    frame = pd.DataFrame(
        {"trace_id": ["a", "b", "c"], "label": [1, 0, None], "label_time": [None, "2036-01-01T00:00:00Z", None]}
    )
    found = validate_labels(frame, latest=LATEST, now=OLDEST)
    assert found.good[["trace_id", "label"]].to_numpy().tolist() == [["a", "1"]]
    assert found.good["label_time"].item() == pd.Timestamp(OLDEST)
    assert [row.reason.split(":")[0] for row in found.bad] == ["label_time"]
