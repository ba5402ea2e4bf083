"""Two frames side by side."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from monitor.drift.compare import compare
from monitor.errors import BadInput, NotEnoughData


def _frame(seed: int, shift: float = 0.0, rows: int = 1_000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "amount": rng.normal(shift, 1, rows),
            "channel": rng.choice(["app", "web"], rows),
            "steady": rng.normal(size=rows),
            "empty": np.nan,
            "same": 7.0,
        }
    )


def test_the_feature_that_moved_comes_first_with_a_sentence():
    report = compare(_frame(0), _frame(1, shift=1.0))
    first = report.features[0]
    assert (first.name, first.magnitude) == ("amount", pytest.approx(1.0, abs=0.15))
    assert first.sentence.startswith("median of amount")
    assert {"psi", "js", "ks", "wasserstein"} <= set(first.exceeds)


def test_numeric_scores_are_exact_on_the_raw_values():
    a, b = _frame(0), _frame(1, shift=0.2)
    found = next(f for f in compare(a, b).features if f.name == "amount").scores["ks"]
    assert found.statistic == pytest.approx(stats.ks_2samp(a.amount, b.amount).statistic, abs=1e-12)


def test_every_conventional_score_is_there():
    scores = {feature.name: set(feature.scores) for feature in compare(_frame(0), _frame(1)).features}
    counted = {"psi", "psi_unbiased", "js", "kl", "hellinger", "tv", "linf"}
    assert scores["amount"] == counted | {"ks", "wasserstein", "anderson_darling", "cramer_von_mises", "energy"}
    assert scores["channel"] == counted | {"chi2", "g", "z"}


def test_without_exact_scores_the_verdict_comes_from_counts_and_points_the_same_way():
    report = compare(_frame(0), _frame(1, shift=1.0), exact=False)
    first = report.features[0]
    assert (first.name, "energy" in first.scores) == ("amount", False)
    assert {"psi", "js", "ks", "wasserstein"} <= set(first.exceeds)


@pytest.mark.parametrize(
    ("thresholds", "rows", "expected"),
    [
        ("evidently", 1_000, {"amount": {"ks": 0.05}, "channel": {"z": 0.05}}),
        ("evidently", 1_001, {"amount": {"wasserstein": 0.1}, "channel": {"js": pytest.approx(0.1201, abs=1e-4)}}),
        ("sagemaker", 1_000, {"amount": {"cdf_distance": 0.1}, "channel": {"linf": 0.1}}),
        ("nannyml", 1_000, {"amount": {"js": 0.1}, "channel": {"js": 0.1}}),
        ("psi", 1_000, {"amount": {"psi": 0.2}, "channel": {"psi": 0.2}}),
    ],
)
@pytest.mark.parametrize("exact", [True, False])
def test_named_thresholds_sit_on_the_test_that_the_tool_would_choose(thresholds, rows, expected, exact):
    report = compare(_frame(0, rows=rows), _frame(1, rows=rows), thresholds=thresholds, exact=exact)
    found = {
        feature.name: {name: s.threshold for name, s in feature.scores.items() if s.threshold is not None}
        for feature in report.features
    }
    assert {name: found[name] for name in expected} == expected


def test_empty_and_constant_columns_get_a_status_and_break_nothing():
    statuses = {feature.name: feature.status for feature in compare(_frame(0), _frame(1)).features}
    assert (statuses["empty"], statuses["same"], statuses["steady"]) == ("all_null", "constant", "ok")


def test_a_column_that_does_not_come_is_said():
    report = compare(_frame(0), _frame(1).drop(columns="steady"))
    assert report.features[0].sentence == "steady did not come in this window: the column is missing"


def test_the_report_is_plain_json_and_says_what_it_cannot_say():
    document = compare(_frame(0), _frame(1)).to_document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert "false-alarm rate needs a reference of several windows" in document["caveat"]


def test_named_thresholds_replace_the_default_ones():
    scores = compare(_frame(0), _frame(1), thresholds="nannyml").features[0].scores
    assert (scores["js"].threshold, scores["psi"].threshold) == (0.1, None)
    with pytest.raises(BadInput, match="evidently, psi, nannyml, sagemaker"):
        compare(_frame(0), _frame(1), thresholds="mine")


def test_an_empty_side_is_refused():
    with pytest.raises(NotEnoughData, match="1000 and 0"):
        compare(_frame(0), _frame(1)[:0])
