"""Trainings that a service of the user's does: asked once, answered by whoever holds the token that it was handed.

The token is the permission: it is stored as a hash, fits one training, and is of no use once that is answered.
"""

import hashlib
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.proposals import subject_of
from monitor.db.audit import record
from monitor.db.base import Json
from monitor.db.jobs import Job, enqueue
from monitor.db.registry import Model
from monitor.db.retraining import OutsideTraining, Progress, Proposal
from monitor.errors import NotAllowed, StaleDecision
from monitor.governance import ProposalState

TRAINER = "trainer"  # who acts, in the audit
LONGEST_REASON = 2_000
MOST_BYTES = 512 * 2**20  # of an artefact
_ENDINGS = {
    "delivered": "was answered with an artefact already",
    "failed": "was answered with a failure already",
    "abandoned": "was abandoned: a newer request took its place, or the proposal was closed",
}


def ask(
    session: Session, proposal: Proposal, *, document: Json, deadline: datetime, now: datetime
) -> tuple[OutsideTraining, str]:
    """A training to be asked for, and the token that answers it; an earlier request is abandoned."""
    for earlier in trainings_of(session, proposal):
        if earlier.state == "asked":
            abandon(session, earlier)
    token = secrets.token_urlsafe(32)
    training = OutsideTraining(
        proposal_id=proposal.id, token_sha256=_sha256(token), document=document, asked_at=now, deadline=deadline
    )
    session.add(training)
    session.flush()
    _record(session, training, "asked", by="policy", now=now, deadline=deadline.isoformat())
    return training, token


def trainings_of(session: Session, proposal: Proposal) -> list[OutsideTraining]:
    """Every request about a proposal, oldest first."""
    chosen = select(OutsideTraining).where(OutsideTraining.proposal_id == proposal.id)
    return list(session.scalars(chosen.order_by(OutsideTraining.id)))


def abandon(session: Session, training: OutsideTraining) -> None:
    """Nobody waits for it any more; an answer is refused from now on."""
    training.state = "abandoned"
    session.flush()


def awaited(session: Session, training_id: int, token: str, *, now: datetime) -> OutsideTraining:
    """The training that the token answers, locked until the transaction ends.

    Raises:
        NotAllowed: the token does not fit.
        StaleDecision: it was answered, abandoned, or its time is over.
    """
    chosen = select(OutsideTraining).where(
        OutsideTraining.id == training_id, OutsideTraining.token_sha256 == _sha256(token)
    )
    training = session.scalar(chosen.with_for_update())
    if training is None:
        raise NotAllowed(f"the token does not fit training {training_id}")
    if training.state in _ENDINGS:
        raise StaleDecision(f"training {training_id} {_ENDINGS[training.state]}")
    if training.deadline <= now:
        raise StaleDecision(f"training {training_id} was to be answered by {training.deadline.isoformat()}")
    if session.get_one(Proposal, training.proposal_id).state != ProposalState.TRAINING:
        raise StaleDecision(f"training {training_id} {_ENDINGS['abandoned']}")
    return training


def deliver(session: Session, training: OutsideTraining, *, name: str, sha256: str, facts: Json, now: datetime) -> None:
    """Take the artefact, which lies in the store already; it is compared next."""
    training.artefact_sha256 = sha256
    _answer(session, training, "delivered", {"name": name, "facts": facts}, now, artefact_sha256=sha256)


def fail(session: Session, training: OutsideTraining, *, reason: str, now: datetime) -> None:
    """The trainer says that there will be no artefact."""
    _answer(session, training, "failed", {"reason": reason[:LONGEST_REASON]}, now, reason=reason[:LONGEST_REASON])


def report_progress(
    session: Session, training: OutsideTraining, *, done: int, total: int, sentence: str, now: datetime
) -> None:
    """Show people how far it is."""
    if session.get(Job, training.document.get("job_id")) is None:
        return
    row = Progress(
        job_id=training.document["job_id"], proposal_id=training.proposal_id, done=done, total=total,
        sentence=sentence, curve=[], updated_at=now,
    )  # fmt: skip
    session.merge(row)
    session.flush()


def continue_training(session: Session, proposal: Proposal) -> bool:
    """Queue what follows from an answer, or from none; False where it is queued already."""
    payload = {"proposal_id": proposal.id}
    return enqueue(session, "retrain", stream=subject_of(proposal), payload=payload, by=TRAINER) is not None


def _answer(
    session: Session, training: OutsideTraining, state: str, answer: Json, now: datetime, **details: Any
) -> None:
    training.state, training.answered_at = state, now
    training.document = {**training.document, "answer": answer}
    session.flush()
    _record(session, training, state, by=TRAINER, now=now, **details)
    continue_training(session, session.get_one(Proposal, training.proposal_id))


def _record(session: Session, training: OutsideTraining, what: str, *, by: str, now: datetime, **details: Any) -> None:
    proposal = session.get_one(Proposal, training.proposal_id)
    model = session.get_one(Model, proposal.model_id)
    record(
        session, f"proposal.training_{what}", by=by, subject=subject_of(proposal), at=now, model=model.name,
        training=training.id, **details,
    )  # fmt: skip


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
