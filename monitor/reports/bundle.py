"""A proposal taken away as one file that can be checked without a database."""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import AuditEntry, document
from monitor.db.base import Json
from monitor.db.engine import database_now
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal, Shadow, Vote
from monitor.errors import NotFound, Unavailable
from monitor.governance.bundle import seal
from monitor.reports.card import card_of


def bundle(session: Session, proposal_id: int) -> bytes:
    """The file; see `monitor.governance.bundle` for its format.

    Raises:
        NotFound: there is no such proposal.
    """
    proposal = session.get(Proposal, proposal_id)
    if proposal is None:
        raise NotFound(f"there is no proposal {proposal_id}")
    shadow = session.get(Shadow, proposal.id)
    return seal(
        {
            "exported_at": _text(database_now(session)),
            "proposal": _about(session, proposal),
            "evidence": proposal.evidence,
            "evidence_sha256": proposal.evidence_sha256,
            "votes": _votes(session, proposal),
            "gates": proposal.gates,
            "comparison": proposal.comparison,
            "snapshot": proposal.snapshot,
            "shadow": _shadow(shadow) if shadow is not None else None,
            "audit": _audit(session, proposal),
            "model_card": _card(session, proposal),
        }
    )


def _about(session: Session, proposal: Proposal) -> Json:
    model = session.get_one(Model, proposal.model_id)
    candidate = session.get_one(Version, proposal.candidate_id) if proposal.candidate_id is not None else None
    return {
        "id": proposal.id, "model": model.name, "owner": model.owner, "tier": model.tier, "solo": model.solo,
        "state": proposal.state, "champion": session.get_one(Version, proposal.champion_id).name,
        "candidate": candidate.name if candidate is not None else None,
        "candidate_manifest_sha256": candidate.manifest_sha256 if candidate is not None else None,
        "requested_by": proposal.requested_by, "reason": proposal.reason, "verdict": proposal.verdict,
        "recipe": proposal.recipe, "last_error": proposal.last_error, "created_at": _text(proposal.created_at),
        "updated_at": _text(proposal.updated_at), "expires_at": _text(proposal.expires_at),
    }  # fmt: skip


def _votes(session: Session, proposal: Proposal) -> list[Json]:
    votes = session.scalars(select(Vote).where(Vote.proposal_id == proposal.id).order_by(Vote.at, Vote.id))
    return [
        {
            "stage": vote.stage, "actor": vote.actor, "decision": vote.decision, "reason": vote.reason,
            "at": _text(vote.at), "evidence_sha256": vote.evidence_sha256, "self_approved": vote.self_approved,
            "as_validator": vote.as_validator,
        }
        for vote in votes
    ]  # fmt: skip


def _audit(session: Session, proposal: Proposal) -> list[Json]:
    own = select(AuditEntry).where(AuditEntry.subject == f"proposal:{proposal.id}").order_by(AuditEntry.id)
    return [
        {"number": row.id, "entry": document(row), "previous_hash": row.previous_hash, "hash": row.hash}
        for row in session.scalars(own)
    ]


def _shadow(shadow: Shadow) -> Json:
    return {
        "state": shadow.state, "rows": shadow.rows, "since": _text(shadow.since),
        "until": _text(shadow.until) if shadow.until is not None else None, "document": shadow.document,
    }  # fmt: skip


def _card(session: Session, proposal: Proposal) -> str | None:
    if proposal.candidate_id is None:
        return None
    try:
        return card_of(session, session.get_one(Version, proposal.candidate_id))
    except Unavailable:
        return None


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
