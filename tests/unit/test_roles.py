"""Who may decide, tier by tier, and that nobody decides on their own request."""

import pytest

from monitor.errors import NotAllowed
from monitor.governance import POLICY, Action, Actor, Permission, Role, authorize, quorum


def _person(name: str, *roles: Role, solo: bool = False) -> Actor:
    return Actor(id=name.lower(), name=name, roles=frozenset(roles), solo=solo)


ANN = _person("Ann", Role.APPROVER)
BEN = _person("Ben", Role.APPROVER, Role.OPERATOR)
VAL = _person("Val", Role.VALIDATOR)
ADA = _person("Ada", Role.APPROVER, Role.ADMIN)
VIC = _person("Vic", Role.VIEWER)


def test_an_approver_decides_on_what_another_asked_for():
    assert authorize(ANN, Action.APPROVE, requested_by="policy") == Permission(self_approved=False)


def test_nobody_approves_or_promotes_their_own_request():
    for action in (Action.APPROVE, Action.PROMOTE):
        with pytest.raises(NotAllowed, match="Ben asked for this retraining: someone else must"):
            authorize(BEN, action, requested_by="ben")


def test_a_declared_team_of_one_may_and_it_is_recorded():
    solo = _person("Ann", Role.APPROVER, solo=True)
    assert authorize(solo, Action.APPROVE, requested_by="ann").self_approved
    assert authorize(ANN, Action.PROMOTE, requested_by="ann", solo=True, tier=2, prior_approvers=["ann"]).self_approved


@pytest.mark.parametrize(
    ("actor", "action"),
    [(VIC, Action.ACKNOWLEDGE), (VIC, Action.APPROVE), (ANN, Action.MANAGE_USERS), (VAL, Action.PROMOTE)],
)
def test_a_missing_role_is_refused_with_those_who_may(actor, action):
    with pytest.raises(NotAllowed, match=r"needs (one of|an approver)"):
        authorize(actor, action, requested_by="policy")


def test_everyone_may_look_and_an_operator_may_roll_back():
    assert authorize(VIC, "view") == Permission()
    assert authorize(BEN, "roll_back") == Permission()


def test_on_tier_one_the_first_account_is_admin_and_approver_but_not_from_tier_two():
    assert authorize(ADA, Action.APPROVE, requested_by="policy", tier=1) == Permission()
    with pytest.raises(NotAllowed, match="admin"):
        authorize(ADA, Action.APPROVE, requested_by="policy", tier=2)


def test_tier_two_asks_for_a_second_person():
    assert authorize(BEN, Action.PROMOTE, requested_by="policy", tier=2, prior_approvers=["ann"]) == Permission()
    with pytest.raises(NotAllowed, match="second person"):
        authorize(ANN, Action.PROMOTE, requested_by="policy", tier=2, prior_approvers=["ann"])


def test_tier_three_asks_for_a_reason_and_an_independent_validator():
    prior = {"requested_by": "policy", "tier": 3, "prior_approvers": ["ann"], "reason": "worth it"}
    with pytest.raises(NotAllowed, match="validator"):
        authorize(BEN, Action.PROMOTE, **prior)
    assert authorize(VAL, Action.PROMOTE, **prior) == Permission()
    assert authorize(BEN, Action.PROMOTE, **{**prior, "prior_approvers": ["val"]}, prior_validator=True) == Permission()
    with pytest.raises(NotAllowed, match="written reason"):
        authorize(VAL, Action.PROMOTE, **{**prior, "reason": "  "})


def test_policy_asks_but_decides_only_at_tier_zero_inside_an_envelope():
    assert authorize(POLICY, Action.REQUEST_RETRAINING) == Permission()
    assert authorize(POLICY, Action.PROMOTE, tier=0, inside_envelope=True) == Permission()
    for tier, inside in ((0, False), (1, True), (3, True)):
        with pytest.raises(NotAllowed, match="needs a person"):
            authorize(POLICY, Action.APPROVE, tier=tier, inside_envelope=inside)


def test_an_account_that_calls_itself_policy_is_not_policy():
    with pytest.raises(NotAllowed):
        authorize(_person("policy", Role.VIEWER), Action.APPROVE, tier=0, inside_envelope=True)


@pytest.mark.parametrize("action", list(Action))
def test_no_act_is_open_to_someone_without_a_role(action):
    with pytest.raises(NotAllowed):
        authorize(_person("Nobody"), action, requested_by="policy")


def test_the_quorum_grows_with_the_tier():
    assert [quorum(tier) for tier in range(4)] == [0, 1, 2, 2]
