"""What the forms of the Settings view do: people, invitations, tokens. A secret is shown on one run and forgotten."""

from datetime import datetime, timedelta
from urllib.parse import urlsplit

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions
from monitor.acts import tokens as token_acts
from monitor.acts import users as acts
from monitor.db.registry import model_named
from monitor.db.tokens import token_named
from monitor.db.users import User, user_named
from monitor.governance.roles import Action, Actor, authorize

INVITED_FOR = timedelta(hours=72)
ALL_MODELS = "every model"
_ONCE = "shown_once"


def add_person() -> None:
    """Add the account and make the link that signs the person in."""

    def act(session: Session, actor: Actor, now: datetime) -> str:
        person = acts.create_person(session, name=name, roles=roles, by=actor, now=now)
        made.append(acts.invite(session, person, lifetime=INVITED_FOR, by=actor, now=now))
        return f"{name} is {', '.join(person.roles)}. Send them the link below."

    name, roles, made = _text("person-name"), _chosen("person-roles"), list[str]()
    if actions.perform(act):
        _show_once(f"Signs {name} in, once, within three days", _address(made[0]))


def invite(name: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        made.append(acts.invite(session, _person(session, actor, name), lifetime=INVITED_FOR, by=actor, now=now))
        return f"A link for {name} was made."

    made = list[str]()
    if actions.perform(act):
        _show_once(f"Signs {name} in, once, within three days", _address(made[0]))


def change_roles(name: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        person = _person(session, actor, name)
        acts.change_roles(session, person, roles=roles, by=actor, now=now)
        return f"{name} is {', '.join(person.roles)} now."

    roles = _chosen(f"roles-{name}")
    actions.perform(act)


def disable(name: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.disable(session, _person(session, actor, name), by=actor, reason=why, now=now)
        return f"{name} is disabled, and signed out."

    why = _text(f"why-{name}")
    actions.perform(act)


def enable(name: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.enable(session, _person(session, actor, name), by=actor, reason=why, now=now)
        return f"{name} may sign in again."

    why = _text(f"why-{name}")
    actions.perform(act)


def create_token() -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model) if model != ALL_MODELS else None
        token, secret = token_acts.create_token(
            session, name=name, roles=roles, model=row, lifetime=timedelta(days=days), by=actor, now=now
        )
        made.append(secret)
        return f"Token {name} holds until {token.expires_at:%-d %b %Y}."

    name, roles, model = _text("token-name"), _chosen("token-roles"), _text("token-model")
    days, made = float(st.session_state.get("token-days") or 0), list[str]()
    if actions.perform(act):
        _show_once(f"The token of {name}: keep it now, it is shown this once", made[0])


def revoke_token(name: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        authorize(actor, Action.MANAGE_USERS)
        token_acts.revoke_token(session, token_named(session, name), by=actor, now=now)
        return f"Token {name} is revoked."

    actions.perform(act)


def show_secret() -> None:
    """The link or token of the last click, on this run alone."""
    words, secret = st.session_state.pop(_ONCE, ("", ""))
    if secret:
        st.caption(words)
        st.code(secret, language=None, wrap_lines=True)


def _show_once(words: str, secret: str) -> None:
    st.session_state[_ONCE] = (words, secret)


def _address(once: str) -> str:
    """The link at the address that this browser uses."""
    here = urlsplit(st.context.url if isinstance(st.context.url, str) else "")
    base = f"{here.scheme}://{here.netloc}" if here.netloc else ""
    return f"{base}/?once={once}"


def _person(session: Session, actor: Actor, name: str) -> User:
    authorize(actor, Action.MANAGE_USERS)
    return user_named(session, name)


def _text(key: str) -> str:
    return str(st.session_state.get(key) or "").strip()


def _chosen(key: str) -> list[str]:
    return [str(one) for one in st.session_state.get(key) or ()]
