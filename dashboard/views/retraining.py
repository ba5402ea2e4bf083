"""What is proposed, on which evidence?"""

from datetime import datetime
from typing import Any

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth, charts, charts_robustness, palette, queries, states, times
from monitor.acts import retraining as acts
from monitor.db.read_retraining import ProposalPage
from monitor.db.registry import model_named
from monitor.db.retraining import Proposal
from monitor.governance.roles import Actor

REFRESH_SECONDS = 2


def _approve(page: ProposalPage) -> None:
    reason = st.session_state.get("reason", "")

    def act(session: Session, actor: Actor, now: datetime) -> str:
        proposal = session.get_one(Proposal, page.id)
        acts.approve(session, proposal, by=actor, evidence_sha256=page.evidence_sha256, reason=reason, now=now)
        return f"Proposal #{page.id} is approved: the training is queued."

    actions.perform(act)


def _reject(page: ProposalPage) -> None:
    reason = st.session_state.get("reason", "")

    def act(session: Session, actor: Actor, now: datetime) -> str:
        proposal = session.get_one(Proposal, page.id)
        acts.reject(session, proposal, by=actor, evidence_sha256=page.evidence_sha256, reason=reason, now=now)
        return f"Proposal #{page.id} is rejected."

    actions.perform(act)


def _promote(page: ProposalPage) -> None:
    reason = st.session_state.get("reason", "")

    def act(session: Session, actor: Actor, now: datetime) -> str:
        proposal = session.get_one(Proposal, page.id)
        decided = acts.approve_promotion(
            session, proposal, by=actor, evidence_sha256=page.evidence_sha256, reason=reason, now=now
        )
        if not decided:
            return f"Your vote counts; tier {page.tier} asks for one more person to promote {page.candidate}."
        return f"{page.candidate} is being promoted."

    actions.perform(act)


def _roll_back(page: ProposalPage) -> None:
    reason = st.session_state.get("reason", "")

    def act(session: Session, actor: Actor, now: datetime) -> str:
        previous = acts.rollback(session, model_named(session, page.model), by=actor, reason=reason, now=now)
        return f"Rolled back: {previous.name} is the champion again."

    actions.perform(act)


def _cancel(page: ProposalPage) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        acts.cancel(session, session.get_one(Proposal, page.id), by=actor, reason="cancelled on the dashboard", now=now)
        return f"Proposal #{page.id} is cancelled."

    actions.perform(act)


def _head(page: ProposalPage) -> None:
    versions = f"{page.champion} → {page.candidate or 'a new version'}"
    st.markdown(
        f"**{page.model}** {versions} · tier {page.tier} · asked for by {page.requested_by}, "
        f"{times.moment(page.created_at)}"
    )
    if page.recommendation:
        st.info(page.recommendation, icon=":material/recommend:")
    if page.last_error:
        st.error(page.last_error, icon=":material/error:")


def _evidence(page: ProposalPage) -> None:
    """Evidence before buttons: why, what else, gates, what gets worse, which data."""
    left, right = st.columns(2)
    with left:
        states.field("Why", page.reason)
        states.field("If not", str(page.evidence.get("if_not") or f"{page.champion} serves on; widen the manual band."))
    with right:
        states.field("Data", _data(page.snapshot))
        states.field("Cost", str(page.evidence.get("cost") or "not estimated"))
    findings = [entry.get("sentence") for entry in page.evidence.get("findings", ()) if entry.get("sentence")]
    if findings:
        with st.expander(f"{len(findings)} findings behind it", expanded=not page.gates):
            for sentence in findings:
                st.text(f"· {sentence}")
    if page.gates:
        _gates(page)


def _data(snapshot: Any) -> str:
    if not snapshot.get("rows"):
        return "the snapshot is taken when the training starts"
    ends = [snapshot[end] for end in ("starts", "ends") if snapshot.get(end)]
    span = " to ".join(f"{datetime.fromisoformat(end):%-d %b %Y}" for end in ends)
    mature = snapshot.get("label_coverage")
    labels = f", labels {mature:.0%} mature" if mature is not None else ""
    return f"{span}, {snapshot['rows']:,} rows{labels}, sha256 {str(snapshot.get('sha256', ''))[:12]}…"


def _gates(page: ProposalPage) -> None:
    passed = len(page.gates) - len(page.failed_gates)
    st.subheader(f"Gates: {passed} of {len(page.gates)} passed", divider="gray")
    for gate in sorted(page.gates, key=lambda gate: gate.passed):
        icon = ":material/check_circle:" if gate.passed else ":material/cancel:"
        st.markdown(f"{icon} **{palette.words(gate.name)}** — {states.plain(gate.sentence)}")
    worse = [gate.sentence for gate in page.gates if gate.low is not None and gate.value < 0]
    states.field("Worse", " ".join(worse) or "nothing that was measured")


@st.fragment(run_every=REFRESH_SECONDS)
def _progress(proposal_id: int, state: str) -> None:
    """How far the training is; the page runs again when the state changes."""
    if auth.current_actor() is None:
        st.rerun()
    page = queries.proposal_page(proposal_id)
    if page is None or page.state != state:
        st.rerun()
    running = page.running
    st.progress(running.share if running else 0.0, text=running.sentence if running else "waiting for a worker")
    if running and running.curve:
        st.plotly_chart(charts_robustness.training_curve(running.curve), config=charts.QUIET, key="curve")


def _decision(page: ProposalPage) -> None:
    """The buttons, after everything that they decide on."""
    st.divider()
    st.caption(f"Evidence sha256 `{page.evidence_sha256[:16]}…` — a vote binds to it, and counts for nothing else.")
    if page.stage or page.can_roll_back:
        st.text_input("Reason", key="reason", placeholder="why, for the audit", max_chars=500)
    with st.container(horizontal=True):
        if page.stage == "training":
            st.button("Reject", key="reject", on_click=_reject, args=(page,))
            st.button("Approve the training", key="approve", type="primary", on_click=_approve, args=(page,))
        elif page.stage == "promotion":
            st.button("Reject", key="reject", on_click=_reject, args=(page,))
            st.button(f"Promote {page.candidate}", key="promote", type="primary", on_click=_promote, args=(page,))
        elif page.can_roll_back:
            st.button(f"Roll back to {page.champion}", key="rollback", on_click=_roll_back, args=(page,))
        elif page.is_running:
            st.button("Cancel", key="cancel", on_click=_cancel, args=(page,))
    if page.stage:
        st.caption(f"Undo: one click; {page.champion} stays warm. Expires {times.moment(page.expires_at)}.")


def _past(page: ProposalPage) -> None:
    left, right = st.columns(2)
    with left:
        st.subheader("Timeline")
        states.timeline(page.timeline)
    with right:
        st.subheader("Votes")
        if not page.ballots:
            st.caption("Nobody has voted yet.")
        for vote in page.ballots:
            own = ", self-approved" if vote.self_approved else ""
            st.markdown(f"**{vote.actor}** {vote.decision}d the {vote.stage}{own} · {times.moment(vote.at)}")
            if vote.reason:
                st.text(f"“{vote.reason}”")


lines = queries.proposals()
if not lines:
    states.unfinished(
        "Nothing is proposed.",
        hint="A proposal comes with evidence: harmful drift, or a stress test below registration. "
        "A broken pipeline never raises one.",
    )
by_id = {line.id: line for line in lines}
asked = st.query_params.get("proposal", "")
of_model = [line.id for line in lines if line.model == st.query_params.get("model")]
first = int(asked) if asked.isdigit() and int(asked) in by_id else next(iter(of_model), lines[0].id)
chosen = first
page = queries.proposal_page(first)
if page is None:
    states.unfinished(f"There is no proposal #{first}.")

st.title(page.headline)
actions.show_notice()
_head(page)
if page.is_running:
    _progress(page.id, page.state)
_evidence(page)
_decision(page)
_past(page)
if len(lines) > 1:
    st.subheader("All proposals", divider="gray")
    for line in lines:
        st.page_link(
            "views/retraining.py",
            label=f"#{line.id} {line.model}: {palette.words(line.state)} — {line.reason}",
            query_params={"model": line.model, "proposal": str(line.id)},
        )
st.query_params["proposal"] = str(page.id)
