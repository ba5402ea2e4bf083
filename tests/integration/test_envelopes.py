"""Tier 0: policy decides inside what an approver signed, and nowhere else."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from monitor.acts.envelopes import decide_due, revoke_envelope, sign_envelope
from monitor.acts.freezing import freeze_all, unfreeze_all
from monitor.acts.promotion import promote
from monitor.acts.proposals import move
from monitor.acts.registry import register_version
from monitor.db.audit import entries
from monitor.db.jobs import Job
from monitor.db.registry import Model
from monitor.db.retraining import Envelope as EnvelopeRow
from monitor.db.retraining import Proposal, Vote
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.governance import POLICY, Envelope, ProposalState
from tests.governed import ANA, NOW, OMAR, PASSED_GATES, govern, proposed
from tests.oracle import illegal_promotions

BETTER = {
    "clean": {"metric": "auroc", "value": 0.91, "champion": 0.84},
    "robust": {"metric": "robust_auc", "value": 0.7, "champion": 0.6},
}


def signed(session: Session, model: Model, envelope: Envelope | None = None) -> EnvelopeRow:
    return sign_envelope(
        session, model, envelope or Envelope(), lifetime=timedelta(days=90), reason="low risk", by=ANA, now=NOW
    )


def trained(session: Session, model: Model, proposal: Proposal, comparison: dict[str, object] = BETTER) -> None:
    """What the worker does with an approved proposal."""
    candidate = register_version(session, model, manifest=None, state="candidate", by=POLICY, now=NOW)
    for state in ("training", "trained", "validating"):
        move(session, proposal, ProposalState(state), by=POLICY, now=NOW)
    values = {"candidate_id": candidate.id, "gates": PASSED_GATES, "comparison": comparison}
    move(session, proposal, ProposalState.AWAITING_PROMOTION, by=POLICY, now=NOW, **values)


def test_inside_the_envelope_policy_approves_and_promotes_without_a_vote(session: Session):
    model = govern(session, tier=0).model
    signed(session, model)
    proposal = proposed(session, model)
    assert decide_due(session, NOW) == 1
    assert proposal.state == "queued"
    trained(session, model, proposal)
    assert decide_due(session, NOW) == 1
    assert decide_due(session, NOW) == 0  # the job is there already
    assert session.scalars(select(Job.kind).order_by(Job.id)).all() == ["retrain", "promote"]
    promote(session, proposal, by=POLICY, now=NOW)
    session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    assert model.champion_id == proposal.candidate_id
    assert session.scalars(select(Vote)).all() == []
    assert illegal_promotions(session.connection()) == []


def test_outside_of_it_people_decide_and_the_timeline_says_why_once(session: Session):
    model = govern(session, tier=0).model
    signed(session, model, Envelope(verdicts=("fragile",)))
    proposal = proposed(session, model)
    assert decide_due(session, NOW) == decide_due(session, NOW) == 0
    told = [one for one in entries(session) if one.action == "proposal.outside_envelope"]
    assert [one.details["sentence"] for one in told] == ["People decide: the verdict concept drift is not covered."]
    assert proposal.state == "awaiting_approval"


def test_a_candidate_that_is_worse_than_signed_for_waits_for_people(session: Session):
    model = govern(session, tier=0).model
    signed(session, model)
    proposal = proposed(session, model)
    decide_due(session, NOW)
    trained(session, model, proposal, {"clean": {**BETTER["clean"], "value": 0.8}})
    assert decide_due(session, NOW) == 0
    with pytest.raises(NotAllowed, match="lacks votes"):
        promote(session, proposal, by=POLICY, now=NOW)


def test_a_revoked_or_expired_envelope_covers_nothing(session: Session):
    model = govern(session, tier=0).model
    row = signed(session, model)
    proposed(session, model)
    assert decide_due(session, row.expires_at + timedelta(seconds=1)) == 0
    revoke_envelope(session, model, by=OMAR, reason="audit", now=NOW)
    assert decide_due(session, NOW) == 0
    with pytest.raises(StaleDecision, match="no envelope"):
        revoke_envelope(session, model, by=OMAR, reason="audit", now=NOW)


def test_while_everything_is_frozen_policy_neither_asks_nor_decides(session: Session):
    model = govern(session, tier=0).model
    signed(session, model)
    proposal = proposed(session, model, by=OMAR)
    freeze_all(session, by=OMAR, reason="incident", now=NOW)
    assert decide_due(session, NOW) == 0
    with pytest.raises(StaleDecision, match="is frozen already"):
        freeze_all(session, by=OMAR, reason="incident", now=NOW)
    unfreeze_all(session, by=OMAR, reason="over", now=NOW)
    assert decide_due(session, NOW) == 1
    assert proposal.state == "queued"


def test_only_an_approver_signs_and_only_at_tier_zero(session: Session):
    model = govern(session, tier=0).model
    with pytest.raises(NotAllowed, match="sign envelope needs one of approver"):
        sign_envelope(session, model, Envelope(), lifetime=timedelta(days=1), reason="x", by=OMAR, now=NOW)
    with pytest.raises(BadInput, match="at most 366 days"):
        sign_envelope(session, model, Envelope(), lifetime=timedelta(days=400), reason="x", by=ANA, now=NOW)
    first, second = signed(session, model), signed(session, model, replace(Envelope(), most_rows=500))
    assert (first.revoked_by, second.revoked_at) == ("ana", None)
    assert second.document["features"] == ["amount", "age", "channel"]


def test_at_a_higher_tier_nobody_signs(session: Session):
    with pytest.raises(NotAllowed, match="of tier 1: people decide"):
        signed(session, govern(session, tier=1).model)
