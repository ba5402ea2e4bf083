"""Who serves: promotion with a quorum, confirmation by the traces, rollback, and promoting again."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from monitor.acts.attempts import attempt
from monitor.acts.envelopes import covers_promotion
from monitor.acts.proposals import end_jobs, has_quorum, lock, model_name, move, open_proposal, subject_of, vote, votes
from monitor.acts.serving import notify_serving
from monitor.acts.shadow import shadow_verdict
from monitor.alerts import Message, Severity
from monitor.db.alerts import queue_messages
from monitor.db.audit import record
from monitor.db.jobs import enqueue
from monitor.db.read_training import newest_verdicts
from monitor.db.registry import Model, ModelSettings, Version, champion
from monitor.db.retraining import Proposal
from monitor.errors import BadInput, IllegalTransition, NotAllowed, StaleDecision
from monitor.governance import POLICY, Action, Actor, ProposalState, authorize, quorum
from monitor.performance.verdict import HARMFUL, Verdict

_SERVING = (ProposalState.PROMOTED, ProposalState.OBSERVING)


def approve_promotion(
    session: Session, proposal: Proposal, *, by: Actor, evidence_sha256: str, reason: str = "", now: datetime
) -> bool:
    """Vote for the candidate; True once the votes suffice and its promotion is queued.

    Raises:
        NotAllowed: `by` may not decide on this promotion, or the shadow says that the candidate is worse.
        StaleDecision: it was decided, edited or expired in the meantime.
    """
    attempt(session, "promote", by=by, subject=subject_of(proposal), model=model_name(session, proposal))
    model = lock(session, proposal, state=ProposalState.AWAITING_PROMOTION, evidence_sha256=evidence_sha256, now=now)
    if votes(session, proposal, "promotion") and has_quorum(session, proposal, model):
        raise StaleDecision(f"the promotion of proposal {proposal.id} is decided already: open it again")
    shadow_verdict(session, proposal)
    vote(session, proposal, model, Action.PROMOTE, by=by, evidence_sha256=evidence_sha256, reason=reason, now=now)
    if not has_quorum(session, proposal, model):
        return False
    payload = {"proposal_id": proposal.id, "by": by.id}
    enqueue(session, "promote", stream=f"promote:{proposal.id}", payload=payload, by=by.id)
    return True


def promote(session: Session, proposal: Proposal, *, by: Actor, now: datetime) -> None:
    """Make the candidate the champion: compare-and-set on the model's pointer, on votes that suffice.

    Raises:
        NotAllowed: the votes do not suffice, or the shadow says that the candidate is worse.
        StaleDecision: another version became champion since the candidate was compared.
        IllegalTransition: the proposal does not await promotion.
    """
    model = session.get_one(Model, proposal.model_id, with_for_update={"key_share": True}, populate_existing=True)
    session.refresh(proposal, with_for_update={"key_share": True})
    if proposal.state != ProposalState.AWAITING_PROMOTION or proposal.candidate_id is None:
        raise IllegalTransition(f"proposal {proposal.id} is {proposal.state}: expected one that awaits promotion")
    voted = bool(votes(session, proposal, "promotion")) and has_quorum(session, proposal, model)
    if not voted and not covers_promotion(session, model, proposal, now):
        raise NotAllowed(f"proposal {proposal.id} lacks votes: tier {model.tier} needs {quorum(model.tier)} to promote")
    shadow_verdict(session, proposal)
    candidate = session.get_one(Version, proposal.candidate_id)
    _point_at(session, model, candidate, expected=proposal.champion_id, now=now)
    sentence = f"{candidate.name} was promoted; serving has not reported it yet."
    move(session, proposal, ProposalState.PROMOTED, by=by, now=now, sentence=sentence)


def confirm_serving(session: Session, version: Version, now: datetime) -> bool:
    """The traces report `version`: serving follows the registry. True the first time after a promotion."""
    model = session.get_one(Model, version.model_id)
    if model.champion_id != version.id or version.confirmed_at is not None:
        return False
    done = session.scalar(
        update(Version)
        .where(Version.id == version.id, Version.state == "champion", Version.confirmed_at.is_(None))
        .values(confirmed_at=now)
        .returning(Version.id)
    )
    if done is None:
        return False
    version = session.get_one(Version, version.id, populate_existing=True)  # the caller's may be of another session
    record(
        session, "version.serving_confirmed", by=POLICY.id, subject=f"version:{version.id}", at=now, model=model.name,
        version=version.name,
    )  # fmt: skip
    proposal = _proposal_of(session, version, (ProposalState.PROMOTED,))
    if proposal is not None:
        sentence = f"The traces report {version.name}."
        move(session, proposal, ProposalState.OBSERVING, by=POLICY, now=now, sentence=sentence)
    return True


def end_observation(session: Session, version: Version, now: datetime) -> bool:
    """Confirm an observed promotion once the model's `observed_windows` newest judged windows are free of harm."""
    proposal = _proposal_of(session, version, (ProposalState.OBSERVING,))
    if proposal is None:
        return False
    windows = ModelSettings.of(session.get_one(Model, version.model_id)).observed_windows
    seen = [row.verdict for row in newest_verdicts(session, version.id, most=windows)]
    if len(seen) < windows or any(Verdict(verdict) in HARMFUL for verdict in seen):
        return False
    sentence = f"{version.name} served {windows} judged windows without harm."
    move(session, proposal, ProposalState.CONFIRMED, by=POLICY, now=now, sentence=sentence)
    return True


def rollback(session: Session, model: Model, *, by: Actor, reason: str, now: datetime) -> Version:
    """Give the champion's place back to the version it took over from. Needs no queue, no worker and no vote.

    Raises:
        NotAllowed: `by` may not roll back.
        BadInput: the champion took over from nobody.
    """
    attempt(session, "roll_back", by=by, subject=f"model:{model.id}", model=model.name)
    authorize(by, Action.ROLL_BACK)
    session.refresh(model, with_for_update={"key_share": True})
    current = champion(session, model)
    if current.replaced_id is None:
        raise BadInput(f"{current.name} took over from no version of {model.name}: nothing to go back to")
    previous = session.get_one(Version, current.replaced_id)
    if previous.state == "retired":
        raise BadInput(
            f"{previous.name}, which {current.name} took over from, is retired: promote another version again"
        )
    proposal = _proposal_of(session, current, _SERVING)
    _point_at(session, model, previous, expected=current.id, now=now, keep_history=True)
    record(
        session, "model.rolled_back", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, reason=reason,
        before=current.name, after=previous.name,
    )  # fmt: skip
    _supersede(session, model, f"{previous.name} serves again: a rollback.", now)
    if proposal is not None:
        move(session, proposal, ProposalState.ROLLED_BACK, by=by, now=now, sentence=reason)
    else:
        _tell_of_version(session, model, previous, "rolled_back", f"rolled back to {previous.name}", reason, now)
    return previous


def promote_again(
    session: Session, version: Version, *, by: Actor, approved_by: Actor, reason: str = "", now: datetime
) -> None:
    """Promote a version that has served before, without training: an operator acts, an approver agrees.

    A proposal that is still open over the present champion is closed as rolled back.

    Raises:
        NotAllowed: `by` may not act on versions, `approved_by` is no approver; from tier 2 they are different people.
        StaleDecision: the version is the champion already, or is retired.
    """
    model = session.get_one(Model, version.model_id, with_for_update={"key_share": True}, populate_existing=True)
    attempt(session, "promote_again", by=by, subject=f"version:{version.id}", model=model.name)
    authorize(by, Action.ROLL_BACK)
    vote_of_approver = authorize(
        approved_by, Action.PROMOTE_AGAIN, requested_by=by.id if model.tier >= 2 else None, tier=model.tier,
        solo=model.solo, prior_validator="validator" in by.roles, reason=reason,
    )  # fmt: skip
    session.refresh(version)
    if version.id == model.champion_id or version.state not in ("registered", "candidate"):
        raise StaleDecision(f"version {version.name} is {version.state}: open the model again")
    _require_served_before(version)
    current = champion(session, model)
    proposal = _proposal_of(session, current, _SERVING)
    if proposal is not None:
        sentence = f"{version.name} was promoted again over {current.name}."
        move(session, proposal, ProposalState.ROLLED_BACK, by=by, now=now, sentence=sentence)
    _supersede(session, model, f"{version.name} serves again: it was promoted again.", now)
    _point_at(session, model, version, expected=current.id, now=now)
    record(
        session, "version.promoted_again", by=by.id, subject=f"version:{version.id}", at=now, model=model.name,
        reason=reason, before=current.name, after=version.name, approved_by=approved_by.id,
        self_approved=vote_of_approver.self_approved or approved_by.id == by.id,
    )  # fmt: skip
    _tell_of_version(session, model, version, "promoted", f"{version.name} was promoted again", reason, now)


def _supersede(session: Session, model: Model, sentence: str, now: datetime) -> None:
    """Close a proposal that is about a champion which serves no more: its candidate was compared with that one."""
    standing = open_proposal(session, model)
    if standing is not None and standing.state not in _SERVING:
        move(session, standing, ProposalState.SUPERSEDED, by=POLICY, now=now, sentence=sentence)
        end_jobs(session, standing)


def _require_served_before(version: Version) -> None:
    """A candidate whose gates were never voted on has no way around them."""
    if version.promoted_at is None:
        raise NotAllowed(f"version {version.name} was never promoted: approve the promotion of its proposal")


def _point_at(
    session: Session, model: Model, version: Version, *, expected: int, now: datetime, keep_history: bool = False
) -> None:
    """Swap the champion if it still is `expected`; the old one stays registered and can serve again."""
    swapped = session.scalar(
        update(Model)
        .where(Model.id == model.id, Model.champion_id == expected)
        .values(champion_id=version.id)
        .returning(Model.id)
    )
    if swapped is None:
        raise StaleDecision(f"another version of {model.name} became champion in the meantime: open it again")
    session.execute(update(Version).where(Version.id == expected).values(state="registered"))
    values = {"state": "champion", "promoted_at": now, "confirmed_at": None}
    if not keep_history:
        values["replaced_id"] = expected
    session.execute(update(Version).where(Version.id == version.id).values(values))
    for row in (model, version, session.get_one(Version, expected)):
        session.refresh(row)
    notify_serving(session, model, version, now)


def _proposal_of(session: Session, version: Version, states: Sequence[ProposalState]) -> Proposal | None:
    chosen = select(Proposal).where(Proposal.candidate_id == version.id, Proposal.state.in_(states))
    return session.scalar(chosen.order_by(Proposal.id.desc()).limit(1))


def _tell_of_version(
    session: Session, model: Model, version: Version, event: str, title: str, reason: str, now: datetime
) -> None:
    message = Message(title=f"{model.name}: {title}", severity=Severity.INFO, lines=(reason,) if reason else ())
    queue_messages(
        session, event=event, message=message.to_document(), severity=Severity.INFO, model_id=model.id,
        key=f"version:{version.id}:{event}:{now.isoformat()}",
    )  # fmt: skip
