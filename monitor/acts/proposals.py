"""A proposal's row under a lock: the transition function, votes, and the words that people are sent."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts import Message, Severity
from monitor.db.alerts import queue_messages
from monitor.db.audit import record
from monitor.db.jobs import LIVE, Job, request_cancel
from monitor.db.registry import Model, ModelSettings, Version
from monitor.db.retraining import Proposal, Vote
from monitor.errors import StaleDecision
from monitor.governance import Action, Actor, ProposalState, authorize, check_transition, quorum
from monitor.governance.proposal import CLOSED

# What people are told when a proposal gets there; the steps in between are on its timeline.
_TOLD = {
    ProposalState.AWAITING_PROMOTION: ("candidate_ready", Severity.TICKET, "a candidate passed its gates"),
    ProposalState.PROMOTED: ("promoted", Severity.INFO, "a new version was promoted"),
    ProposalState.CONFIRMED: ("confirmed", Severity.INFO, "the new version is confirmed"),
    ProposalState.FAILED: ("failed", Severity.TICKET, "the retraining ended without a candidate to promote"),
    ProposalState.EXPIRED: ("expired", Severity.TICKET, "a proposal expired before anybody decided"),
    ProposalState.ROLLED_BACK: ("rolled_back", Severity.TICKET, "the promoted version was rolled back"),
}


def move(
    session: Session, proposal: Proposal, to: ProposalState, *, by: Actor, now: datetime, sentence: str = "",
    **values: Any,
) -> None:  # fmt: skip
    """THE transition of a proposal: lock, guard, write, audit, outbox. `values` are written with the new state.

    Raises:
        IllegalTransition: the proposal has no such step from where it is.
    """
    session.refresh(proposal, with_for_update={"key_share": True})
    check_transition(proposal.state, to)
    before = proposal.state
    for name, value in {"state": to.value, "updated_at": now, **values}.items():
        setattr(proposal, name, value)
    session.flush()
    model = session.get_one(Model, proposal.model_id)
    record(
        session, f"proposal.{to}", by=by.id, subject=subject_of(proposal), at=now, model=model.name,
        before=before, sentence=sentence, evidence_sha256=proposal.evidence_sha256,
    )  # fmt: skip
    if to in _TOLD:
        tell(session, proposal, to, sentence)


def lock(session: Session, proposal: Proposal, *, state: ProposalState, evidence_sha256: str, now: datetime) -> Model:
    """The proposal as it is now, locked until the transaction ends, together with its model.

    Raises:
        StaleDecision: it was decided, edited or has expired since the person read it.
    """
    model = session.get_one(Model, proposal.model_id, with_for_update={"key_share": True}, populate_existing=True)
    session.refresh(proposal, with_for_update={"key_share": True})
    current = proposal.state == state and proposal.evidence_sha256 == evidence_sha256 and proposal.expires_at > now
    if not current:
        raise StaleDecision(f"proposal {proposal.id} was decided, edited or has expired: open it again")
    return model


def votes(session: Session, proposal: Proposal, stage: str | None = None) -> list[Vote]:
    """The approvals of a proposal, of one stage or of both, in order."""
    chosen = select(Vote).where(Vote.proposal_id == proposal.id, Vote.decision == "approve").order_by(Vote.at, Vote.id)
    return list(session.scalars(chosen.where(Vote.stage == stage) if stage else chosen))


def vote(
    session: Session, proposal: Proposal, model: Model, action: Action, *, by: Actor, evidence_sha256: str, reason: str,
    now: datetime,
) -> None:  # fmt: skip
    """Authorize and store one approval; a person's second one on a stage is stale, not an error of theirs.

    Raises:
        NotAllowed: `by` may not decide on this proposal.
        StaleDecision: `by` voted on this stage before.
    """
    stage = "training" if action is Action.APPROVE else "promotion"
    if any(earlier.actor == by.id for earlier in votes(session, proposal, stage)):
        raise StaleDecision(f"{by.name} voted on the {stage} of proposal {proposal.id} before: open it again")
    earlier = votes(session, proposal)
    permission = authorize(
        by, action, requested_by=proposal.requested_by, tier=model.tier, solo=model.solo,
        prior_approvers=[one.actor for one in earlier], prior_validator=any(one.as_validator for one in earlier),
        reason=reason,
    )  # fmt: skip
    session.add(
        Vote(
            proposal_id=proposal.id, stage=stage, actor=by.id, decision="approve", reason=reason, at=now,
            evidence_sha256=evidence_sha256, self_approved=permission.self_approved,
            as_validator="validator" in by.roles,
        )
    )  # fmt: skip
    session.flush()
    record(
        session, f"proposal.{'approved' if stage == 'training' else 'promotion_approved'}", by=by.id,
        subject=subject_of(proposal), at=now, model=model.name, reason=reason, evidence_sha256=evidence_sha256,
        self_approved=permission.self_approved,
    )  # fmt: skip


def has_quorum(session: Session, proposal: Proposal, model: Model) -> bool:
    """Whether enough different people have decided; a declared team of one is enough by itself."""
    people = {one.actor for one in votes(session, proposal)}
    return len(people) >= (min(1, quorum(model.tier)) if model.solo else quorum(model.tier))


def lifetime_of(model: Model) -> timedelta:
    """How long a proposal of this model waits for a decision."""
    return timedelta(hours=ModelSettings.of(model).proposal_hours)


def open_proposal(session: Session, model: Model) -> Proposal | None:
    """The one proposal of a model that is not closed."""
    chosen = select(Proposal).where(Proposal.model_id == model.id, Proposal.state.not_in([*CLOSED]))
    return session.scalar(chosen)


def end_jobs(session: Session, proposal: Proposal) -> None:
    """Stop what works for a closed proposal; a child process ends within seconds."""
    streams = (subject_of(proposal), f"promote:{proposal.id}")
    live = select(Job.id).where(Job.stream.in_(streams), Job.state.in_(LIVE))
    for job_id in session.scalars(live):
        request_cancel(session, job_id)


def tell(session: Session, proposal: Proposal, to: ProposalState, sentence: str) -> None:
    """Owe the message about a proposal's new state."""
    event, severity, words = _TOLD[to]
    announce(session, proposal, event=event, severity=severity, title=words, lines=(sentence,) if sentence else ())


def announce(
    session: Session, proposal: Proposal, *, event: str, severity: Severity, title: str, lines: tuple[str, ...],
    do: str = "",
) -> None:  # fmt: skip
    """Owe one message about a proposal; the same event of the same proposal is owed once."""
    model = session.get_one(Model, proposal.model_id)
    message = Message(
        title=f"{model.name}: {title} (proposal #{proposal.id})", severity=severity, lines=lines, do=do,
        labels=("Review",) if do else (),
    )  # fmt: skip
    queue_messages(
        session, event=event, message=message.to_document(), severity=severity, model_id=model.id,
        key=f"proposal:{proposal.id}:{event}",
    )  # fmt: skip


def version_names(session: Session, proposal: Proposal) -> tuple[str, str]:
    """The names of the champion that a proposal is about and of its candidate."""
    champion = session.get_one(Version, proposal.champion_id).name
    return champion, session.get_one(Version, proposal.candidate_id).name if proposal.candidate_id else "no candidate"


def model_name(session: Session, proposal: Proposal) -> str:
    """The name of the model that a proposal is about."""
    return session.get_one(Model, proposal.model_id).name


def subject_of(proposal: Proposal) -> str:
    """How the audit names a proposal."""
    return f"proposal:{proposal.id}"
