import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_reference
from monitor.acts.promotion import approve_promotion, confirm_serving, end_observation, promote
from monitor.acts.proposals import move
from monitor.acts.registry import register_version
from monitor.acts.retraining import approve, expire_due, reject
from monitor.db.checks import WindowVerdict
from monitor.db.engine import sessions, transaction
from monitor.db.jobs import Job
from monitor.db.profiles import add_profile
from monitor.db.registry import Model, Version, reference_for
from monitor.db.retraining import Proposal, Vote
from monitor.drift import Reference
from monitor.drift.profile import Profile
from monitor.errors import HoldfastError, IllegalTransition, NotAllowed, StaleDecision
from monitor.governance import POLICY, Actor, ProposalState
from monitor.jobs.worker import Worker
from monitor.windows import Window
from tests.governed import (
    ADMIN,
    ANA,
    BEGIN,
    BEN,
    DAY,
    FEATURES,
    NOW,
    PASSED_GATES,
    VAL,
    Governed,
    day_of,
    govern,
    proposed,
    schema,
    tools_for,
)
from tests.unguarded import unguarded


def candidate_for(session: Session, governed: Governed, *, approver: Actor = ANA, reason: str = "") -> Proposal:
    """A proposal whose training is over and whose candidate passed its gates."""
    proposal = proposed(session, governed.model)
    approve(session, proposal, by=approver, evidence_sha256=proposal.evidence_sha256, reason=reason, now=NOW)
    candidate = register_version(session, governed.model, manifest=None, state="candidate", by=POLICY, now=NOW)
    for state in ("training", "trained", "validating"):
        move(session, proposal, ProposalState(state), by=POLICY, now=NOW)
    found = {"candidate_id": candidate.id, "gates": PASSED_GATES}
    move(session, proposal, ProposalState.AWAITING_PROMOTION, by=POLICY, now=NOW, **found)
    return proposal


def voted(session: Session, proposal: Proposal, by: Actor, reason: str = "") -> bool:
    return approve_promotion(session, proposal, by=by, evidence_sha256=proposal.evidence_sha256, reason=reason, now=NOW)


def test_one_vote_promotes_at_tier_one(session: Session):
    governed = govern(session)
    proposal = candidate_for(session, governed)
    assert voted(session, proposal, ANA)
    promote(session, proposal, by=ANA, now=NOW)
    candidate = session.get_one(Version, proposal.candidate_id)
    assert governed.model.champion_id == candidate.id
    assert (candidate.state, candidate.confirmed_at, candidate.replaced_id) == ("champion", None, governed.champion.id)
    assert governed.champion.state == "registered"
    assert proposal.state == "promoted"


def test_nothing_is_promoted_without_a_vote(session: Session):
    governed = govern(session)
    proposal = candidate_for(session, governed)
    with pytest.raises(NotAllowed, match="lacks votes"):
        promote(session, proposal, by=ANA, now=NOW)
    assert governed.model.champion_id == governed.champion.id


def test_tier_two_needs_another_person_than_the_one_who_approved(session: Session):
    proposal = candidate_for(session, govern(session, tier=2))
    with pytest.raises(NotAllowed, match="a second person must"):
        voted(session, proposal, ANA)
    assert voted(session, proposal, BEN)
    promote(session, proposal, by=BEN, now=NOW)
    assert proposal.state == "promoted"


def test_tier_three_needs_a_validator_among_those_who_decide(session: Session):
    proposal = candidate_for(session, govern(session, tier=3), reason="harmful")
    with pytest.raises(NotAllowed, match="independent validator"):
        voted(session, proposal, BEN, "gates are met")
    assert voted(session, proposal, VAL, "gates are met")


def test_a_vote_binds_to_the_evidence_and_counts_once(session: Session):
    proposal = candidate_for(session, govern(session))
    with pytest.raises(StaleDecision):
        approve_promotion(session, proposal, by=ANA, evidence_sha256="f" * 64, now=NOW)
    assert voted(session, proposal, ANA)
    for person in (ANA, BEN):
        with pytest.raises(StaleDecision, match="decided already"):
            voted(session, proposal, person)
    assert len(session.scalars(select(Vote).where(Vote.stage == "promotion")).all()) == 1
    assert session.scalars(select(Job.kind).where(Job.kind == "promote")).all() == ["promote"]


def test_promoting_twice_is_illegal(session: Session):
    proposal = candidate_for(session, govern(session))
    voted(session, proposal, ANA)
    promote(session, proposal, by=ANA, now=NOW)
    with pytest.raises(IllegalTransition):
        promote(session, proposal, by=ANA, now=NOW)


def test_a_candidate_compared_with_another_champion_is_stale(session: Session):
    governed = govern(session)
    proposal = candidate_for(session, governed)
    voted(session, proposal, ANA)
    other = register_version(session, governed.model, manifest=None, by=ADMIN, now=NOW)
    with unguarded(session):
        governed.champion.state = "registered"
        session.flush()
        other.state, governed.model.champion_id = "champion", other.id
    with pytest.raises(StaleDecision, match="became champion in the meantime"):
        promote(session, proposal, by=ANA, now=NOW)


def test_a_candidate_can_be_rejected_or_expire(session: Session):
    proposal = candidate_for(session, govern(session))
    reject(session, proposal, by=BEN, evidence_sha256=proposal.evidence_sha256, reason="worse on B2B", now=NOW)
    assert proposal.state == "rejected"
    second = proposed(session, session.get_one(Model, proposal.model_id))
    assert expire_due(session, NOW + timedelta(hours=72)) == 1
    assert second.state == "expired"


def test_who_voted_for_a_promotion_may_still_reject_it_before_it_happens(session: Session):
    proposal = candidate_for(session, govern(session))
    voted(session, proposal, ANA)
    reject(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, reason="on reflection", now=NOW)
    session.expire_all()
    vote = session.scalars(select(Vote).where(Vote.stage == "promotion")).one()
    assert (proposal.state, vote.decision, vote.reason) == ("rejected", "reject", "on reflection")
    with pytest.raises(IllegalTransition):
        promote(session, proposal, by=ANA, now=NOW)


def test_serving_is_confirmed_by_the_traces_and_observed_for_three_windows(session: Session):
    governed = govern(session)
    proposal = candidate_for(session, governed)
    voted(session, proposal, ANA)
    promote(session, proposal, by=ANA, now=NOW)
    candidate = session.get_one(Version, proposal.candidate_id)
    assert not confirm_serving(session, governed.champion, NOW)
    assert confirm_serving(session, candidate, NOW)
    assert not confirm_serving(session, candidate, NOW)
    assert proposal.state == "observing"
    for day, verdict in enumerate(("harmful_covariate_shift", "healthy", "healthy")):
        judged(session, candidate, day, verdict)
    assert not end_observation(session, candidate, NOW)
    judged(session, candidate, 3, "harmless_drift")
    assert end_observation(session, candidate, NOW)
    assert proposal.state == "confirmed"


def counted(session: Session, governed: Governed, days: int) -> None:
    """A reference, and counts of every row over it for so many days."""
    frames = [(Window(BEGIN + n * DAY, BEGIN + (n + 1) * DAY), day_of(n)[list(FEATURES)]) for n in range(days)]
    reference = Reference.fit(frames, schema=schema())
    accept_reference(session, governed.model, governed.champion, reference, by=POLICY, now=NOW)
    for window, frame in frames:
        add_profile(
            session, model_id=governed.model.id, version_id=governed.champion.id,
            bucket=window.start, profile=Profile.of(frame, reference.binning),
        )  # fmt: skip
    governed.model.watermark = BEGIN + days * DAY
    session.flush()


@pytest.mark.slow
def test_the_promotion_job_brings_what_is_normal_for_the_candidate(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path, failpoint="promote.before_commit:raise")
    with transaction(engine) as session:
        governed = govern(session)
        counted(session, governed, 30)
        proposal = candidate_for(session, governed)
        judged(session, governed.champion, 20, "pipeline_break")
        voted(session, proposal, ANA)
    worker = Worker(tools, "w1", kinds=["promote"])
    assert worker.run_once()
    with transaction(engine) as session:  # died before its commit
        assert session.get_one(Proposal, proposal.id).state == "awaiting_promotion"
        session.scalars(select(Job).where(Job.kind == "promote")).one().run_at = NOW.replace(year=2020)
    assert worker.run_once()
    with transaction(engine) as session:
        candidate = session.get_one(Version, proposal.candidate_id)
        assert session.get_one(Model, governed.model.id).champion_id == candidate.id
        reference = reference_for(session, candidate)
        assert reference is not None
        assert (reference.windows, reference.rows) == (27, 27 * 60)


def judged(session: Session, version: Version, day: int, verdict: str) -> None:
    starts = BEGIN + day * DAY
    session.add(
        WindowVerdict(
            model_id=version.model_id, version_id=version.id, starts=starts, ends=starts + DAY, verdict=verdict,
            sentence="", advice="",
        )
    )  # fmt: skip
    session.flush()


def test_of_two_racing_approvers_one_decides(engine: Engine):
    with transaction(engine) as session:
        number = candidate_for(session, govern(session)).id
    outcomes: list[str] = []
    together = threading.Barrier(2)

    def click(person: Actor) -> None:
        with sessions(engine)() as session:
            proposal = session.get_one(Proposal, number)
            together.wait()
            try:
                voted(session, proposal, person)
                session.commit()
                outcomes.append("decided")
            except HoldfastError as error:
                outcomes.append(type(error).__name__)

    people = [threading.Thread(target=click, args=(person,)) for person in (ANA, BEN)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted(outcomes) == ["StaleDecision", "decided"]
