"""A version's model card, from what the registry keeps of it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.base import Json
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal
from monitor.training.model_card import model_card


def card_of(session: Session, version: Version) -> str:
    """The card in Markdown."""
    model = session.get_one(Model, version.model_id)
    proposal = proposal_of(session, version)
    replaced = session.get(Version, version.replaced_id) if version.replaced_id is not None else None
    return model_card(
        model={"name": model.name, "owner": model.owner, "task": model.task, "tier": model.tier},
        version=_about(version, replaced),
        provenance=version.manifest.get("provenance") or {},
        baseline=version.baseline,
        gates=proposal.gates if proposal is not None else [],
        comparison=proposal.comparison if proposal is not None else {},
        snapshot=proposal.snapshot if proposal is not None else {},
    )


def proposal_of(session: Session, version: Version) -> Proposal | None:
    """The retraining that a version came out of; None for one that was registered by hand."""
    newest = select(Proposal).where(Proposal.candidate_id == version.id).order_by(Proposal.id.desc())
    return session.scalar(newest.limit(1))


def _about(version: Version, replaced: Version | None) -> Json:
    return {
        "name": version.name,
        "state": version.state,
        "flavour": version.flavour,
        "manifest_sha256": version.manifest_sha256,
        "replaced": replaced.name if replaced is not None else None,
        "created_at": version.created_at.isoformat(timespec="seconds"),
        "promoted_at": version.promoted_at.isoformat(timespec="seconds") if version.promoted_at else None,
    }
