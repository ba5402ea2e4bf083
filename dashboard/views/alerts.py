"""What fired, who has it, what do I do?"""

from datetime import datetime

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, declaring, palette, queries, states, times
from monitor.acts import alerts as acts
from monitor.alerts.playbooks import playbook
from monitor.db.alerts import Alert
from monitor.db.read_alerts import AlertLine, AlertPage
from monitor.governance.roles import Actor
from monitor.performance.verdict import Verdict

FEEDBACK = {"useful": "Useful", "expected": "Expected", "false": "False alarm"}


def _acknowledge(alert_id: int) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.acknowledge(session, session.get_one(Alert, alert_id), by=actor, now=now)
        return f"Alert #{alert_id} is yours."

    actions.perform(act)


def _feedback(alert_id: int, word: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.give_feedback(session, session.get_one(Alert, alert_id), feedback=word, by=actor, now=now)
        return f"Noted: {FEEDBACK[word].lower()}."

    actions.perform(act)


def _state(line: AlertLine) -> str:
    if line.state == "resolved":
        return "resolved"
    taken = f"taken by {line.acknowledged_by}" if line.state == "acknowledged" else palette.words(line.state)
    return taken + (" · snoozed" if line.snoozed is not None else "")


def _label(line: AlertLine) -> str:
    drill = "DRILL " if line.drill else ""
    return f"{drill}{line.severity.upper()} #{line.id} {line.title} · {_state(line)}"


def _message(page: AlertPage) -> None:
    """The message as it was sent: what changed, and what to do."""
    line, message = page.line, page.line.message
    st.subheader(line.title, divider="gray")
    with st.container(horizontal=True):
        st.badge(line.severity, color="red" if line.severity == "page" else "gray")
        st.badge(palette.words(line.verdict), color=palette.BADGES.get(line.verdict, "gray"))
        st.badge(_state(line), color="gray")
        if line.revised:
            st.badge("revised by late labels", color="gray")
    for text in message.get("lines", ()):
        st.text(text)
    if message.get("do"):
        st.markdown(f"**Do:** {states.plain(message['do'])}")
    if message.get("dont"):
        st.markdown(f"**Do NOT** {states.plain(message['dont'])}")
    culprits = f" Culprits: {', '.join(line.culprits)}." if line.culprits else ""
    span = (
        f"it spans {times.window(line.starts, line.ends)} by now"
        if line.is_live
        else times.window(line.starts, line.ends)
    )
    advice = ", with the advice of the revised verdict" if line.revised else ""
    st.caption(f"As it was sent{advice}; {span}. Version {line.version}.{culprits}")


def _evidence(page: AlertPage) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link("views/drift.py", label="Drift", icon=":material/stacked_line_chart:",
                     query_params={"model": page.line.model})  # fmt: skip
        st.page_link("views/model.py", label="Timeline", icon=":material/timeline:",
                     query_params={"model": page.line.model})  # fmt: skip
        if page.proposal_id is not None:
            st.page_link("views/retraining.py", label=f"Proposal #{page.proposal_id}", icon=":material/model_training:",
                         query_params={"model": page.line.model, "proposal": str(page.proposal_id)})  # fmt: skip
        if page.report_id is not None:
            st.link_button("Evidently report", f"/reports/{page.report_id}", icon=":material/open_in_new:")


def _buttons(line: AlertLine) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if line.state == "firing":
            st.button("Acknowledge", type="primary", key="acknowledge", on_click=_acknowledge, args=(line.id,))
        for word, label in FEEDBACK.items():
            chosen = line.feedback == word
            st.button(label, key=f"feedback-{word}", on_click=_feedback, args=(line.id, word), disabled=chosen)
        if line.is_live:
            declaring.snooze_alert(line)
    if line.resolution:
        st.caption(f"Resolved: {states.plain(line.resolution)}.")
    if line.acknowledged_by and line.acknowledged_at:
        st.caption(f"Acknowledged by {line.acknowledged_by}, {times.moment(line.acknowledged_at)}.")


listed = queries.alert_list()
if not listed.lines:
    states.unfinished(
        listed.headline,
        hint="That is the normal state. To see the way of an alert, plant a fault in a copy of today's data: "
        "`holdfast drill MODEL`.",
    )

st.title(listed.headline)
actions.show_notice()
useful, judged = listed.precision
if judged:
    st.caption(f"{useful} of {judged} alerts that people judged were useful.")
by_id = {line.id: line for line in listed.lines}
asked = st.query_params.get("alert", "")
of_model = [line.id for line in listed.lines if line.model == st.query_params.get("model")]
known = asked.isdecimal() and int(asked) in by_id
if not known:
    states.no_such("alert", asked)
first = int(asked) if known else next(iter(of_model), listed.lines[0].id)
chosen = st.selectbox("Alert", list(by_id), index=list(by_id).index(first), format_func=lambda i: _label(by_id[i]))
st.query_params["alert"] = str(chosen)
page = queries.alert_page(chosen)
if page is None:
    states.unfinished(f"There is no alert #{chosen}.")
_message(page)
_evidence(page)
_buttons(page.line)

what, when = st.columns(2)
with what:
    st.subheader("Playbook")
    st.markdown("\n".join(playbook(Verdict(page.line.verdict)).splitlines()[1:]))
with when:
    st.subheader("Timeline")
    states.timeline(page.timeline)
