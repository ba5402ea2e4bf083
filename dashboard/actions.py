"""Buttons: one transaction, in which the person is looked up again and the act itself authorises."""

import logging
from collections.abc import Callable
from datetime import datetime

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from dashboard import auth, place, queries
from monitor.db.engine import database_now, transaction
from monitor.errors import HoldfastError
from monitor.governance.roles import Actor

Act = Callable[[Session, Actor, datetime], str]
_NOTICE = "notice"


def perform(act: Act) -> bool:
    """Do it or do nothing, and whether it was done; the next run says in a sentence what came of it."""
    done = False
    try:
        actor = auth.current_actor()
        if actor is None:
            return False  # the next run shows the sign-in page
        with transaction(place.engine()) as session:
            sentence = act(session, actor, database_now(session))
        done = True
        st.session_state[_NOTICE] = (True, sentence)
    except HoldfastError as error:
        st.session_state[_NOTICE] = (False, str(error))
    except SQLAlchemyError as error:
        logging.getLogger(__name__).error("an act failed: %s", error)
        st.session_state[_NOTICE] = (False, "The database did not answer, and nothing was changed. Try again.")
    queries.forget()
    return done


def show_notice(*, toast: bool = False) -> None:
    """What came of the last click, once; with `toast` also where the reader is, who may have scrolled far down."""
    done, sentence = st.session_state.pop(_NOTICE, (None, ""))
    if toast and sentence:
        st.toast(sentence, icon=":material/check:" if done else ":material/error:", duration="long")
    if done is True:
        st.success(sentence, icon=":material/check:")
    elif done is False:
        st.error(sentence, icon=":material/error:")
