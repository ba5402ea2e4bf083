"""What the buttons of the Retraining view do; each is one act, with the reason that was typed beside it."""

from datetime import datetime

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth
from monitor.acts import retraining as acts
from monitor.acts.requests import request_retraining
from monitor.db.read_retraining import ProposalPage
from monitor.db.registry import model_named, version_named
from monitor.db.retraining import Proposal
from monitor.errors import NotAllowed
from monitor.governance.roles import Action, Actor, authorize


def approve(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.approve(session, _row(session, page), by=actor, evidence_sha256=page.evidence_sha256, reason=why, now=now)
        return f"Proposal #{page.id} is approved: the training is queued."

    why = _reason(page)
    actions.perform(act)


def reject(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.reject(session, _row(session, page), by=actor, evidence_sha256=page.evidence_sha256, reason=why, now=now)
        return f"Proposal #{page.id} is rejected."

    why = _reason(page)
    actions.perform(act)


def promote(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        decided = acts.approve_promotion(
            session, _row(session, page), by=actor, evidence_sha256=page.evidence_sha256, reason=why, now=now
        )
        if not decided:
            return f"Your vote counts; tier {page.tier} asks for one more person to promote {page.candidate}."
        return f"{page.candidate} is being promoted."

    why = _reason(page)
    actions.perform(act)


def roll_back(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        previous = acts.rollback(session, model_named(session, page.model), by=actor, reason=why, now=now)
        return f"Rolled back: {previous.name} is the champion again."

    why = _reason(page)
    actions.perform(act)


def promote_again(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        version = version_named(session, model_named(session, page.model), str(page.candidate))
        acts.promote_again(session, version, by=actor, approved_by=actor, reason=why, now=now)
        return f"{version.name} is the champion again, without another training."

    why = _reason(page)
    actions.perform(act)


def request(model: str) -> None:
    """Ask for a retraining; somebody else decides on it."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        proposal = request_retraining(session, model_named(session, model), by=actor, reason=why, now=now)
        st.query_params["proposal"] = str(proposal.id)
        return f"Proposal #{proposal.id} awaits approval by somebody else."

    why = str(st.session_state.get(f"request-{model}") or "")
    actions.perform(act)


def cancel(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.cancel(session, _row(session, page), by=actor, reason=why, now=now)
        return f"Proposal #{page.id} is cancelled."

    why = _reason(page)
    actions.perform(act)


def refusal(page: ProposalPage) -> str:
    """Why this person may not decide on the present stage; empty when they may. The act itself asks again."""
    actor = auth.current_actor()
    approvals = [vote for vote in page.ballots if vote.decision == "approve"]
    if actor is None or page.stage is None:
        return ""
    try:
        authorize(
            actor, Action.APPROVE if page.stage == "training" else Action.PROMOTE, requested_by=page.requested_by,
            tier=page.tier, solo=page.solo, prior_approvers=[vote.actor for vote in approvals],
            prior_validator=any(vote.as_validator for vote in approvals), reason="is asked for beside the button",
        )  # fmt: skip
    except NotAllowed as error:
        return str(error)
    return ""


def reason_key(page: ProposalPage) -> str:
    """Where the reason for the present step is typed: the next step asks anew."""
    return f"reason-{page.id}-{page.state}"


def _reason(page: ProposalPage) -> str:
    return str(st.session_state.get(reason_key(page)) or "")


def _row(session: Session, page: ProposalPage) -> Proposal:
    return session.get_one(Proposal, page.id)
