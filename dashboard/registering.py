"""What the buttons of the Registry view do; each is one act, with the reason that was typed beside it."""

from datetime import datetime

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth
from monitor.acts import retraining as acts
from monitor.db.registry import model_named
from monitor.errors import BadInput, NotAllowed
from monitor.governance.roles import Action, Actor, authorize


def set_frozen(model: str, frozen: bool) -> None:
    """Stop the automatic acts on a model, or let them go on."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        change = acts.freeze if frozen else acts.unfreeze
        change(session, model_named(session, model), by=actor, reason=required(why), now=now)
        return f"{model} is frozen: policy does nothing by itself." if frozen else f"{model} is unfrozen."

    why = reason_of(f"freeze-reason-{model}")
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
