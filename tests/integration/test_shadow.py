"""A candidate beside the champion on live traces: decided by a sequence that may be looked at, counted on all rows."""

from dataclasses import replace as replaced
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.promotion import approve_promotion
from monitor.acts.proposals import move
from monitor.acts.registry import register_version
from monitor.acts.retraining import approve, cancel
from monitor.acts.shadow import Loss, Terms, begin_shadow, shadow_verdict
from monitor.artifacts import attach_trained
from monitor.db.audit import entries
from monitor.db.engine import transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model, ModelSettings, feature_schema
from monitor.db.retraining import Proposal, Shadow
from monitor.db.traces import append_labels
from monitor.errors import NotAllowed
from monitor.governance import POLICY, ProposalState
from monitor.jobs.context import Tools
from monitor.jobs.plan import plan_shadows
from monitor.jobs.worker import Worker
from tests.batches import append
from tests.governed import (
    ANA,
    BEGIN,
    DAY,
    NOW,
    OMAR,
    PASSED_GATES,
    day_of,
    proposed,
    schema,
    tools_for,
    trained_champion,
    with_artefact,
)

ROWS = 1_500
BRIER = Terms(loss=Loss.BRIER, champion_by="traces")


@pytest.fixture
def tools(engine: Engine, tmp_path: Path) -> Tools:
    return tools_for(engine, tmp_path)


def shadowed(engine: Engine, tools: Tools, *, windows: int = 4, limit: float = 0.005, terms: Terms = BRIER) -> int:
    """A proposal whose candidate has the trained champion's weights and is shadowed from day 0 on."""
    with transaction(engine) as session:
        model = with_artefact(session, tools.store).model
        model.settings = replaced(ModelSettings.of(model), shadow_windows=windows, shadow_limit=limit).to_document()
        model.watermark = BEGIN
        proposal = proposed(session, model)
        approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=NOW)
        manifest = attach_trained(trained_champion(), tools.store, schema=schema())
        candidate = register_version(session, model, manifest=manifest, state="candidate", by=POLICY, now=NOW)
        for state in ("training", "trained", "validating"):
            move(session, proposal, ProposalState(state), by=POLICY, now=NOW)
        found = {"candidate_id": candidate.id, "gates": PASSED_GATES}
        move(session, proposal, ProposalState.AWAITING_PROMOTION, by=POLICY, now=NOW, **found)
        assert begin_shadow(session, proposal, model, since=BEGIN, terms=terms, now=NOW) is not None
        return proposal.id


def traffic(
    engine: Engine, first: int, last: int, *, moved: bool, labelled: bool = True, score: str = "opposite"
) -> pd.DataFrame:
    """Days of live rows; the champion's traced score knows the present world, or knows nothing at all."""
    frames = [day_of(number, rows=ROWS, moved=moved) for number in range(first, last)]
    with transaction(engine) as session:
        model = session.scalars(select(Model)).one()
        for frame in frames:
            logit = (frame["amount"] - 100) / 8 * (-1 if moved else 1) + (frame["age"] - 40) / 10
            said = 1 / (1 + np.exp(-logit)) if score == "right" else np.full(len(frame), 0.4)
            traces = frame.assign(version="v1", score=said, prediction=None, kept=True, weight=1.0)
            append(session, model, feature_schema(session, model), traces.drop(columns="label"))
            if labelled:
                append_labels(session, model, frame[["trace_id", "label"]].assign(label_time=frame["event_time"]))
        model.watermark = BEGIN + last * DAY
    return pd.concat(frames)


def look(engine: Engine, tools: Tools) -> Shadow:
    """What the platform does after each window."""
    with transaction(engine) as session:
        plan_shadows(session)
    while Worker(tools, "w1", kinds=["shadow"]).run_once():
        pass
    with transaction(engine) as session:
        shadow = session.scalars(select(Shadow)).one()
        session.expunge_all()
        return shadow


def vote(session: Session, number: int) -> bool:
    proposal = session.get_one(Proposal, number)
    return approve_promotion(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=NOW)


def gate_of(engine: Engine) -> dict[str, object]:
    with transaction(engine) as session:
        gates = session.scalars(select(Proposal)).one().gates
        return next((gate for gate in gates if gate["name"] == "shadow"), {})


@pytest.mark.slow
def test_a_candidate_that_is_better_on_live_rows_is_decided_before_the_period_ends(engine: Engine, tools: Tools):
    number = shadowed(engine, tools)
    traffic(engine, 0, 1, moved=False, score="knows nothing")
    shadow = look(engine, tools)
    assert (shadow.state, shadow.document["verdict"], shadow.rows) == ("decided", "not_worse", ROWS)
    gate = gate_of(engine)
    assert gate["passed"]
    assert gate["high"] < gate["limit"]
    assert "is not worse than the champion" in str(gate["sentence"])
    with transaction(engine) as session:
        assert shadow_verdict(session, session.get_one(Proposal, number)) == "not_worse"
        assert entries(session, subject=f"proposal:{number}")[-1].action == "proposal.shadow_ended"
        assert vote(session, number)


@pytest.mark.slow
def test_a_candidate_that_is_worse_on_live_rows_may_not_be_promoted(engine: Engine, tools: Tools):
    number = shadowed(engine, tools)
    with transaction(engine) as session:
        assert vote(session, number)  # people decided while the shadow was running
    traffic(engine, 0, 1, moved=True, score="right")
    shadow = look(engine, tools)
    assert (shadow.state, shadow.document["verdict"]) == ("decided", "worse")
    assert not gate_of(engine)["passed"]
    with transaction(engine) as session, pytest.raises(NotAllowed, match="is worse than the champion"):
        shadow_verdict(session, session.get_one(Proposal, number))
    assert Worker(tools, "w1", kinds=["promote"]).run_once()
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "failed"
        assert "is worse than the champion" in str(proposal.last_error)
        assert session.get_one(Model, proposal.model_id).champion_id == proposal.champion_id


@pytest.mark.slow
def test_a_vote_for_a_candidate_that_is_worse_is_refused_in_a_sentence(engine: Engine, tools: Tools):
    number = shadowed(engine, tools)
    traffic(engine, 0, 1, moved=True, score="right")
    look(engine, tools)
    with transaction(engine) as session, pytest.raises(NotAllowed, match="It may not be promoted"):
        vote(session, number)


@pytest.mark.slow
def test_unlabelled_rows_count_decisions_at_once_and_losses_when_their_labels_come(engine: Engine, tools: Tools):
    shadowed(engine, tools, windows=2, limit=0.0)
    rows = traffic(engine, 0, 1, moved=False, labelled=False, score="right")
    shadow = look(engine, tools)
    decisions = shadow.document["decisions"]
    assert (shadow.state, shadow.rows, decisions["rows"]) == ("running", 0, ROWS)
    assert 0 < decisions["changed"] < ROWS / 4
    assert len(decisions["examples"]) == min(50, decisions["changed"])
    assert set(decisions["examples"]) <= set(rows["trace_id"])
    with transaction(engine) as session:
        model = session.scalars(select(Model)).one()
        append_labels(session, model, rows[["trace_id", "label"]].assign(label_time=rows["event_time"]))
        assert plan_shadows(session) == 1
    shadow = look(engine, tools)
    assert shadow.rows == ROWS
    assert shadow.document["decisions"] == decisions  # no row is counted twice


@pytest.mark.slow
def test_a_shadow_that_cannot_decide_ends_with_its_period_and_blocks_nothing(engine: Engine, tools: Tools):
    number = shadowed(engine, tools, windows=2, limit=0.005)
    traffic(engine, 0, 2, moved=False, score="right")
    look(engine, tools)
    shadow = look(engine, tools)
    assert (shadow.state, shadow.document["verdict"], shadow.rows) == ("ended", "undecided", 2 * ROWS)
    with transaction(engine) as session:
        assert vote(session, number)


@pytest.mark.slow
def test_a_champion_whose_traces_report_no_score_is_scored_by_its_artefact(engine: Engine, tools: Tools):
    shadowed(engine, tools, windows=1, terms=replaced(BRIER, champion_by="artefact"))
    traffic(engine, 0, 1, moved=False)
    document = look(engine, tools).document
    assert document["decisions"]["changed"] == 0  # both are the same model
    assert document["sequence"]["squares"] < 1e-3


@pytest.mark.slow
def test_rows_of_another_version_are_left_to_it(engine: Engine, tools: Tools):
    shadowed(engine, tools, windows=1)
    with transaction(engine) as session:
        model = session.scalars(select(Model)).one()
        frame = day_of(0, rows=40)
        traces = frame.assign(version="v7", score=0.5, prediction=None, kept=True, weight=1.0)
        append(session, model, feature_schema(session, model), traces.drop(columns="label"))
        model.watermark = BEGIN + DAY
    shadow = look(engine, tools)
    assert shadow.document["decisions"]["rows"] == 0
    assert (look(engine, tools).state, shadow.rows) == ("ended", 0)
    assert "no label came" in str(gate_of(engine)["sentence"])


def test_a_shadow_ends_with_its_proposal(engine: Engine, tools: Tools):
    number = shadowed(engine, tools)
    with transaction(engine) as session:
        cancel(session, session.get_one(Proposal, number), by=OMAR, reason="no", now=NOW)
    assert look(engine, tools).state == "ended"
    with transaction(engine) as session:
        assert plan_shadows(session) == 0


@pytest.mark.slow
def test_a_worker_that_dies_over_a_window_counts_it_once(engine: Engine, tools: Tools, tmp_path: Path):
    shadowed(engine, tools, windows=2, limit=0.0)
    traffic(engine, 0, 1, moved=False, score="right")
    armed = tools_for(engine, tmp_path, failpoint="shadow.before_commit:raise")
    look(engine, armed)
    with transaction(engine) as session:
        assert session.scalars(select(Shadow)).one().rows == 0
        session.scalars(select(Job).where(Job.kind == "shadow")).one().run_at = NOW.replace(year=2020)
    assert look(engine, tools).rows == ROWS


@pytest.mark.slow
def test_a_candidate_whose_file_was_altered_fails_its_shadow_and_may_not_be_promoted(engine: Engine, tools: Tools):
    number = shadowed(engine, tools)
    traffic(engine, 0, 1, moved=False)
    (path,) = [one for one in tools.store.root.rglob("*") if one.is_file()]
    path.chmod(0o640)
    path.write_bytes(b"altered")
    shadow = look(engine, tools)
    assert (shadow.state, shadow.document["verdict"]) == ("ended", "failed")
    assert "the file was altered or damaged" in str(gate_of(engine)["sentence"])
    assert not gate_of(engine)["passed"]
    with transaction(engine) as session, pytest.raises(NotAllowed, match="may not be promoted"):
        vote(session, number)
