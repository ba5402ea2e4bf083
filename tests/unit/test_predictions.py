"""What the model said, watched beside its features."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from monitor.drift import Detector, FeatureOverride, Profile, Reference, predictions_of, with_predictions
from monitor.schema import Schema
from monitor.windows import Window

START = datetime(2026, 1, 5, tzinfo=UTC)
FEATURES = list("abcdef")


def _window(i):
    return Window(START + timedelta(days=i), START + timedelta(days=i + 1))


def _rows(seed, bias=0.0, rows=300):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, len(FEATURES))), columns=FEATURES)
    score = 1 / (1 + np.exp(-(frame.a + rng.normal(size=rows) + bias)))
    return frame.assign(score=score, prediction=None)


def _reference(days=28):
    features = Schema.infer(_rows(0)[FEATURES])
    schema = with_predictions(features, _rows(0))
    return Reference.fit([(_window(i), _rows(i)[list(schema.names)]) for i in range(days)], schema=schema)


def test_the_score_is_watched_and_else_the_prediction():
    features = Schema.infer(_rows(0)[["a"]])
    assert with_predictions(features, _rows(0)).names == ("a", "score")
    assert with_predictions(features, _rows(0).assign(score=np.nan, prediction="1")).names == ("a", "prediction")
    assert with_predictions(features, _rows(0)[["a"]]) == features


def test_a_score_that_moves_while_no_feature_does_is_an_alarm_of_its_own():
    reference = _reference()
    detector = Detector(reference, predictions=predictions_of(reference.schema))
    calm = [detector.update(_window(28 + i), _rows(100 + i)) for i in range(5)]
    moved = [detector.update(_window(33 + i), _rows(200 + i, bias=0.8)) for i in range(4)]
    assert not any(report.alarm for report in calm)
    assert sum(report.alarm for report in moved) == 1
    assert moved[-1].culprits[0] == "score"


def test_predictions_have_a_quarter_of_the_budget():
    reference = _reference()
    alone, watched = Detector(reference), Detector(reference, predictions=("score",))
    of_score = reference.normal.feature_of == len(FEATURES)
    assert watched._slow_lane.weights[of_score].sum() == pytest.approx(0.25)
    assert alone._slow_lane.weights[of_score].sum() == pytest.approx(1 / 7)
    muted = Detector(reference, predictions=("score",), overrides={"score": FeatureOverride(weight=0)})
    assert muted._slow_lane.weights[of_score].sum() == 0


def test_a_reference_without_the_scores_of_a_version_does_not_test_them():
    whole = _reference()
    entries = [(w, p.without(["score"])) for w, p in zip(whole.windows, whole.profiles, strict=True)]
    reference = Reference.from_profiles(entries, schema=whole.schema, binning=whole.binning)
    detector = Detector(reference, predictions=("score",))
    reports = [detector.update(_window(28 + i), _rows(300 + i, bias=3.0)) for i in range(4)]
    assert not any(report.alarm for report in reports)
    assert reports[0].features["score"].status == "all_null"
    assert Profile.of(_rows(1), whole.binning).without([]).rows == 300
