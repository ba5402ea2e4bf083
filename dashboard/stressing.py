"""Stress tests on the Robustness view: order one, watch how far it is, stop it."""

from datetime import datetime

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth, queries, states
from monitor.acts import stress as acts
from monitor.db.read_campaign import WORDS
from monitor.db.read_robustness import Running
from monitor.db.registry import champion, model_named
from monitor.errors import NotAllowed
from monitor.governance.roles import Action, Actor, authorize

REFRESH_SECONDS = 2
PLANS = {"tick": "tick: a second, 512 rows", "nightly": "nightly: minutes, everything"}
ROWS = {"": "the newest rows", "reference": "the reference"}


def show_running(model: str) -> bool:
    """How far the stress tests are that run just now, with a way to stop them; whether any does."""
    running = queries.running_tests(model)
    if not any(one.is_live for one in running):
        return False
    refusal = _refusal()
    _progress(model, tuple(one.job_id for one in running))
    st.button(
        "Stop it", key="cancel-stress", on_click=_cancel, args=(model,), disabled=bool(refusal), help=refusal or None
    )
    return True


def show_order(model: str) -> None:
    """The button that starts one. Whoever may not click reads why."""
    refusal = _refusal()
    for one in queries.running_tests(model):
        st.caption(f":material/info: The last one that was asked for found nothing: {states.plain(one.sentence)}.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        plan = st.selectbox("Plan", list(PLANS), format_func=PLANS.__getitem__, key="stress-plan", width=260)
        on = st.selectbox("Rows", list(ROWS), format_func=ROWS.__getitem__, key="stress-on", width=190)
        st.button(
            "Run a stress test", key="run-stress", on_click=_order, args=(model, plan, on or None),
            disabled=bool(refusal), help=refusal or "The workers run it; the checks of windows may wait for it.",
        )  # fmt: skip


@st.fragment(run_every=REFRESH_SECONDS)
def _progress(model: str, jobs: tuple[int, ...]) -> None:
    """How far they are; the page runs again when one ends, or nobody is signed in any more."""
    running = [one for one in queries.running_tests(model) if one.is_live]
    if tuple(one.job_id for one in running) != jobs or auth.current_actor(active=False) is None:
        queries.forget()
        st.rerun()
    for one in running:
        st.progress(one.share, text=_words(one))


def _words(one: Running) -> str:
    asked = "" if one.purpose != acts.COMMAND else f", asked for by {states.plain(one.asked_by)}"
    kind = WORDS.get(one.purpose, one.purpose).capitalize()
    return f"{kind}, plan {one.plan}, {one.version}{asked}: {states.plain(one.sentence)}"


def _refusal() -> str:
    try:
        authorize(auth.current_actor(active=False) or Actor(id="", name="nobody"), Action.STRESS)
    except NotAllowed as error:
        return str(error)
    return ""


def _order(model: str, plan: str, on: str | None) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        job_id = acts.order_stress_test(session, row, champion(session, row), plan=plan, on=on, by=actor, now=now)
        if job_id is None:
            return "A stress test of this version is under way already."
        return "The stress test is queued; the top of this page shows how far it is, and then what it found."

    actions.perform(act)


def _cancel(model: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        stopped = acts.cancel_stress_tests(session, model_named(session, model), by=actor)
        return "It is being stopped." if stopped else "It had ended already."

    actions.perform(act)
