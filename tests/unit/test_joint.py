"""Pairs of features: sums of products that add up, and a correlation that changes while no feature does."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from monitor.drift import Binning, Detector, FeatureOverride, Profile, Reference
from monitor.drift.joint import MOST_FEATURES
from monitor.schema import Schema
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)


def _frame(seed, correlation=0.44, rows=1_000):
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, rows))
    b = correlation * a + np.sqrt(1 - correlation**2) * b
    return pd.DataFrame({"income": np.exp(a), "rent": b, "age": c, "channel": rng.choice(["app", "web", "pos"], rows)})


def _windows(count):
    return [Window(START + timedelta(days=i), START + timedelta(days=i + 1)) for i in range(count)]


def _detector(**options):
    entries = [(window, _frame(i)) for i, window in enumerate(_windows(28))]
    return Detector(Reference.fit(entries, schema=Schema.infer(entries[0][1])), **options)


def test_correlations_of_the_scores_are_those_of_the_normal_scores_of_the_values():
    frame = _frame(0, rows=2_000)
    binning = Binning.fit(frame)
    found = Profile.of(frame, binning).joint.correlations
    ranks = frame[["income", "rent"]].rank().to_numpy() / 2_001
    assert found[0, 1] == pytest.approx(np.corrcoef(norm.ppf(ranks).T)[0, 1], abs=0.02)
    np.testing.assert_allclose(np.diag(found), 1.0)


def test_sums_add_up_and_survive_bytes_exactly():
    binning = Binning.fit(_frame(0))
    parts = [Profile.of(_frame(seed), binning) for seed in (1, 2)]
    both = parts[0] + parts[1]
    assert both.joint.rows == 2_000
    np.testing.assert_allclose(both.joint.products, parts[0].joint.products + parts[1].joint.products, rtol=1e-15)
    again = Profile.from_bytes(both.to_bytes(), binning)
    np.testing.assert_array_equal(np.triu(again.joint.products), np.triu(both.joint.products))
    assert again.to_bytes() == both.to_bytes()


def test_a_constant_feature_has_no_pairs_and_a_lone_one_none_either():
    constant = Binning.fit(_frame(0)[["age"]].assign(same=1.0))
    assert [constant.features[j].name for j in constant.joint] == ["age"]
    nothing = Binning.fit(_frame(0)[["age"]].assign(age=1.0))
    assert Profile.of(_frame(0)[["age"]].assign(age=1.0), nothing).joint.products.shape == (0, 0)


def test_of_many_features_those_that_go_together_are_looked_at_in_pairs():
    rng = np.random.default_rng(0)
    base = rng.normal(size=2_000)
    frame = pd.DataFrame({f"x{j:02d}": rng.normal(size=2_000) for j in range(50)})
    frame["x40"], frame["x45"] = base, base + rng.normal(size=2_000)
    binning = Binning.fit(frame)
    names = [binning.features[j].name for j in binning.joint]
    assert len(names) == MOST_FEATURES
    assert {"x40", "x45"} <= set(names)


def test_a_lost_correlation_is_one_alarm_that_names_the_pair():
    detector = _detector()
    calm = [detector.update(window, _frame(100 + i)) for i, window in enumerate(_windows(33)[28:])]
    reports = [detector.update(window, _frame(200 + i, correlation=0.2)) for i, window in enumerate(_windows(38)[33:])]
    assert not any(report.alarm for report in calm)
    assert sum(report.alarm for report in reports) == 1
    first = next(report for report in reports if report.alarm)
    assert set(first.culprits) == {"income", "rent"}
    assert first.streams[0].features == ("income", "rent")
    assert first.streams[0].sentence.startswith("correlation of income and rent 0.4")
    assert first.features["rent"].sentence == first.streams[0].sentence
    assert json.loads(json.dumps(first.to_document()))["streams"][0]["name"] == "income × rent"


def test_a_pair_with_a_muted_feature_is_muted():
    detector = _detector(overrides={"rent": FeatureOverride(weight=0)})
    assert not any(
        detector.update(window, _frame(i, correlation=0.0)).alarm for i, window in enumerate(_windows(36)[28:])
    )


def test_a_feature_that_hardly_varies_is_not_looked_at_in_pairs():
    rng = np.random.default_rng(0)
    frame = _frame(0).assign(holiday=rng.random(1_000) < 0.03)
    binning = Binning.fit(frame)
    assert "holiday" not in [binning.features[j].name for j in binning.joint]


def test_a_window_in_which_a_feature_stands_still_says_nothing_of_its_pairs():
    detector = _detector()
    still = _frame(300).assign(channel="app")
    report = detector.update(_windows(29)[-1], still)
    assert [stream.name for stream in report.streams if stream.features] == []
