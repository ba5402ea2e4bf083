import dataclasses
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, select

from monitor.acts.retraining import approve, cancel
from monitor.artifacts import Manifest, attach_trained, load_model
from monitor.db.checks import Campaign
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.registry import Model, Version
from monitor.db.retraining import Progress, Proposal
from monitor.jobs import train_child
from monitor.jobs.context import Tools
from monitor.jobs.failpoints import FailpointReached
from monitor.jobs.material import read_material
from monitor.jobs.worker import Worker
from monitor.training import RECIPES, train
from tests.governed import (
    ANA,
    OMAR,
    Governed,
    alerted,
    day_of,
    govern,
    proposed,
    schema,
    serve,
    tools_for,
    with_artefact,
)

MOVED = 10  # the day from which the world is another


@pytest.fixture(autouse=True)
def quick_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few epochs instead of twenty: what is tested is the way of a training, not how well it learns."""
    for name, recipe in list(RECIPES.items()):
        quick = dataclasses.replace(recipe, epochs=6, min_steps=150, max_steps=150)
        monkeypatch.setitem(RECIPES, name, quick)


def approved(engine: Engine, tools: Tools, *, artefact: bool = True, days: int = 20, rows: int = 60) -> int:
    """A proposal whose training is queued, on a world that moved."""
    with transaction(engine) as session:
        governed: Governed = with_artefact(session, tools.store) if artefact else govern(session)
        serve(session, governed.model, 0, days, moved_from=MOVED, rows=rows)
        alert = alerted(session, governed, MOVED)
        proposal = proposed(session, governed.model, now=database_now(session), alert=alert)
        approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=database_now(session))
        return proposal.id


def work(tools: Tools, name: str = "w1") -> None:
    assert Worker(tools, name, kinds=["retrain"]).run_once()


@pytest.mark.slow
def test_a_candidate_that_learned_the_new_world_awaits_promotion(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools)
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "awaiting_promotion", proposal.last_error
        clean, robust = proposal.comparison["clean"], proposal.comparison["robust"]
        assert clean["value"] > clean["champion"] + 0.2
        assert clean["low"] <= clean["value"] <= clean["high"]
        assert robust["metric"] == "robust_auc"
        names = {gate["name"] for gate in proposal.gates}
        assert {"clean", "robust_auc_s2", "audit", "trigger_cleared", "not_constant"} <= names
        assert all(gate["passed"] for gate in proposal.gates)
        paired = {gate["name"] for gate in proposal.gates if "paired difference" in gate["sentence"]}
        assert {"calibration", "mcc", "positive_rate", "precision_at_champion_recall"} <= paired
        assert proposal.comparison["slices"] == []
        assert session.scalars(select(Job.state).where(Job.kind == "retrain")).all() == ["done"]


def test_the_candidate_has_provenance_baseline_campaign_and_learning_curve(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools)
    work(tools)
    with transaction(engine) as session:
        candidate = session.get_one(Version, session.get_one(Proposal, number).candidate_id)
        manifest = Manifest.from_document(candidate.manifest)
        assert (candidate.name, candidate.state, candidate.flavour) == ("v2", "candidate", "torch")
        made = manifest.provenance
        assert manifest.only_file().sha256 == made["weights_sha256"]
        assert {"snapshot_sha256", "code_version", "packages_sha256", "hardware"} <= set(made["inputs"])
        assert candidate.baseline["metric"]["name"] == "auroc"
        assert candidate.baseline["limit"] < candidate.baseline["metric"]["value"]
        (campaign,) = session.scalars(select(Campaign).where(Campaign.version_id == candidate.id))
        assert campaign.purpose == "candidate"
        assert sum(candidate.baseline["stress_stream"]["rows"].values()) == campaign.report["n_rows"]
        progress = session.scalars(select(Progress).where(Progress.proposal_id == number)).one()
        assert "gates: measuring" in progress.sentence
        assert {"epoch", "loss", "clean", "robust"} == set(progress.curve[-1])
        score = load_model(manifest, tools.store).predict_score(schema().encode(day_of(0)))
        assert score.shape == (60,)


@pytest.mark.slow
def test_a_retraining_takes_network_noise_and_allowed_leaks_from_the_champion(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    frame = pd.concat([day_of(1_000 + n) for n in range(5)])
    y = (frame["label"] == "1").to_numpy(np.float64)
    small = train(
        schema().encode(frame), y, schema(), task="binary", recipe="standard", network={"hidden": [16]},
        allow_leaks=["amount"],
    )  # fmt: skip
    with transaction(engine) as session:
        governed = govern(session, manifest=attach_trained(small, tools.store, schema=schema()))
        serve(session, governed.model, 0, 14, moved_from=MOVED, rows=60)
        for family, seconds in [("missing", -60), ("gaussian", 60)]:
            session.add(stressed(governed, family, database_now(session) + timedelta(seconds=seconds)))
        alert = alerted(session, governed, MOVED)
        proposal = proposed(session, governed.model, now=database_now(session), alert=alert)
        approve(session, proposal, by=ANA, evidence_sha256=proposal.evidence_sha256, now=database_now(session))
        number = proposal.id
    work(tools)
    with transaction(engine) as session:
        candidate = session.get_one(Version, session.get_one(Proposal, number).candidate_id)
        made = Manifest.from_document(candidate.manifest)
    assert made.settings == {"hidden": [16]}
    assert made.provenance["families"]["missing"] == max(made.provenance["families"].values())
    assert made.provenance["allow_leaks"] == ["amount"]


def stressed(governed: Governed, family: str, created: datetime) -> Campaign:
    """A campaign in which one family of noise cost much."""
    noise = [{"family": family, "severity": 5, "quality": 0.5, "auc": 0.5}]
    return Campaign(
        model_id=governed.model.id, version_id=governed.champion.id, purpose="command", plan="own", starts=created,
        ends=created, seed=0, report={"task": "binary", "clean_auc": 0.9, "noise": noise}, created_at=created,
    )  # fmt: skip


def test_the_held_out_rows_are_the_last_and_never_trained_on(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools)
    with transaction(engine) as session:
        material = read_material(session, session.get_one(Proposal, number))
    assert (material.held, material.cut) == (200, 400)
    assert material.frame.equals(material.snapshot.frame[list(schema().names)].iloc[-600:].reset_index(drop=True))
    train_child.write_work(
        tmp_path, material.schema.encode(material.frame.iloc[: material.cut]), material.y[: material.cut],
        schema=material.schema, order=train_child.Order(task="binary", recipe="noise", seed=0, inputs={}),
    )  # fmt: skip
    train_child.run(tmp_path, lambda _: None)
    assert train_child.read_candidates(tmp_path)[0].provenance["rows"] == 400


@pytest.mark.slow
def test_the_same_snapshot_gives_the_same_weights(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path, failpoint="train.before_commit:raise")
    number = approved(engine, tools)
    with transaction(engine) as session:
        material = read_material(session, session.get_one(Proposal, number))
    found = []
    for attempt in ("a", "b"):
        folder = tmp_path / attempt
        folder.mkdir()
        rows = material.schema.encode(material.frame.iloc[: material.cut])
        order = train_child.Order(task="binary", recipe="hardened", seed=1, inputs={})
        train_child.write_work(folder, rows, material.y[: material.cut], schema=material.schema, order=order)
        train_child.run(folder, lambda _: None)
        found.append([candidate.provenance["weights_sha256"] for candidate in train_child.read_candidates(folder)])
    assert found[0] == found[1] != []


@pytest.mark.slow
def test_a_training_takes_the_newest_rows_and_begins_again_with_the_same(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path, failpoint="train_step.before_commit:raise")
    number = approved(engine, tools)
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "training"
        began = dict(proposal.snapshot)
        assert began["rows"] == 20 * 60
        serve(session, session.get_one(Model, proposal.model_id), 20, 22, moved_from=MOVED)
        assert read_material(session, proposal).snapshot.to_document() == began


@pytest.mark.slow
def test_a_worker_that_dies_before_the_commit_leaves_nothing_and_the_next_one_finishes(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path, failpoint="train.before_commit:raise")
    number = approved(engine, tools)
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert (proposal.state, proposal.candidate_id, proposal.gates) == ("validating", None, [])
        assert session.scalars(select(Version.name)).all() == ["v1"]
        job = session.scalars(select(Job).where(Job.kind == "retrain")).one()
        assert job.state == "queued"
        assert FailpointReached.__name__ in str(job.last_error)
        job.run_at = database_now(session)
    work(tools, "w2")
    with transaction(engine) as session:
        assert session.get_one(Proposal, number).state == "awaiting_promotion"
        assert session.scalars(select(Version.name).order_by(Version.id)).all() == ["v1", "v2"]


def test_too_few_labels_end_the_proposal_in_a_sentence(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools, days=2)
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "failed"
        assert "expected at least 200 labelled rows to retrain on, got 120" in str(proposal.last_error)
        assert session.scalars(select(Job.state).where(Job.kind == "retrain")).all() == ["done"]


@pytest.mark.slow
def test_a_candidate_that_does_not_clear_the_trigger_fails_with_the_reason(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools)
    with transaction(engine) as session:
        champion = session.scalars(select(Version)).one()
        champion.baseline = {**champion.baseline, "limit": 0.999}
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "failed"
        assert "is still beyond the limit 0.999" in str(proposal.last_error)
        assert proposal.candidate_id is not None
        assert session.get_one(Model, proposal.model_id).champion_id == proposal.champion_id


@pytest.mark.slow
def test_a_champion_without_an_artefact_is_judged_by_its_traces(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools, artefact=False)
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.state == "awaiting_promotion", proposal.last_error
        assert proposal.comparison["robust"]["champion"] is None
        sentence = next(gate["sentence"] for gate in proposal.gates if gate["name"] == "robust_auc_s2")
        assert "the champion has no artefact, so there is nothing to compare it with" in sentence


def test_a_cancelled_proposal_is_not_trained(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path)
    number = approved(engine, tools)
    with transaction(engine) as session:
        cancel(session, session.get_one(Proposal, number), by=OMAR, reason="fixed", now=database_now(session))
    assert not Worker(tools, "w1", kinds=["retrain"]).run_once()


@pytest.mark.slow
def test_training_and_gates_run_in_child_processes(engine: Engine, tmp_path: Path):
    tools = tools_for(engine, tmp_path, children=True)
    number = approved(engine, tools, days=8)
    work(tools)
    with transaction(engine) as session:
        proposal = session.get_one(Proposal, number)
        assert proposal.candidate_id is not None, proposal.last_error
        assert np.isfinite(proposal.comparison["clean"]["value"])
