"""Do the rows come in, and what becomes of those that were refused?"""

from collections.abc import Mapping
from datetime import datetime

import pandas as pd
import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth, controls, queries, states, times
from monitor.acts import quarantine as acts
from monitor.db.read_intake import IntakePage
from monitor.db.read_quarantine import QuarantineGroup
from monitor.db.registry import model_named
from monitor.errors import BadInput, NotAllowed
from monitor.governance.roles import Action, Actor, authorize


def _headline(page: IntakePage) -> str:
    if page.newest is None:
        return f"{page.model} has no rows yet"
    waiting = sum(group.rows for group in page.groups)
    said = f"{page.model} has rows up to {times.moment(page.newest)}"
    return f"{said}; {waiting:,} wait in quarantine" if waiting else f"{said}; none waits in quarantine"


def _days(page: IntakePage) -> None:
    """Rows of each day, all that came and not only those that were kept."""
    st.subheader("Rows a day")
    frame = pd.DataFrame({"day": [day for day, _ in page.days], "rows": [rows for _, rows in page.days]})
    st.bar_chart(frame, x="day", y="rows", x_label="", y_label="", height=220)


def _groups(page: IntakePage) -> QuarantineGroup:
    st.subheader("Refused, by reason")
    st.dataframe(
        pd.DataFrame(
            {
                "Rows": [group.rows for group in page.groups],
                "Reason": [group.reason for group in page.groups],
                "From": [", ".join(group.sources) for group in page.groups],
                "First": [times.moment(group.first) for group in page.groups],
                "Last": [times.moment(group.last) for group in page.groups],
            }
        ),
        hide_index=True,
    )
    by_reason = {group.reason: group for group in page.groups}
    return by_reason[st.selectbox("Reason", list(by_reason), key="quarantine-reason")]


def _examples(model: str, group: QuarantineGroup) -> None:
    for row in queries.quarantine_examples(model, group.reason, most=3):
        st.caption(states.plain(f"#{row.id}, from {row.source}, {times.moment(row.received_at)}: {row.reason}"))
        st.code(row.raw[:1_500], language="json", wrap_lines=True)


def _decisions(model: str, group: QuarantineGroup) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Try again", on_click=_retake, args=(model, group.reason), help="As the schema is now.")
        st.button(
            "Take with their times", on_click=_retake, args=(model, group.reason), kwargs={"trust_time": True},
            help="Their event times lie ahead of the clock; you looked, and they are right.",
        )  # fmt: skip
    rename, throw = st.columns(2)
    with rename, st.form("rename-fields"):
        st.text_input("Fields under their right names", key="rename", placeholder="amt=amount, chan=channel")
        st.form_submit_button("Rename and try again", on_click=_remap, args=(model, group.reason))
    with throw, st.form("discard-rows", clear_on_submit=True):
        st.text_input("Reason", key="discard-why", placeholder="why, for the audit", max_chars=500)
        st.form_submit_button(
            f"Discard {group.rows:,} row{'s' if group.rows > 1 else ''}", on_click=_discard, args=(model, group.reason)
        )
    st.caption(f"One decision takes at most {acts.MOST_ROWS:,} rows; press again for more.")


def _retake(model: str, reason: str, *, rename: Mapping[str, str] | None = None, trust_time: bool = False) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        rows = acts.waiting(session, row, group=reason)
        return acts.retake(session, row, rows, rename=rename, trust_time=trust_time, by=actor, now=now).sentence

    actions.perform(act)


def _remap(model: str, reason: str) -> None:
    told = [pair.partition("=") for pair in str(st.session_state["rename"]).split(",") if pair.strip()]
    rename = {old.strip(): new.strip() for old, _, new in told}

    def act(session: Session, actor: Actor, now: datetime) -> str:
        if not rename or not all(old and new for old, new in rename.items()):
            raise BadInput("expected fields such as amt=amount, separated by commas")
        row = model_named(session, model)
        rows = acts.waiting(session, row, group=reason)
        return acts.retake(session, row, rows, rename=rename, by=actor, now=now).sentence

    actions.perform(act)


def _discard(model: str, reason: str) -> None:
    why = str(st.session_state["discard-why"])

    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        rows = acts.waiting(session, row, group=reason)
        return acts.discarded_sentence(acts.discard(session, row, rows, reason=why, by=actor, now=now))

    actions.perform(act)


def _refusal() -> str:
    actor = auth.current_actor()
    try:
        if actor is not None:
            authorize(actor, Action.CONFIGURE)
    except NotAllowed as error:
        return str(error)
    return ""


title = st.empty()
name = controls.pick_model()
page = queries.intake_page(name)
title.title(_headline(page))
actions.show_notice()
if page.newest is None:
    st.markdown(
        f"Send the first ones: `holdfast token create NAME producer`, then `POST /v1/models/{name}/traces`. The "
        "[page of the API](/v1/docs) has bodies that work as they stand."
    )
if page.days:
    _days(page)
if page.groups:
    group = _groups(page)
    _examples(name, group)
    if refused := _refusal():
        states.not_allowed(refused)
    else:
        _decisions(name, group)
