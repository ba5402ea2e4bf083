"""Tier 0: policy decides inside an envelope that an approver signed; outside of it people vote as at tier 1."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.attempts import attempt
from monitor.acts.freezing import is_frozen
from monitor.acts.proposals import lock, move, subject_of
from monitor.acts.shadow import shadow_verdict
from monitor.db.audit import AuditEntry, record
from monitor.db.jobs import enqueue
from monitor.db.registry import Model, ModelSettings, feature_schema, schema_of
from monitor.db.retraining import Envelope as EnvelopeRow
from monitor.db.retraining import Proposal
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.governance import POLICY, Action, Actor, Change, Envelope, ProposalState, authorize, outside
from monitor.governance.envelope import LONGEST
from monitor.performance import METRICS

_STAGES = {ProposalState.AWAITING_APPROVAL: Action.APPROVE, ProposalState.AWAITING_PROMOTION: Action.PROMOTE}


def sign_envelope(
    session: Session, model: Model, envelope: Envelope, *, lifetime: timedelta, reason: str, by: Actor, now: datetime
) -> EnvelopeRow:
    """Let policy decide on changes inside these limits until they expire; an earlier envelope of the model is revoked.

    Raises:
        NotAllowed: `by` is no approver, or the model is not of tier 0.
        BadInput: no reason, or a lifetime that is none or longer than a year.
    """
    attempt(session, "sign_an_envelope", by=by, subject=f"model:{model.id}", model=model.name)
    authorize(by, Action.SIGN_ENVELOPE)
    session.refresh(model, with_for_update={"key_share": True})
    if model.tier != 0:
        raise NotAllowed(f"{model.name} is of tier {model.tier}: people decide there; policy decides at tier 0 alone")
    if not reason.strip() or not timedelta(0) < lifetime <= LONGEST:
        raise BadInput(f"expected a reason, and a lifetime of at most {LONGEST.days} days")
    if envelope.features is None:
        envelope = replace(envelope, features=schema_of(feature_schema(session, model)).names)
    standing = signed_envelope(session, model)
    if standing is not None:
        _revoke(session, model, standing, by=by, reason=f"replaced: {reason}", now=now)
    row = EnvelopeRow(
        model_id=model.id, document=envelope.to_document(), document_sha256=envelope.sha256, signed_by=by.id,
        reason=reason, created_at=now, expires_at=now + lifetime,
    )  # fmt: skip
    session.add(row)
    session.flush()
    record(
        session, "envelope.signed", by=by.id, subject=f"envelope:{row.id}", at=now, model=model.name, reason=reason,
        envelope=row.document, sha256=row.document_sha256, expires_at=row.expires_at.isoformat(),
    )  # fmt: skip
    return row


def revoke_envelope(session: Session, model: Model, *, by: Actor, reason: str, now: datetime) -> None:
    """Let people decide again.

    Raises:
        NotAllowed: `by` may neither sign nor freeze.
        StaleDecision: the model has no envelope.
    """
    authorize(by, Action.REVOKE_ENVELOPE)
    standing = signed_envelope(session, model)
    if standing is None:
        raise StaleDecision(f"model {model.name} has no envelope in force")
    _revoke(session, model, standing, by=by, reason=reason, now=now)


def signed_envelope(session: Session, model: Model) -> EnvelopeRow | None:
    """The envelope that was signed last and not revoked; it may have expired."""
    chosen = select(EnvelopeRow).where(EnvelopeRow.model_id == model.id, EnvelopeRow.revoked_at.is_(None))
    return session.scalar(chosen)


def decide_due(session: Session, now: datetime) -> int:
    """Decide what policy may decide, of every tier-0 model; how many proposals went on."""
    waiting = (
        select(Proposal)
        .join(Model, Model.id == Proposal.model_id)
        .where(Model.tier == 0, Proposal.state.in_(list(_STAGES)), Proposal.expires_at > now)
    )
    return sum(decide(session, proposal, now) for proposal in session.scalars(waiting).all())


def decide(session: Session, proposal: Proposal, now: datetime) -> bool:
    """Approve or promote inside the envelope; False when people must decide. Why not is told once on its timeline."""
    state, model = ProposalState(proposal.state), session.get_one(Model, proposal.model_id)
    row = signed_envelope(session, model)
    if row is None or row.expires_at <= now or is_frozen(session, model) or _shadow_runs(session, proposal):
        return False
    beyond = outside(Envelope.from_document(row.document), change_of(session, model, proposal))
    if beyond:
        _tell_once(session, model, proposal, row, beyond, now)
        return False
    lock(session, proposal, state=state, evidence_sha256=proposal.evidence_sha256, now=now)
    authorize(POLICY, _STAGES[state], tier=model.tier, inside_envelope=True)
    sentence = f"Inside the envelope that {row.signed_by} signed."
    if state is ProposalState.AWAITING_APPROVAL:
        move(session, proposal, ProposalState.APPROVED, by=POLICY, now=now, sentence=sentence, envelope_id=row.id)
        lapse = now + timedelta(hours=ModelSettings.of(model).approval_hours)
        move(session, proposal, ProposalState.QUEUED, by=POLICY, now=now, expires_at=lapse)
        job, stream = "retrain", subject_of(proposal)
    elif proposal.envelope_id == row.id:
        job, stream = "promote", f"promote:{proposal.id}"
    else:  # people approved the training: people promote
        return False
    payload = {"proposal_id": proposal.id, "by": POLICY.id}
    return enqueue(session, job, stream=stream, payload=payload, by=POLICY.id) is not None


def _shadow_runs(session: Session, proposal: Proposal) -> bool:
    """People may decide before a shadow is over; policy waits for it, and leaves one that ended badly to them."""
    try:
        return shadow_verdict(session, proposal) == "running"
    except NotAllowed:
        return True


def covers_promotion(session: Session, model: Model, proposal: Proposal, now: datetime) -> bool:
    """Whether policy may promote this candidate without votes, as things stand now."""
    row = session.get(EnvelopeRow, proposal.envelope_id) if proposal.envelope_id is not None else None
    if (
        row is None
        or model.tier != 0
        or row.revoked_at is not None
        or row.expires_at <= now
        or is_frozen(session, model)
    ):
        return False
    return not outside(Envelope.from_document(row.document), change_of(session, model, proposal))


def change_of(session: Session, model: Model, proposal: Proposal) -> Change:
    """What a proposal would change, in the terms of an envelope."""
    snapshot, is_trained = proposal.snapshot, proposal.state == ProposalState.AWAITING_PROMOTION
    starts, ends = (datetime.fromisoformat(snapshot[end]) if snapshot.get(end) else None for end in ("starts", "ends"))
    return Change(
        verdict=proposal.verdict,
        recipe=proposal.recipe,
        features=schema_of(feature_schema(session, model)).names,
        rows=int(snapshot.get("rows", 0)),
        days=(ends - starts).total_seconds() / 86_400 if starts and ends else 0.0,
        seconds=_seconds(session, proposal) if is_trained else None,
        clean_loss=_loss(proposal.comparison.get("clean")),
        robust_loss=_loss(proposal.comparison.get("robust")),
        is_trained=is_trained,
    )


def _loss(side: Mapping[str, Any] | None) -> float | None:
    """How much worse the candidate is, in the metric's unit; None when one of the two was not measured."""
    if side is None or side.get("value") is None or side.get("champion") is None:
        return None
    name = str(side["metric"]).removeprefix("robust_")
    higher = name == "auc" or (name in METRICS and METRICS[name].higher_is_better)
    return float(side["champion"] - side["value"] if higher else side["value"] - side["champion"])


def _seconds(session: Session, proposal: Proposal) -> float | None:
    """From the begin of the training to the end of its gates, as the timeline has it."""
    chosen = select(AuditEntry.action, AuditEntry.at).where(AuditEntry.subject == subject_of(proposal))
    at = {row.action: row.at for row in session.execute(chosen.order_by(AuditEntry.id))}
    begun, ended = at.get("proposal.training"), at.get("proposal.awaiting_promotion")
    return (ended - begun).total_seconds() if begun and ended else None


def _revoke(session: Session, model: Model, row: EnvelopeRow, *, by: Actor, reason: str, now: datetime) -> None:
    row.revoked_by, row.revoked_at = by.id, now
    session.flush()
    record(
        session, "envelope.revoked", by=by.id, subject=f"envelope:{row.id}", at=now, model=model.name, reason=reason
    )  # fmt: skip


def _tell_once(
    session: Session, model: Model, proposal: Proposal, row: EnvelopeRow, beyond: tuple[str, ...], now: datetime
) -> None:
    """The timeline says why people must decide; the scheduler comes by every second."""
    told = select(AuditEntry.details).where(
        AuditEntry.subject == subject_of(proposal), AuditEntry.action == "proposal.outside_envelope"
    )
    if any(details["state"] == proposal.state and details["envelope"] == row.id for details in session.scalars(told)):
        return
    record(
        session, "proposal.outside_envelope", by=POLICY.id, subject=subject_of(proposal), at=now, model=model.name,
        state=proposal.state, envelope=row.id, sentence=f"People decide: {'; '.join(beyond)}.",
    )  # fmt: skip
