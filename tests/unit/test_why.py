"""Why a window fired or not: the words hold the numbers of the report, and nothing else."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.drift import Detector, FalseAlarmBudget, FeatureOverride, Reference
from monitor.drift.why import Terms, Why, explain, nearness, scatter_of
from monitor.schema import Schema
from monitor.windows import Window

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
TERMS = Terms(incidents=1, per_days=365, ticks=365, tolerance=0.05, sensitivity="balanced")


def frame(day: int, *, shift: float = 0.0, rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng([3, day])
    return pd.DataFrame(
        {
            "amount": rng.normal(shift, 1, rows),
            "age": rng.normal(40, 10, rows),
            "channel": rng.choice(["app", "web"], rows),
            "empty": np.full(rows, np.nan),
        }
    )


def window(day: int) -> Window:
    return Window(BEGIN + day * DAY, BEGIN + (day + 1) * DAY)


@cache
def reference() -> Reference:
    frames = [frame(day) for day in range(28)]
    return Reference.fit([(window(day), one) for day, one in enumerate(frames)], schema=Schema.infer(pd.concat(frames)))


def reports(*shifts: float, expected: str | None = None, **overrides: FeatureOverride) -> dict[str, Any]:
    """The document of the last of the windows 28, 29, … in which amount is shifted."""
    detector = Detector(reference(), budget=FalseAlarmBudget(), overrides=overrides)
    for number, shift in enumerate(shifts):
        last = number == len(shifts) - 1
        report = detector.update(
            window(28 + number), frame(28 + number, shift=shift), expected=expected if last else None
        )
    return report.to_document()


def said(why: Why, feature: str) -> str:
    return " ".join(why.features[feature])


def test_a_quiet_window_says_how_far_it_was_from_firing():
    document = reports(0.0)
    why = explain(document, TERMS, scatter=scatter_of(reference()))
    nearest = next(iter(why.features))
    share = max(document["features"].values(), key=lambda one: one["strength"])["strength"]
    assert why.model[0] == "Did not fire: nothing is beyond what the budget of 1 false incident in 365 days asks for."
    assert f"Nearest to firing: {nearest}, with {100 * share:.0f} % of what" in why.model[1]
    assert "one false incident in 365 windows. 3 features" in why.model[2]
    assert why.model[-1] == "Not judged: empty has no values to compare."
    assert "it does not fire. Tolerated are 0.05σ." in said(why, nearest)


def test_an_alarm_names_the_feature_its_effect_and_the_scatter_of_the_reference():
    document = reports(0.0, 1.0)
    why = explain(document, TERMS, scatter=scatter_of(reference()))
    amount = document["features"]["amount"]
    low, high = amount["interval"]
    assert why.model[0] == "Fired: an incident opened with this window, by amount."
    assert next(iter(why.features)) == "amount"
    assert f"Effect {amount['effect']:+.3f}σ, 95 % interval [{low:.3f}, {high:.3f}], over this window." in said(
        why, "amount"
    )
    sigmas = amount["effect"] / ((high - low) / 2) * 1.96
    assert (
        f"One σ of a mean over this window is {amount['effect'] / sigmas:.3f}: the effect is {sigmas:.1f} of"
        in said(why, "amount")
    )
    assert "the sampling of rows alone makes 0.050" in said(why, "amount")
    assert "it fires (window lane)" in said(why, "amount")


def test_the_scatter_is_that_of_the_means_of_the_reference_windows():
    found = scatter_of(reference())
    assert set(found) == {"amount", "age", "channel"}
    assert found["amount"].from_rows == pytest.approx(1 / 20, rel=1e-3)
    assert found["amount"].sd >= found["amount"].from_rows
    assert not found["amount"].seasonal


def test_a_shift_that_is_tolerated_is_told_apart_from_one_that_is_not_there():
    override = FeatureOverride(tolerance=2.0)
    why = explain(reports(1.0, amount=override), _with(amount=override))
    assert "it is not beyond the tolerance of 2σ for certain" in said(why, "amount")
    assert why.model[0].startswith("Did not fire")


def test_a_muted_feature_and_an_expected_event_are_given_as_the_reason():
    mute = FeatureOverride(weight=0)
    why = explain(reports(1.0, amount=mute), _with(amount=mute))
    assert "Muted by the owner (shown, never alarms): amount." in why.model
    assert "no budget is spent on it, so it never fires" in said(why, "amount")
    expected = explain(reports(1.0, expected="Black Friday"), TERMS)
    assert expected.model == ("Not judged (skipped): Black Friday was expected: shown, and not judged.",)
    assert "It was not tested in this window" in said(expected, "amount")


def test_broken_data_are_given_as_the_reason_and_an_open_incident_is_not_forgotten():
    why = explain({"status": "skipped", "sentence": "the data are broken (amount ×100)", "state": "open"}, TERMS)
    assert why.model == (
        "Not judged (skipped): the data are broken (amount ×100). The incident that was open before stays open.",
    )
    assert why.features == {}


def test_the_slow_lane_is_told_where_it_is_run_and_can_be_the_nearer_one():
    document = reports(0.0)
    document["features"]["age"] |= {"e_value": 1_000.0, "strength": 0.1}
    why = explain(document, TERMS)
    assert next(iter(why.features)) == "age"
    assert "Slow lane: e-value 1e+03 of the 1,825 (5 × 365 windows)" in said(why, "age")
    assert nearness({"e_value": 1825.0}, TERMS) == pytest.approx(1.0)


def test_a_snooze_is_told():
    why = explain(reports(0.0), TERMS, snoozed={"age": "until 9 Jan 12:00 UTC by ana"})
    assert "Snoozed until 9 Jan 12:00 UTC by ana: no message about it alone until then." in said(why, "age")


def test_terms_are_read_from_a_run_as_it_kept_them():
    document = {"incidents": 2, "per_days": 30, "ticks": 30, "sensitivity": "quiet", "overrides": {"a": {"weight": 0}}}
    terms = Terms.from_document(document)
    assert (terms.tolerance, terms.in_words, terms.of("a").is_muted) == (0.15, "2 false incidents in 30 days", True)


def _with(**overrides: FeatureOverride) -> Terms:
    return Terms(
        incidents=1, per_days=365, ticks=365, tolerance=0.05, sensitivity="balanced", overrides=overrides
    )  # fmt: skip
