"""The governed loop, as people and policy act on it: propose, approve, reject, cancel, expire.

Promotion and rollback live in `acts.promotion`, the transition function in `acts.proposals`, freezes in
`acts.freezing`; all can be had from here.
"""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from monitor.acts.attempts import attempt
from monitor.acts.freezing import freeze, freeze_all, is_frozen, unfreeze, unfreeze_all
from monitor.acts.promotion import (
    approve_promotion,
    confirm_serving,
    end_observation,
    promote,
    promote_again,
    rollback,
)
from monitor.acts.proposals import announce, end_jobs, lifetime_of, lock, model_name, move, subject_of, vote
from monitor.alerts import Severity
from monitor.db.base import Json
from monitor.db.jobs import enqueue
from monitor.db.registry import Model, ModelSettings, champion
from monitor.db.retraining import Proposal, Vote
from monitor.errors import StaleDecision
from monitor.governance import POLICY, Action, Actor, Evidence, ProposalState, authorize
from monitor.performance.verdict import Verdict

__all__ = [
    "approve", "approve_promotion", "cancel", "confirm_serving", "end_observation", "expire_due", "freeze",
    "freeze_all", "is_frozen", "move", "promote", "promote_again", "propose", "reject", "rollback", "unfreeze",
    "unfreeze_all",
]  # fmt: skip

_EXPIRING = (
    ProposalState.DRAFT,
    ProposalState.PROPOSED,
    ProposalState.AWAITING_APPROVAL,
    ProposalState.QUEUED,
    ProposalState.AWAITING_PROMOTION,
)


def propose(
    session: Session, model: Model, *, evidence: Evidence, verdict: Verdict | str, reason: str, alert_id: int | None,
    snapshot: Json, by: Actor, now: datetime, recipe: str = "hardened", lifetime: timedelta | None = None,
) -> Proposal | None:  # fmt: skip
    """Ask to retrain the champion on this evidence; None when the model has an open proposal already.

    Raises:
        NotAllowed: `by` may not ask for a retraining.
        StaleDecision: the model is retired, or policy asks while it is frozen.
    """
    attempt(session, "request", by=by, subject=f"model:{model.id}", model=model.name)
    authorize(by, Action.REQUEST_RETRAINING)
    if model.retired_at is not None:
        raise StaleDecision(f"model {model.name} is retired: nothing is trained for it any more")
    if by == POLICY and is_frozen(session, model):
        raise StaleDecision(f"model {model.name} is frozen: unfreeze it before policy may ask for a retraining")
    proposal = Proposal(
        model_id=model.id,
        champion_id=champion(session, model).id,
        alert_id=alert_id,
        state=ProposalState.DRAFT.value,
        reason=reason,
        verdict=str(verdict),
        requested_by=by.id,
        evidence=evidence.to_document(),
        evidence_sha256=evidence.sha256,
        recipe=recipe,
        snapshot=snapshot,
        expires_at=now + (lifetime or lifetime_of(model)),
    )
    try:
        with session.begin_nested():
            session.add(proposal)
    except IntegrityError as error:
        if "uq_proposals_one_open" not in str(error.orig):
            raise
        return None  # the database holds one open proposal a model
    move(session, proposal, ProposalState.PROPOSED, by=by, now=now, sentence=reason)
    move(session, proposal, ProposalState.AWAITING_APPROVAL, by=by, now=now)
    announce(
        session, proposal, event="proposed", severity=Severity.TICKET, title="retraining is proposed",
        lines=(reason, evidence.expected_benefit, evidence.cost), do=f"review proposal #{proposal.id}.",
    )  # fmt: skip
    return proposal


def approve(
    session: Session, proposal: Proposal, *, by: Actor, evidence_sha256: str, reason: str = "", now: datetime
) -> None:
    """Approve a proposal on the evidence with hash `evidence_sha256`, which `by` was shown; its training is queued.

    Raises:
        NotAllowed: `by` lacks the approver role, or asked for this retraining themselves.
        StaleDecision: the proposal was decided, edited or expired in the meantime.
    """
    attempt(session, "approve", by=by, subject=subject_of(proposal), model=model_name(session, proposal))
    model = lock(
        session, proposal, state=ProposalState.AWAITING_APPROVAL, evidence_sha256=evidence_sha256, now=now
    )  # fmt: skip
    vote(
        session, proposal, model, Action.APPROVE, by=by, evidence_sha256=evidence_sha256, reason=reason, now=now
    )  # fmt: skip
    move(session, proposal, ProposalState.APPROVED, by=by, now=now, sentence=reason)
    lapse = now + timedelta(hours=ModelSettings.of(model).approval_hours)
    move(session, proposal, ProposalState.QUEUED, by=by, now=now, expires_at=lapse)
    enqueue(session, "retrain", stream=subject_of(proposal), payload={"proposal_id": proposal.id}, by=by.id)


def reject(
    session: Session, proposal: Proposal, *, by: Actor, evidence_sha256: str, reason: str, now: datetime
) -> None:
    """Decide against a proposal, before its training or before its promotion.

    Raises:
        NotAllowed: `by` may not decide.
        StaleDecision: the proposal was decided, edited or expired in the meantime.
    """
    attempt(session, "reject", by=by, subject=subject_of(proposal), model=model_name(session, proposal))
    authorize(by, Action.REJECT)
    session.refresh(proposal)
    before_promotion = proposal.state == ProposalState.AWAITING_PROMOTION
    state = ProposalState.AWAITING_PROMOTION if before_promotion else ProposalState.AWAITING_APPROVAL
    lock(session, proposal, state=state, evidence_sha256=evidence_sha256, now=now)
    stage = "promotion" if before_promotion else "training"
    ballot = insert(Vote).values(
        proposal_id=proposal.id, stage=stage, actor=by.id, decision="reject", reason=reason, at=now,
        evidence_sha256=evidence_sha256, self_approved=False, as_validator="validator" in by.roles,
    )  # fmt: skip
    changed = {"decision": "reject", "reason": reason, "at": now}  # who approved before may change their mind
    session.execute(ballot.on_conflict_do_update(index_elements=["proposal_id", "stage", "actor"], set_=changed))
    move(session, proposal, ProposalState.REJECTED, by=by, now=now, sentence=reason)


def cancel(session: Session, proposal: Proposal, *, by: Actor, reason: str, now: datetime) -> None:
    """Take a proposal back, or stop its training; the child process ends within seconds.

    Raises:
        NotAllowed: `by` may not cancel.
        IllegalTransition: it is promoted or closed.
    """
    attempt(session, "cancel", by=by, subject=subject_of(proposal), model=model_name(session, proposal))
    authorize(by, Action.CANCEL)
    move(session, proposal, ProposalState.CANCELLED, by=by, now=now, sentence=reason)
    end_jobs(session, proposal)


def expire_due(session: Session, now: datetime) -> int:
    """Close the proposals that nobody decided in time, by database time; how many."""
    due = select(Proposal).where(Proposal.state.in_(_EXPIRING), Proposal.expires_at <= now)
    locked = session.scalars(due.with_for_update(skip_locked=True, key_share=True)).all()
    for proposal in locked:
        begun = proposal.state == ProposalState.QUEUED
        sentence = "Its approval was not used in time: no worker began." if begun else "Nobody decided in time."
        move(session, proposal, ProposalState.EXPIRED, by=POLICY, now=now, sentence=sentence)
        end_jobs(session, proposal)
    return len(locked)
