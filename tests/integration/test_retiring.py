"""What is retired stays on record and is left alone; what is due by the calendar is proposed."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from monitor.acts.promotion import rollback
from monitor.acts.retiring import retire_model, retire_version
from monitor.acts.retraining import approve, expire_due
from monitor.db.checks import WindowVerdict
from monitor.db.jobs import Job
from monitor.db.registry import Model, ModelSettings, Version
from monitor.db.retraining import Proposal
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.jobs.plan import plan
from tests.governed import ANA, BEGIN, DAY, NOW, OMAR, govern, proposed, serve
from tests.integration.test_rollback import promoted


def test_a_retired_model_is_neither_planned_nor_proposed_for(session: Session):
    model = govern(session).model
    serve(session, model, 0, 3)
    standing = proposed(session, model)
    retire_model(session, model, by=OMAR, reason="replaced by a rule", now=NOW)
    assert standing.state == "cancelled"
    plan(session)
    assert not any(job.payload.get("version_id") for job in session.scalars(select(Job)))
    with pytest.raises(StaleDecision, match="is retired"):
        proposed(session, model, by=ANA)
    with pytest.raises(StaleDecision, match="is retired already"):
        retire_model(session, model, by=OMAR, reason="again", now=NOW)


def test_a_version_is_retired_for_good_unless_it_is_needed(session: Session):
    governed = govern(session)
    with pytest.raises(NotAllowed, match="v1 serves"):
        retire_version(session, governed.champion, by=OMAR, reason="old", now=NOW)
    promoted(session, governed)
    with pytest.raises(NotAllowed, match="is where a rollback of v2 leads"):
        retire_version(session, governed.champion, by=OMAR, reason="old", now=NOW)
    candidate = session.get_one(Version, session.scalars(select(Proposal.candidate_id)).one())
    rollback(session, governed.model, by=OMAR, reason="worse", now=NOW)
    retire_version(session, candidate, by=OMAR, reason="never again", now=NOW)
    assert candidate.state == "retired"
    with pytest.raises(BadInput, match="expected a reason"):
        retire_version(session, candidate, by=OMAR, reason=" ", now=NOW)


def test_an_approval_that_no_worker_used_in_time_expires_with_its_job(session: Session):
    proposal = proposed(session, govern(session).model)
    approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=NOW)
    assert expire_due(session, NOW + timedelta(hours=23)) == 0
    assert expire_due(session, NOW + timedelta(hours=25)) == 1
    assert proposal.state == "expired"
    assert session.scalars(select(Job.state)).all() == ["cancelled"]


def scheduled(session: Session, *, windows: int, verdict: str) -> Model:
    """A champion that learned data up to day 0 by its last proposal, and has served since."""
    governed = govern(session)
    model = governed.model
    model.settings = ModelSettings(positive="1", retrain_every_windows=10).to_document()
    serve(session, model, 0, windows)
    old = proposed(session, model)
    session.execute(update(Proposal).values(snapshot={"ends": BEGIN.isoformat()}))
    session.refresh(old)
    expire_due(session, NOW + timedelta(hours=73))
    session.add(
        WindowVerdict(
            model_id=model.id, version_id=governed.champion.id, starts=BEGIN + (windows - 1) * DAY,
            ends=BEGIN + windows * DAY, revision=0, verdict=verdict, sentence="It is so.", advice="", rows=60,
            metric={},
        )
    )  # fmt: skip
    session.flush()
    return model


def open_ones(session: Session) -> list[str]:
    return list(session.scalars(select(Proposal.reason).where(Proposal.state == "awaiting_approval")))


def test_a_retraining_is_proposed_when_the_calendar_says_so_and_once(session: Session):
    scheduled(session, windows=12, verdict="healthy")
    plan(session)
    plan(session)
    assert open_ones(session) == ["Scheduled: v1 learned data up to 5 Jan 2026. The verdict: It is so."]


@pytest.mark.parametrize(("windows", "verdict"), [(8, "healthy"), (12, "pipeline_break")])
def test_it_is_not_proposed_early_nor_on_a_broken_pipeline(session: Session, windows: int, verdict: str):
    scheduled(session, windows=windows, verdict=verdict)
    plan(session)
    assert open_ones(session) == []
