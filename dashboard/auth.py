"""Who is asking: a cookie names a server-side session row, and the row can be revoked on the next click."""

import streamlit as st

from dashboard import place
from monitor.api.sessions import COOKIE
from monitor.db.engine import transaction
from monitor.db.users import actor_for, revoke
from monitor.governance.roles import Actor


def session_token() -> str | None:
    """The session that the browser named when it connected."""
    return st.context.cookies.get(COOKIE)


def current_actor(*, active: bool = True) -> Actor | None:
    """The person of this session, None when nobody is. Asked again on every run: a revocation acts at once.

    With `active` false, nobody clicked: a page refreshed itself, and the session goes on becoming idle.
    """
    token = session_token()
    if not token:
        return None
    with transaction(place.engine()) as session:
        return actor_for(session, token, active=active)


def sign_out() -> None:
    """End the session on the server; the cookie is worth nothing afterwards."""
    token = session_token()
    if token:
        with transaction(place.engine()) as session:
            revoke(session, token)
