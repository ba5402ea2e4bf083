"""The end of a training: the one effect that brings a candidate, its gates and its shadow into the registry."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from monitor.acts.proposals import lifetime_of, move
from monitor.acts.registry import register_version
from monitor.acts.shadow import Terms, begin_shadow
from monitor.artifacts import Manifest
from monitor.db.checks import Campaign
from monitor.db.engine import database_now
from monitor.db.jobs import Claimed
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal
from monitor.governance import POLICY, ProposalState
from monitor.jobs.compare_child import Measurements
from monitor.jobs.context import Tools, effect
from monitor.jobs.gating import Ruling
from monitor.jobs.material import Material
from monitor.jobs.shadow import terms_of


def finish(
    tools: Tools, job: Claimed, material: Material, ruling: Ruling, manifest: Manifest,
    found: Mapping[str, Measurements], *, seed: int,
) -> None:  # fmt: skip
    """The one effect: candidate, its campaign, gates, the proposal's next state, its shadow, and the job's end."""
    with effect(tools, job, point="train") as session:
        now = database_now(session)
        proposal, model = session.get_one(Proposal, material.proposal.id), session.get_one(Model, material.model.id)
        candidate = register_version(
            session, model, manifest=manifest, state="candidate", baseline=ruling.baseline, by=POLICY, now=now
        )
        _store_campaign(session, candidate, material, found[ruling.recipe], seed)
        values: dict[str, Any] = {
            "candidate_id": candidate.id,
            "gates": [gate.to_document() for gate in ruling.gates],
            "comparison": ruling.comparison,
            "snapshot": {**proposal.snapshot, **_trained_on(material)},
            "recipe": ruling.recipe,
        }
        to = ProposalState.AWAITING_PROMOTION if ruling.passed else ProposalState.FAILED
        patience = lifetime_of(model) + material.settings.shadow_windows * material.settings.width
        values |= {"expires_at": now + patience} if ruling.passed else {"last_error": ruling.sentence}
        told = f"{ruling.sentence}{_given_up(manifest)}"
        move(session, proposal, to, by=POLICY, now=now, sentence=told, **values)
        if ruling.passed:
            since = material.snapshot.window.end
            begin_shadow(session, proposal, model, since=since, terms=_terms(material, found.get("champion")), now=now)


def _given_up(manifest: Manifest) -> str:
    """What the training fell back from, as the timeline tells it."""
    sentence = str(manifest.provenance.get("fallback") or "")
    return f" {sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _terms(material: Material, champion: Measurements | None) -> Terms:
    held = slice(material.cut, None)
    return terms_of(
        material.model.task, material.y[held], artefact=None if champion is None else champion.held,
        score=None if material.score is None else material.score[held],
        prediction=None if material.prediction is None else material.prediction[held],
    )  # fmt: skip


def _trained_on(material: Material) -> dict[str, Any]:
    """The snapshot as it was really read: labels that came after the proposal are in it."""
    document = material.snapshot.to_document()
    return {**document, "trained_rows": material.cut, "held_out_rows": material.held}


def _store_campaign(session: Session, candidate: Version, material: Material, found: Measurements, seed: int) -> None:
    session.add(
        Campaign(
            model_id=candidate.model_id, version_id=candidate.id, purpose="candidate", plan="tick",
            starts=material.times.iloc[-material.held].to_pydatetime(), ends=material.snapshot.window.end,
            seed=seed, report=found.report,
        )
    )  # fmt: skip
