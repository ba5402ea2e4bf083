import numpy as np
import pandas as pd
import pytest

from monitor.errors import NotEnoughData
from monitor.governance import Evidence, canonical_json
from monitor.performance.verdict import Verdict
from monitor.reports.evidence import benefit_sentence, plain
from monitor.reports.sanitise import MAX_LEVELS, MAX_ROWS, OTHER, SCORE, sanitise
from monitor.schema import Schema


def frame(rows: int = 200, **columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    made = pd.DataFrame({"amount": rng.normal(size=rows), "channel": rng.choice(["app", "web"], rows)})
    return made.assign(**columns)


def test_the_hash_of_evidence_does_not_depend_on_the_order_of_its_keys():
    one = Evidence(verdict=Verdict.FRAGILE, sentence="x", metric={"value": 0.8, "name": "auroc"})
    other = Evidence(verdict=Verdict.FRAGILE, sentence="x", metric={"name": "auroc", "value": 0.8})
    changed = Evidence(verdict=Verdict.FRAGILE, sentence="x", metric={"name": "auroc", "value": 0.81})
    assert one.sha256 == other.sha256 != changed.sha256


def test_figures_that_json_does_not_know_become_null():
    found = plain({"effect": float("nan"), "pair": (float("inf"), 1.5), "at": pd.Timestamp("2026-01-05", tz="UTC")})
    assert canonical_json(found) == '{"at":"2026-01-05T00:00:00+00:00","effect":null,"pair":[null,1.5]}'


def test_without_labels_the_benefit_is_not_promised():
    assert "cannot be told" in benefit_sentence({})
    assert benefit_sentence({"name": "auroc", "value": 0.8}).endswith("the figure at registration is not known.")


def test_too_few_rows_on_a_side_are_refused():
    with pytest.raises(NotEnoughData, match="expected at least 50 kept traces in the window, got 49"):
        sanitise(frame(49), frame(), Schema.infer(frame()))


def test_a_column_without_a_value_on_one_side_is_left_out_by_name():
    found = sanitise(frame(amount=np.nan), frame(), Schema.infer(frame()))
    assert found.left_out == {"amount": "no value at all in the window"}
    assert list(found.current) == ["channel"]


def test_infinities_become_missing():
    current = frame()
    current.loc[0, "amount"] = np.inf
    found = sanitise(current, frame(), Schema.infer(frame()))
    assert np.isnan(found.current["amount"][0])
    assert found.numerical == ("amount",)


def test_rare_levels_are_merged_the_same_way_on_both_sides():
    many = frame(2_000, channel=[f"c{i % 200}" for i in range(2_000)])
    found = sanitise(many, many, Schema.infer(many))
    assert found.current["channel"].nunique() == MAX_LEVELS
    assert set(found.current["channel"]) == set(found.reference["channel"])
    assert OTHER in set(found.current["channel"])


def test_names_and_values_are_escaped():
    hostile = "</script><b>"
    current = frame(**{hostile: "</script>", "score": 0.5, "prediction": "<1>", "label": "<1>"})
    found = sanitise(current, current, Schema.infer(current[["amount", hostile]]))
    assert "<" not in "".join([*found.current.columns, *found.current["&lt;/script&gt;&lt;b&gt;"].unique()])
    assert "<" not in str(found.current.drop(columns=SCORE).to_dict())


def test_a_side_is_thinned_evenly():
    long = frame(3 * MAX_ROWS, amount=np.arange(3 * MAX_ROWS, dtype=float))
    found = sanitise(long, frame(), Schema.infer(frame()))
    assert len(found.current) == MAX_ROWS
    assert found.current["amount"].mean() == pytest.approx(long["amount"].mean(), abs=1)
