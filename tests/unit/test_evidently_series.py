"""From what Evidently says to findings of ours: keys that stay, numbers, verdicts, sentences."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput
from monitor.reports.config import read_config
from monitor.reports.render import Preset
from monitor.reports.sanitise import OTHER, sanitise
from monitor.reports.series import Result, escaped, key_of, plain, results_of
from monitor.schema import Schema


def raw(name: str, value: Any, *, tests: list[dict[str, Any]] | None = None, **config: Any) -> dict[str, Any]:
    return {"name": name, "config": config, "value": value, "tests": tests or []}


def said(status: str, description: str = "as it is", *, is_count: bool = False, **test_config: Any) -> dict[str, Any]:
    return {"status": status, "description": description, "is_count": is_count, "test_config": test_config}


def only(document: dict[str, Any], **notes: str) -> Result:
    (result,) = results_of(document, notes=notes)
    return result


@pytest.mark.parametrize("changed", [{"threshold": 0.5}, {"nbinsx": 3}, {"tests": [1]}, {"column": "age"}])
def test_a_series_keeps_its_key_when_its_limit_or_its_drawing_changes(changed: dict[str, Any]):
    config = {"column": "amount", "method": "psi", "threshold": 0.1}
    assert key_of("ValueDrift", config | changed) == key_of("ValueDrift", config)


def test_another_method_or_quantile_is_another_series():
    keys = {key_of("ValueDrift", {"method": method}) for method in ("psi", "ks")}
    assert len(keys | {key_of("QuantileValue", {"quantile": share}) for share in (0.5, 0.9)}) == 4


def test_a_failed_test_is_what_fires_and_not_the_number_beside_the_threshold():
    drift = {"column": "amount", "method": "psi", "threshold": 0.2}
    quiet = only(raw("ValueDrift", 0.3, tests=[said("SUCCESS")], **drift))
    loud = only(raw("ValueDrift", 0.1, tests=[said("FAIL")], **drift))
    assert (quiet.fired, loud.fired) == (False, True)
    assert (quiet.subject, quiet.statistic, quiet.threshold) == ("amount", 0.3, 0.2)


def test_a_p_value_is_told_as_one():
    result = only(raw("ValueDrift", 0.01, tests=[said("FAIL")], column="amount", method="ks", threshold=0.05))
    assert result.p_value == result.statistic == 0.01
    assert result.sentence == "amount: ks p-value 0.01, below its threshold 0.05: drift"


def test_a_number_a_count_a_mean_and_labels_each_give_their_headline():
    assert only(raw("RowCount", 5.0)).statistic == 5
    assert only(raw("MissingValueCount", {"count": 3, "share": 0.1}, column="a")).statistic == 0.1
    assert only(raw("MAE", {"mean": 2.0, "std": 1.0})).statistic == 2
    by_label = results_of(raw("F1ByLabel", {"b": 0.5, "a": 0.25}), notes={})
    assert [(one.metric, one.statistic) for one in by_label] == [("F1ByLabel[a]", 0.25), ("F1ByLabel[b]", 0.5)]
    table = only(raw("CorrelationMatrix", {"a": {"a": 1.0}}))
    assert (table.status, table.statistic) == ("ok", None)


def test_a_number_that_is_none_is_an_error_with_a_sentence_and_never_nan():
    result = only(raw("MeanValue", float("nan"), column="a"))
    assert (result.status, result.statistic, result.sentence) == ("error", None, "MeanValue of a gives no number")


def test_a_count_by_default_is_not_held_against_a_reference_of_another_size():
    count, share = said("FAIL", is_count=True), said("SUCCESS")
    assert not only(raw("MissingValueCount", {"count": 9, "share": 0.0}, column="a", tests=[count, share])).fired
    assert not only(raw("RowCount", 9.0, tests=[said("FAIL")])).fired
    asked = raw("RowCount", 9.0) | {"config": {"tests": [{"threshold": 10}]}, "tests": [said("FAIL", threshold=10)]}
    assert only(asked).fired


def test_names_and_values_come_back_as_they_were():
    odd = "a<b>&'c'"
    assert plain(escaped({odd: [odd, 1, None]})) == {odd: [odd, 1, None]}
    assert only(raw("MeanValue", 1.0, column=escaped(odd)), **{odd: "one note"}).sentence.endswith("(one note)")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "there is nothing to do"),
        ({"metrics": [{}]}, "metrics.0.name"),
        ({"metrics": [{"name": "RowCount"}], "every_windows": 0}, "every_windows"),
        ({"metrics": [{"name": "RowCount"}], "allert": True}, "allert: Extra inputs"),
        ({"metrics": [{"name": "RowCount"}], "limit_seconds": 10_000}, "limit_seconds"),
        ([1], "the monitor"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_with_their_place(document: object, words: str):
    with pytest.raises(BadInput, match=words):
        read_config(document)


def test_a_beginning_without_a_zone_is_meant_in_utc():
    config = read_config({"metrics": [{"name": "RowCount"}], "since": "2026-04-01"})
    assert config.since == datetime(2026, 4, 1, tzinfo=UTC)
    assert read_config(config.to_document()) == config


def test_a_preset_for_the_other_task_is_refused():
    with pytest.raises(BadInput, match="a regression report is for regression models; this one does classification"):
        Preset.named("regression", task="classification")
    with pytest.raises(BadInput, match="expected a preset among all, drift"):
        Preset.named("drft", task="regression")
    assert [Preset.of_kind(preset.kind) for preset in Preset] == list(Preset)


def test_what_was_changed_before_evidently_saw_it_is_noted():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"level": [f"l{i}" for i in rng.integers(0, 900, 2_000)], "x": rng.normal(size=2_000)})
    frame.loc[:4, "x"] = np.inf
    data = sanitise(frame, frame, Schema.infer(frame), max_levels=10)
    assert data.notes["x"] == "10 infinite values count as missing"
    assert "the 9 most frequent are told apart" in data.notes["level"]
    assert set(data.current["level"]) >= {OTHER}
    assert data.current["level"].nunique() <= 10


def test_a_column_without_values_stays_only_where_it_is_asked_for():
    frame = pd.DataFrame({"x": np.arange(60.0), "void": np.nan})
    left = sanitise(frame, frame, Schema.infer(frame))
    kept = sanitise(frame, frame, Schema.infer(frame), with_empty=True)
    assert ("void" in left.current, "void" in kept.current) == (False, True)
    assert left.left_out == kept.left_out == {"void": "no value at all in the window and the reference"}
    assert (left.empty, kept.empty) == ((), ("void",))
