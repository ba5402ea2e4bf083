from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.alerts import add_route
from monitor.acts.retraining import approve, cancel, expire_due, freeze, move, propose, reject, unfreeze
from monitor.db.alerts import Outbox
from monitor.db.audit import document, entries
from monitor.db.checks import WindowVerdict
from monitor.db.engine import transaction
from monitor.db.jobs import Job
from monitor.db.retraining import Proposal, Vote
from monitor.errors import IllegalTransition, NotAllowed, StaleDecision
from monitor.governance import POLICY, Evidence, ProposalState, canonical_json, chain, verify
from monitor.governance.proposal import TRANSITIONS
from monitor.performance.verdict import Verdict
from monitor.reports.evidence import collect
from monitor.windows import Window
from tests.governed import ADMIN, ANA, BEN, NOW, OMAR, VAL, govern, proposed
from tests.seeded import populate
from tests.unguarded import unguarded


def test_a_proposal_awaits_approval_with_its_evidence_and_is_announced(session: Session):
    model = govern(session).model
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    proposal = proposed(session, model)
    assert proposal.state == "awaiting_approval"
    assert proposal.expires_at == NOW + timedelta(hours=72)
    assert Evidence(**{**proposal.evidence, "verdict": Verdict.CONCEPT_DRIFT}).sha256 == proposal.evidence_sha256
    assert session.scalars(select(Outbox.event)).all() == ["proposed"]


def test_a_model_has_one_open_proposal(session: Session):
    model = govern(session).model
    first = proposed(session, model)
    evidence = Evidence(verdict=Verdict.FRAGILE, sentence="x")
    second = propose(
        session, model, evidence=evidence, verdict="fragile", reason="x", alert_id=None, snapshot={}, by=POLICY, now=NOW
    )
    assert second is None
    reject(session, first, by=ANA, evidence_sha256=first.evidence_sha256, reason="season", now=NOW)
    assert proposed(session, model).id != first.id


def test_an_approval_queues_the_training_and_binds_to_the_evidence(session: Session):
    proposal = proposed(session, govern(session).model)
    with pytest.raises(StaleDecision):
        approve(session, proposal, by=ANA, evidence_sha256="0" * 64, now=NOW)
    approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, reason="harmful", now=NOW)
    assert proposal.state == "queued"
    assert session.scalars(select(Job.kind)).all() == ["retrain"]
    vote = session.scalars(select(Vote)).one()
    assert (vote.actor, vote.stage, vote.evidence_sha256) == ("ana", "training", proposal.evidence_sha256)


def test_approving_twice_is_stale_and_queues_one_training(session: Session):
    proposal = proposed(session, govern(session).model)
    approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=NOW)
    with pytest.raises(StaleDecision):
        approve(session, proposal, by=BEN, evidence_sha256=proposal.evidence_sha256, now=NOW)
    assert len(session.scalars(select(Job)).all()) == 1
    assert len(session.scalars(select(Vote)).all()) == 1


def test_an_expired_proposal_cannot_be_approved_and_is_closed(session: Session):
    proposal = proposed(session, govern(session).model)
    late = NOW + timedelta(hours=73)
    with pytest.raises(StaleDecision, match="has expired"):
        approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=late)
    assert expire_due(session, NOW) == 0
    assert expire_due(session, late) == 1
    assert proposal.state == "expired"


def test_who_asked_does_not_approve_unless_the_team_is_declared_solo(session: Session):
    governed = govern(session)
    both = ADMIN.__class__(id="ana", name="ana", roles=ANA.roles | OMAR.roles)
    proposal = proposed(session, governed.model, by=both)
    with pytest.raises(NotAllowed, match="someone else must approve"):
        approve(session, proposal, by=both, evidence_sha256=proposal.evidence_sha256, now=NOW)
    with unguarded(session):
        governed.model.solo = True
    approve(session, proposal, by=both, evidence_sha256=proposal.evidence_sha256, now=NOW)
    assert session.scalars(select(Vote.self_approved)).all() == [True]
    assert entries(session, subject=f"proposal:{proposal.id}")[-3].details["self_approved"] is True


def test_whoever_is_refused_is_on_record_with_the_sentence(engine: Engine):
    with transaction(engine) as session:
        proposal = proposed(session, govern(session).model)
    for person, sha in ((OMAR, proposal.evidence_sha256), (ANA, "f" * 64)):
        with pytest.raises((NotAllowed, StaleDecision)), transaction(engine) as session:
            approve(session, session.get_one(Proposal, proposal.id), by=person, evidence_sha256=sha, now=NOW)
    with transaction(engine) as session:
        refused = [one for one in entries(session) if one.action == "proposal.refused_to_approve"]
        assert [one.actor for one in refused] == ["omar", "ana"]
        assert "needs one of approver" in refused[0].details["sentence"]
        assert session.get_one(Proposal, proposal.id).state == "awaiting_approval"


def test_only_an_approver_approves(session: Session):
    proposal = proposed(session, govern(session).model)
    for person in (OMAR, ADMIN, POLICY):
        with pytest.raises(NotAllowed):
            approve(session, proposal, by=person, evidence_sha256=proposal.evidence_sha256, now=NOW)
    assert proposal.state == "awaiting_approval"


def test_at_tier_three_a_validator_may_approve_and_must_say_why(session: Session):
    proposal = proposed(session, govern(session, tier=3).model)
    with pytest.raises(NotAllowed, match="written reason"):
        approve(session, proposal, by=VAL, evidence_sha256=proposal.evidence_sha256, now=NOW)
    approve(session, proposal, by=VAL, evidence_sha256=proposal.evidence_sha256, reason="checked", now=NOW)
    assert session.scalars(select(Vote.as_validator)).all() == [True]


def test_a_refused_approval_writes_nothing(engine: Engine):
    with transaction(engine) as session:
        number = proposed(session, govern(session).model).id
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        with pytest.raises(NotAllowed):
            approve(session, proposal, by=OMAR, evidence_sha256=proposal.evidence_sha256, now=NOW)
    with transaction(engine) as session:
        assert session.scalars(select(Vote)).all() == []
        assert session.scalars(select(Job)).all() == []
        assert entries(session)[-1].action == "proposal.awaiting_approval"


def test_cancelling_stops_the_queued_training(session: Session):
    proposal = proposed(session, govern(session).model)
    approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=NOW)
    cancel(session, proposal, by=OMAR, reason="fixed upstream", now=NOW)
    assert proposal.state == "cancelled"
    assert session.scalars(select(Job.state)).all() == ["cancelled"]
    with pytest.raises(IllegalTransition):
        cancel(session, proposal, by=OMAR, reason="again", now=NOW)


def test_a_frozen_model_gets_no_proposal(session: Session):
    model = govern(session).model
    freeze(session, model, by=OMAR, reason="audit week", now=NOW)
    with pytest.raises(StaleDecision, match="is frozen already"):
        freeze(session, model, by=OMAR, reason="audit week", now=NOW)
    with pytest.raises(StaleDecision, match="is frozen"):
        proposed(session, model)
    unfreeze(session, model, by=OMAR, reason="over", now=NOW)
    assert proposed(session, model).state == "awaiting_approval"


def test_the_transition_function_refuses_every_illegal_step(session: Session):
    proposal = proposed(session, govern(session).model)
    for here in ProposalState:
        with unguarded(session):
            proposal.state = here.value
        for there in set(ProposalState) - TRANSITIONS[here]:
            with pytest.raises(IllegalTransition):
                move(session, proposal, there, by=POLICY, now=NOW)
        assert proposal.state == here


def test_the_evidence_bundle_holds_what_fired_the_path_the_histograms_and_the_last_stress_test(session: Session):
    seeded = populate(session)
    last = session.scalars(select(WindowVerdict).order_by(WindowVerdict.starts.desc()).limit(1)).one()
    evidence = collect(
        session, seeded.model, seeded.champion, window=Window(last.starts, last.ends), verdict=last.verdict,
        sentence=last.sentence, culprits=["merchant_category", "no such feature"], snapshot={"rows": 9_000},
    )  # fmt: skip
    assert {finding["kind"] for finding in evidence.findings} == {"drift"}
    assert [one["feature"] for one in evidence.charts["histograms"]] == ["merchant_category"]
    assert sum(evidence.charts["histograms"][0]["current"]) == pytest.approx(1)
    starts = [entry["starts"] for entry in evidence.charts["metric"]]
    assert starts == sorted(starts)
    assert evidence.metric["value"] < evidence.metric["limit"] < evidence.metric["reference"]
    assert evidence.campaign["at_level"]["level"] == "S2"
    assert "retraining can win back up to" in evidence.expected_benefit
    canonical_json(evidence.to_document())


def test_the_audit_chain_of_a_whole_decision_is_intact(session: Session):
    proposal = proposed(session, govern(session).model)
    approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, reason="harmful", now=NOW)
    written = entries(session, subject=f"proposal:{proposal.id}")
    assert [entry.action.split(".")[1] for entry in written] == [
        "proposed", "awaiting_approval", "approved", "approved", "queued",
    ]  # fmt: skip
    assert verify((document(entry), entry.previous_hash, entry.hash) for entry in entries(session)).ok
    assert chain(written[-1].previous_hash, document(written[-1])) == written[-1].hash
