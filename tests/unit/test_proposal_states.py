"""A proposal moves only along its table, and policy raises one only where retraining can help."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.db.retraining import CLOSED_STATES, PROPOSAL_STATES
from monitor.errors import BadInput, IllegalTransition
from monitor.governance import CLOSED, TRANSITIONS, Evidence, ProposalState, check_transition, should_propose
from monitor.performance import Verdict

S = ProposalState
HAPPY = [
    S.DRAFT, S.PROPOSED, S.AWAITING_APPROVAL, S.APPROVED, S.QUEUED, S.TRAINING, S.TRAINED, S.VALIDATING,
    S.AWAITING_PROMOTION, S.PROMOTED, S.OBSERVING, S.CONFIRMED,
]  # fmt: skip


def test_the_states_are_those_that_the_database_admits():
    assert {state.value for state in S} == set(PROPOSAL_STATES)
    assert {state.value for state in CLOSED} == set(CLOSED_STATES)


def test_the_way_from_draft_to_confirmed_is_open():
    for here, there in pairwise(HAPPY):
        check_transition(here, there)


def test_a_closed_proposal_goes_nowhere():
    for closed in CLOSED:
        for there in S:
            with pytest.raises(IllegalTransition, match="it is closed"):
                check_transition(closed, there)


@given(st.lists(st.sampled_from(list(S)), max_size=200))
def test_no_random_walk_reaches_promoted_without_both_decisions(wishes):
    path = [S.DRAFT]
    for wish in wishes:
        try:
            check_transition(path[-1], wish)
        except IllegalTransition:
            continue
        path.append(wish)
    if S.PROMOTED in path:
        assert path[: path.index(S.PROMOTED)] == HAPPY[: HAPPY.index(S.PROMOTED)]


def test_every_open_state_can_be_left_and_training_can_fail():
    assert all(TRANSITIONS[state] for state in S if state not in CLOSED)
    for state in (S.QUEUED, S.TRAINING, S.TRAINED, S.VALIDATING):
        check_transition(state, S.FAILED)


def test_only_what_was_promoted_is_rolled_back():
    assert {state for state in S if S.ROLLED_BACK in TRANSITIONS[state]} == {S.PROMOTED, S.OBSERVING}


@pytest.mark.parametrize(
    ("verdict", "propose"),
    [
        (Verdict.HARMFUL_COVARIATE_SHIFT, True),
        (Verdict.CONCEPT_DRIFT, True),
        (Verdict.FRAGILE, True),
        (Verdict.PIPELINE_BREAK, False),
        (Verdict.HARMLESS_DRIFT, False),
        (Verdict.PENDING_LABELS, False),
        (Verdict.HEALTHY, False),
    ],
)
def test_policy_proposes_where_retraining_can_help(verdict, propose):
    assert should_propose([Verdict.HEALTHY, verdict]).propose is propose


@given(st.lists(st.sampled_from(list(Verdict)), max_size=20), st.booleans(), st.booleans(), st.integers(1, 5))
def test_policy_never_proposes_on_a_break_a_freeze_or_beside_an_open_one(verdicts, is_open, frozen, for_windows):
    decision = should_propose(verdicts, open_proposal=is_open, frozen=frozen, for_windows=for_windows)
    if is_open or frozen or not verdicts or Verdict.PIPELINE_BREAK in verdicts[-for_windows:]:
        assert not decision.propose
    assert decision.why.endswith(".")


def test_the_same_evidence_has_the_same_hash_and_any_change_another():
    one = Evidence(verdict=Verdict.FRAGILE, sentence="S2 fell.", metric={"b": 1.0, "a": 2.0})
    same = Evidence(verdict=Verdict.FRAGILE, sentence="S2 fell.", metric={"a": 2.0, "b": 1.0})
    other = Evidence(verdict=Verdict.FRAGILE, sentence="S2 fell.", metric={"a": 2.0, "b": 1.1})
    assert one.sha256 == same.sha256
    assert one.sha256 != other.sha256


def test_evidence_with_a_nan_is_refused():
    with pytest.raises(BadInput, match="finite JSON"):
        _ = Evidence(verdict=Verdict.FRAGILE, sentence="", metric={"value": float("nan")}).sha256
