"""What the buttons of the Registry view do; each is one act, with the reason that was typed beside it."""

from datetime import datetime, timedelta

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth
from monitor.acts import envelopes, retiring
from monitor.acts import retraining as acts
from monitor.db.registry import model_named, version_named
from monitor.errors import BadInput, NotAllowed
from monitor.governance import Envelope
from monitor.governance.roles import Action, Actor, authorize


def set_frozen(model: str, frozen: bool) -> None:
    """Stop the automatic acts on a model, or let them go on."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        change = acts.freeze if frozen else acts.unfreeze
        change(session, model_named(session, model), by=actor, reason=required(why), now=now)
        return f"{model} is frozen: policy does nothing by itself." if frozen else f"{model} is unfrozen."

    why = reason_of(f"freeze-reason-{model}")
    actions.perform(act)


def set_all_frozen(frozen: bool) -> None:
    """The same for every model at once."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        change = acts.freeze_all if frozen else acts.unfreeze_all
        change(session, by=actor, reason=required(why), now=now)
        return "Everything is frozen: policy does nothing by itself." if frozen else "Policy may act again."

    why = reason_of("freeze-all-reason")
    actions.perform(act)


def retire(model: str, version: str | None) -> None:
    """Retire a version, or the model."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        if version is None:
            retiring.retire_model(session, row, by=actor, reason=required(why), now=now)
        else:
            found = version_named(session, row, version)
            retiring.retire_version(session, found, by=actor, reason=required(why), now=now)
        return f"{model}{f' {version}' if version else ''} is retired."

    why = reason_of(f"retire-reason-{model}")
    actions.perform(act)


def sign_envelope(model: str) -> None:
    """Let policy decide inside the limits of the form."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        limits = Envelope(
            clean_loss=float(st.session_state[f"envelope-clean-{model}"]),
            robust_loss=float(st.session_state[f"envelope-robust-{model}"]),
        )
        lifetime = timedelta(days=float(st.session_state[f"envelope-days-{model}"]))
        row = envelopes.sign_envelope(
            session, model_named(session, model), limits, lifetime=lifetime, reason=required(why), by=actor, now=now
        )
        return f"Policy may decide for {model} until {row.expires_at:%d %b %Y}, inside these limits."

    why = reason_of(f"envelope-reason-{model}")
    actions.perform(act)


def revoke_envelope(model: str) -> None:
    """Let people decide again."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        envelopes.revoke_envelope(session, model_named(session, model), by=actor, reason=required(why), now=now)
        return f"{model} has no envelope any more: people decide."

    why = reason_of(f"revoke-reason-{model}")
    actions.perform(act)


def refusal(action: Action) -> str:
    """Why this person may not; empty when they may. The act itself asks again."""
    actor = auth.current_actor()
    if actor is None:
        return "sign in first"
    try:
        authorize(actor, action)
    except NotAllowed as error:
        return str(error)
    return ""


def reason_of(key: str) -> str:
    return str(st.session_state.get(key) or "")


def required(reason: str) -> str:
    """The reason.

    Raises:
        BadInput: nothing was typed.
    """
    if not reason.strip():
        raise BadInput("expected a reason: others will ask why")
    return reason
