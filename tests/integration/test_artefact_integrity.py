"""What is compared and promoted is what was trained: a byte altered in between ends the proposal."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.alerts import add_route
from monitor.acts.promotion import approve_promotion
from monitor.acts.proposals import move
from monitor.acts.registry import register_version
from monitor.acts.retraining import approve
from monitor.artifacts import Manifest, attach_trained
from monitor.db.alerts import Outbox
from monitor.db.audit import entries
from monitor.db.engine import transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal
from monitor.governance import POLICY, ProposalState
from monitor.jobs.context import Tools
from monitor.jobs.worker import Worker
from tests.governed import ADMIN, ANA, NOW, PASSED_GATES, proposed, schema, tools_for, trained_champion, with_artefact
from tests.integration.test_retrain_job import MOVED, approved


@pytest.fixture
def tools(engine: Engine, tmp_path: Path) -> Tools:
    return tools_for(engine, tmp_path)


def voted(session: Session, tools: Tools) -> Proposal:
    """A candidate with other weights than the champion's, whose promotion is queued."""
    governed = with_artefact(session, tools.store)
    add_route(session, name="all", url="console:", model=None, least_severity="info", by=ADMIN, now=NOW)
    manifest = attach_trained(trained_champion(), tools.store, schema=schema())
    weights = tools.store.put(tools.store.read(manifest.only_file().sha256) + b"\0")
    document = manifest.to_document()
    document["files"] = {"weights.safetensors": {"sha256": weights, "size": 1}}
    proposal = proposed(session, governed.model)
    sha = proposal.evidence_sha256
    approve(session, proposal, by=ANA, evidence_sha256=sha, now=NOW)
    candidate = register_version(
        session, governed.model, manifest=Manifest.from_document(document), state="candidate", by=POLICY, now=NOW
    )
    for state in ("training", "trained", "validating"):
        move(session, proposal, ProposalState(state), by=POLICY, now=NOW)
    found = {"candidate_id": candidate.id, "gates": PASSED_GATES}
    move(session, proposal, ProposalState.AWAITING_PROMOTION, by=POLICY, now=NOW, **found)
    assert approve_promotion(session, proposal, by=ANA, evidence_sha256=sha, now=NOW)
    return proposal


def stored(tools: Tools, version: Version) -> Path:
    return tools.store.path(Manifest.from_document(version.manifest).only_file().sha256)


def spoil(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)


@pytest.mark.parametrize("of", ["candidate", "champion"])
@pytest.mark.parametrize(("how", "said"), [("altered", "got another content"), ("missing", "got nothing")])
def test_a_file_that_changed_since_the_gates_is_not_promoted(
    engine: Engine, tools: Tools, of: str, how: str, said: str
):
    with transaction(engine) as session:
        proposal = voted(session, tools)
        spoil(stored(tools, session.get_one(Version, getattr(proposal, f"{of}_id"))), how)
    assert Worker(tools, "w1", kinds=["promote"]).run_once()
    with transaction(engine) as session:
        ended = session.get_one(Proposal, proposal.id)
        assert ended.state == "failed"
        assert said in str(ended.last_error)
        assert session.get_one(Model, ended.model_id).champion_id == ended.champion_id
        assert entries(session, subject=f"proposal:{ended.id}")[-1].action == "proposal.failed"
        assert session.scalars(select(Outbox.event).order_by(Outbox.id.desc())).first() == "failed"
        assert session.scalars(select(Job.state).where(Job.kind == "promote")).all() == ["done"]


def test_whole_files_are_promoted(engine: Engine, tools: Tools):
    with transaction(engine) as session:
        number = voted(session, tools).id
    assert Worker(tools, "w1", kinds=["promote"]).run_once()
    with transaction(engine) as session:
        assert session.get_one(Proposal, number).state == "promoted"


def test_a_damaged_champion_is_not_compared(engine: Engine, tools: Tools, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("monitor.jobs.retrain._train", lambda *_: {})
    number = approved(engine, tools, days=MOVED)
    with transaction(engine) as session:
        spoil(stored(tools, session.scalars(select(Version)).one()), "altered")
    assert Worker(tools, "w1", kinds=["retrain"]).run_once()
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "failed"
        assert "of the champion with sha256" in str(proposal.last_error)
