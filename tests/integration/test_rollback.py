import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.alerts import add_route
from monitor.acts.promotion import approve_promotion, confirm_serving, promote, promote_again, rollback
from monitor.acts.proposals import move
from monitor.acts.registry import register_version
from monitor.acts.retraining import approve
from monitor.db.alerts import Outbox
from monitor.db.audit import entries
from monitor.db.jobs import Job
from monitor.db.registry import Version
from monitor.db.retraining import Proposal
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.governance import POLICY, ProposalState
from tests.governed import ADMIN, ANA, NOW, OMAR, PASSED_GATES, Governed, govern, proposed


def promoted(session: Session, governed: Governed) -> tuple[Proposal, Version]:
    """v2 took over from v1 by an approved retraining."""
    proposal = proposed(session, governed.model)
    sha = proposal.evidence_sha256
    approve(session, proposal, by=ANA, evidence_sha256=sha, now=NOW)
    candidate = register_version(session, governed.model, manifest=None, state="candidate", by=POLICY, now=NOW)
    for state in ("training", "trained", "validating"):
        move(session, proposal, ProposalState(state), by=POLICY, now=NOW)
    found = {"candidate_id": candidate.id, "gates": PASSED_GATES}
    move(session, proposal, ProposalState.AWAITING_PROMOTION, by=POLICY, now=NOW, **found)
    approve_promotion(session, proposal, by=ANA, evidence_sha256=sha, now=NOW)
    promote(session, proposal, by=ANA, now=NOW)
    return proposal, candidate


def test_an_operator_rolls_back_alone_and_without_a_queue(session: Session):
    governed = govern(session)
    proposal, candidate = promoted(session, governed)
    jobs = len(session.scalars(select(Job)).all())
    previous = rollback(session, governed.model, by=OMAR, reason="worse", now=NOW)
    assert previous == governed.champion
    assert (governed.model.champion_id, previous.state, candidate.state) == (previous.id, "champion", "registered")
    assert proposal.state == "rolled_back"
    assert len(session.scalars(select(Job)).all()) == jobs


def test_rolling_back_twice_has_nothing_to_go_back_to(session: Session):
    governed = govern(session)
    promoted(session, governed)
    rollback(session, governed.model, by=OMAR, reason="worse", now=NOW)
    with pytest.raises(BadInput, match="nothing to go back to"):
        rollback(session, governed.model, by=OMAR, reason="worse", now=NOW)


def test_a_rollback_needs_no_vote_but_a_role(session: Session):
    governed = govern(session)
    promoted(session, governed)
    with pytest.raises(NotAllowed, match="to roll back needs"):
        rollback(session, governed.model, by=ADMIN, reason="worse", now=NOW)


def test_a_rolled_back_version_is_promoted_again_without_training(session: Session):
    governed = govern(session)
    proposal, candidate = promoted(session, governed)
    rollback(session, governed.model, by=OMAR, reason="to be sure", now=NOW)
    with pytest.raises(NotAllowed, match="needs an approver|needs one of approver"):
        promote_again(session, candidate, by=OMAR, approved_by=OMAR, now=NOW)
    promote_again(session, candidate, by=OMAR, approved_by=ANA, reason="gates hold", now=NOW)
    assert governed.model.champion_id == candidate.id
    assert proposal.state == "rolled_back"
    written = entries(session, subject=f"version:{candidate.id}")[-1]
    assert (written.action, written.details["approved_by"]) == ("version.promoted_again", "ana")
    assert session.scalars(select(Job.kind).where(Job.kind == "retrain")).all() == ["retrain"]


def test_the_way_back_leads_to_where_the_champion_came_from(session: Session):
    governed = govern(session)
    _, second = promoted(session, governed)
    rollback(session, governed.model, by=OMAR, reason="worse", now=NOW)
    _, third = promoted(session, governed)
    assert rollback(session, governed.model, by=OMAR, reason="worse too", now=NOW) == governed.champion
    promote_again(session, second, by=OMAR, approved_by=ANA, now=NOW)
    assert rollback(session, governed.model, by=OMAR, reason="no", now=NOW) == governed.champion
    assert third.state == "registered"


def test_promoting_again_closes_the_proposal_of_the_version_that_it_replaces(session: Session):
    governed = govern(session)
    proposal, _ = promoted(session, governed)
    promote_again(session, governed.champion, by=OMAR, approved_by=ANA, reason="v1 was better", now=NOW)
    assert proposal.state == "rolled_back"
    with pytest.raises(StaleDecision, match="is champion"):
        promote_again(session, governed.champion, by=OMAR, approved_by=ANA, now=NOW)


def test_a_candidate_that_was_never_promoted_has_no_way_round_its_gates(session: Session):
    governed = govern(session)
    candidate = register_version(session, governed.model, manifest=None, state="candidate", by=POLICY, now=NOW)
    with pytest.raises(NotAllowed, match="was never promoted"):
        promote_again(session, candidate, by=OMAR, approved_by=ANA, now=NOW)


def test_each_change_of_the_champion_is_announced_and_confirmed_by_traces_again(session: Session):
    governed = govern(session)
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    _, candidate = promoted(session, governed)
    assert confirm_serving(session, candidate, NOW)
    rollback(session, governed.model, by=OMAR, reason="worse", now=NOW)
    assert governed.champion.confirmed_at is None
    assert confirm_serving(session, governed.champion, NOW)
    promote_again(session, candidate, by=OMAR, approved_by=ANA, now=NOW)
    told = session.scalars(select(Outbox.event).order_by(Outbox.id)).all()
    assert told == ["proposed", "candidate_ready", "promoted", "rolled_back", "promoted"]
