"""An alert fires once, is told again only for a reason, and resolves before it can fire anew."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts import (
    AlertKind,
    AlertSnapshot,
    AlertState,
    Condition,
    Notice,
    Rule,
    Severity,
    Signal,
    acknowledge,
    advance,
    revise,
    rule_for,
)
from monitor.alerts.grouping import Upstream, group, inhibited_by
from monitor.errors import IllegalTransition
from monitor.performance import Verdict
from monitor.windows import Window

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
RULE = Rule(kind=AlertKind.DRIFT, severity=Severity.TICKET, for_windows=2, keep_firing_windows=3)


def _day(number: int) -> Window:
    return Window(START + number * DAY, START + (number + 1) * DAY)


def _signal(number: int, condition: Condition = Condition.FIRING, **changed: Any) -> Signal:
    given: dict[str, Any] = {
        "model": "fraud", "cause": "drift", "window": _day(number), "condition": condition, "kind": AlertKind.DRIFT,
        "severity": Severity.TICKET, "verdict": Verdict.HARMLESS_DRIFT, "effect": 0.3, "culprits": ("age",),
    }  # fmt: skip
    return Signal(**{**given, **changed})


def _run(conditions: list[Condition], rule: Rule = RULE) -> tuple[list[AlertState], list[Notice | None]]:
    current: AlertSnapshot | None = None
    states, notices = [], []
    for number, condition in enumerate(conditions):
        step = advance(current, _signal(number, condition), rule)
        if step is not None:
            current = step.snapshot
            states.append(step.snapshot.state)
            notices.append(step.notice)
    return states, notices


F, C, N = Condition.FIRING, Condition.CLEAR, Condition.NO_DATA


def test_an_alert_fires_after_its_windows_and_resolves_after_it_stayed_clear():
    states, notices = _run([F, F, F, C, C, C])
    pending, firing, resolved = AlertState.PENDING, AlertState.FIRING, AlertState.RESOLVED
    assert states == [pending, firing, firing, firing, firing, resolved]
    assert [notice for notice in notices if notice] == [Notice.FIRED, Notice.RESOLVED]


def test_a_condition_that_clears_before_it_fired_reaches_nobody():
    assert _run([F, C]) == ([AlertState.PENDING, AlertState.RESOLVED], [None, None])


def test_a_bad_window_within_the_hold_keeps_the_same_incident():
    _, notices = _run([F, F, C, C, F, C, C, C])
    assert [notice for notice in notices if notice] == [Notice.FIRED, Notice.RESOLVED]


def test_silence_is_a_state_of_its_own_and_the_incident_goes_on_after_it():
    states, notices = _run([F, F, N, F])
    assert states[2:] == [AlertState.NO_DATA, AlertState.FIRING]
    assert [notice for notice in notices if notice] == [Notice.FIRED]


@given(st.lists(st.sampled_from(list(Condition)), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_nothing_fires_twice_without_a_resolve_between(conditions, for_windows, keep_firing_windows):
    rule = Rule(
        kind=AlertKind.DRIFT, severity=Severity.TICKET, for_windows=for_windows, keep_firing_windows=keep_firing_windows
    )  # fmt: skip
    told = [notice for notice in _run(conditions, rule)[1] if notice]
    assert all(notice is (Notice.FIRED, Notice.RESOLVED)[i % 2] for i, notice in enumerate(told))


@given(st.lists(st.sampled_from(list(Condition)), max_size=20))
def test_a_replay_of_windows_already_seen_changes_nothing(conditions):
    current: AlertSnapshot | None = None
    for number, condition in enumerate(conditions):
        step = advance(current, _signal(number, condition), RULE)
        current = step.snapshot if step else current
        if current is not None and current.state is not AlertState.RESOLVED:
            assert advance(current, _signal(number, condition), RULE) is None


def _firing(**changed: Any) -> AlertSnapshot:
    first = advance(None, _signal(0, **changed), Rule(kind=AlertKind.DRIFT, severity=Severity.TICKET))
    assert first is not None
    return first.snapshot


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"effect": 0.6}, "effect doubled"),
        ({"culprits": ("age", "amount")}, "new culprit: amount"),
        ({"kind": AlertKind.PERFORMANCE}, "performance"),
        ({"severity": Severity.PAGE}, "a ticket became a page"),
        ({"effect": 0.5}, None),
    ],
)
def test_people_hear_again_only_for_a_reason(changed, why):
    step = advance(_firing(), _signal(1, **changed), RULE)
    assert step is not None
    assert (step.notice is Notice.UPDATED) == (why is not None)
    assert why is None or why in step.why


def test_a_taken_alert_stays_taken_while_it_goes_on_and_cannot_be_taken_twice():
    taken = acknowledge(_firing()).snapshot
    step = advance(taken, _signal(1), RULE)
    assert step is not None
    assert (step.snapshot.state, step.notice) == (AlertState.ACKNOWLEDGED, None)
    with pytest.raises(IllegalTransition, match="expected a firing alert"):
        acknowledge(taken)


def test_a_taken_alert_that_gets_worse_fires_again():
    step = advance(acknowledge(_firing()).snapshot, _signal(1, effect=0.9), RULE)
    assert step is not None
    assert (step.snapshot.state, step.notice) == (AlertState.FIRING, Notice.UPDATED)


def test_a_late_label_marks_the_alert_revised_and_unsends_nothing():
    step = revise(_firing(), _signal(0, verdict=Verdict.CONCEPT_DRIFT))
    assert (step.snapshot.revised, step.snapshot.state, step.notice) == (True, AlertState.FIRING, None)


def test_a_snapshot_survives_storage():
    snapshot = _firing()
    assert AlertSnapshot.from_document(snapshot.to_document()) == snapshot


@pytest.mark.parametrize(
    ("verdict", "drop", "severity"),
    [
        (Verdict.PIPELINE_BREAK, False, Severity.PAGE),
        (Verdict.HARMFUL_COVARIATE_SHIFT, True, Severity.PAGE),
        (Verdict.CONCEPT_DRIFT, True, Severity.PAGE),
        (Verdict.FRAGILE, True, Severity.PAGE),
        (Verdict.FRAGILE, False, Severity.TICKET),
        (Verdict.HARMLESS_DRIFT, False, Severity.TICKET),
        (Verdict.PENDING_LABELS, False, Severity.TICKET),
    ],
)
def test_only_harm_wakes_people(verdict, drop, severity):
    rule = rule_for(verdict, realised_drop=drop)
    assert rule is not None
    assert rule.severity is severity


def test_health_raises_nothing():
    assert rule_for(Verdict.HEALTHY) is None


def test_signals_of_one_cause_are_one_incident():
    groups = group([_signal(0), _signal(0, cause="quality"), _signal(1)])
    assert [(found.cause, len(found.signals)) for found in groups] == [("drift", 2), ("quality", 1)]


@pytest.mark.parametrize(
    ("signal", "inhibited"),
    [
        (_signal(3), True),
        (_signal(3, kind=AlertKind.PERFORMANCE, culprits=()), True),
        (_signal(3, culprits=("merchant",)), False),
        (_signal(9), False),
        (_signal(3, model="credit"), False),
        (_signal(3, kind=AlertKind.QUALITY), False),
    ],
)
def test_broken_data_inhibits_what_follows_from_it_and_no_more(signal, inhibited):
    window = Window(START + 2 * DAY, START + 5 * DAY)
    cause = Upstream(model="fraud", window=window, features=frozenset({"age"}), sentence="age is missing")
    assert (inhibited_by(signal, [cause]) is cause) == inhibited


def test_a_stopped_feed_inhibits_every_feature():
    stopped = Upstream(model="fraud", window=_day(3), sentence="no rows came")
    assert inhibited_by(_signal(3, culprits=("merchant",)), [stopped]) is stopped
