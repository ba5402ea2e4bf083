"""What is proposed, on which evidence?"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import streamlit as st

from dashboard import (
    actions,
    auth,
    charts,
    charts_robustness,
    decisions,
    palette,
    queries,
    registering,
    shadow_panel,
    states,
    times,
)
from monitor.db.read_retraining import ProposalPage
from monitor.governance.roles import Action

REFRESH_SECONDS = 2


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
        states.field("If not", page.if_not)
    with right:
        states.field("Data", _data(page.snapshot))
        states.field("Cost", str(page.evidence.get("cost") or "not estimated"))
        if page.stress:
            states.field("Stress", page.stress)
    findings = [entry.get("sentence") for entry in page.evidence.get("findings", ()) if entry.get("sentence")]
    if findings:
        with st.expander(f"{len(findings)} findings behind it", expanded=not page.gates):
            for sentence in findings:
                st.text(f"· {sentence}")
        _pictures(page)
    if page.gates:
        _comparison(page)
        _gates(page)


def _pictures(page: ProposalPage) -> None:
    """What the evidence froze: the metric's path up to the proposal, and each culprit then and now."""
    path = page.metric_path
    pictures = [(f"{path['name'].iloc[0]} until then", charts.metric_path(path, page.limit))] if len(path) else []
    pictures += [(one.feature, charts.reference_against_current(one)) for one in page.histograms]
    with st.container(horizontal=True):
        for title, figure in pictures:
            with st.container(width=420):
                st.markdown(f"**{states.plain(title)}**")
                st.plotly_chart(figure, config=charts.QUIET, key=f"picture-{title}")


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
        st.markdown(f"{icon} {states.plain(gate.sentence)}")
    states.field("Worse", " ".join(page.worse) or "nothing that was measured")


def _comparison(page: ProposalPage) -> None:
    """Candidate against champion on the same held-out rows."""
    sides = [(side, page.comparison[side]) for side in ("clean", "robust") if side in page.comparison]
    for column, (side, found) in zip(st.columns(2), sides, strict=False):
        before = found.get("champion")
        column.metric(
            f"{side.capitalize()} {_metric_name(found['metric'])}, {page.candidate}",
            f"{found['value']:.3f}",
            delta=None if before is None else f"{found['value'] - before:+.3f} against {page.champion}",
            delta_color="off",
            help=f"95 % interval [{found['low']}, {found['high']}]",
        )


def _metric_name(metric: str) -> str:
    return "AUC" if metric in ("auroc", "robust_auc") else palette.words(metric.removeprefix("robust_"))


@st.fragment(run_every=REFRESH_SECONDS)
def _progress(proposal_id: int, state: str) -> None:
    """How far the training is; the page runs again when the state changes, or nobody is signed in any more."""
    page = queries.proposal_page(proposal_id)
    if page is None or page.state != state or auth.current_actor(active=False) is None:
        st.rerun()
    if not page.is_running:
        return
    running = page.running
    st.progress(running.share if running else 0.0, text=running.sentence if running else "waiting for a worker")
    if running and running.curve:
        st.plotly_chart(charts_robustness.training_curve(running.curve), config=charts.QUIET, key="curve")


def _decision(page: ProposalPage) -> None:
    """The buttons, after everything that they decide on."""
    st.divider()
    refusal = decisions.refusal(page)
    if refusal:
        states.not_allowed(refusal)
    elif page.stage:
        st.markdown(f":material/how_to_vote: You may decide on the {page.stage}.")
    st.caption(f"Evidence sha256 `{page.evidence_sha256[:16]}…` — a vote binds to it, and counts for nothing else.")
    st.link_button("Evidence as a file", f"/v1/proposals/{page.id}/bundle", icon=":material/archive:", type="tertiary")
    buttons = _buttons(page)
    if buttons:
        st.text_input("Reason", key=decisions.reason_key(page), placeholder="why, for the audit", max_chars=500)
    with st.container(horizontal=True):
        for number, (label, act) in enumerate(buttons):
            main = number == len(buttons) - 1 and not page.is_running
            st.button(label, key=act.__name__, type="primary" if main else "secondary", on_click=act, args=(page,),
                      disabled=bool(refusal) and page.stage is not None)  # fmt: skip
    if page.stage:
        st.caption(f"Undo: one click; {page.champion} stays warm. Expires {times.moment(page.expires_at)}.")


def _buttons(page: ProposalPage) -> list[tuple[str, Callable[[ProposalPage], None]]]:
    """What can be done now, the main act last."""
    if page.stage == "training":
        return [("Reject", decisions.reject), ("Approve the training", decisions.approve)]
    if page.stage == "promotion":
        return [("Reject", decisions.reject), (f"Promote {page.candidate}", decisions.promote)]
    if page.can_roll_back:
        return [(f"Roll back to {page.champion}", decisions.roll_back)]
    if page.can_promote_again:
        return [(f"Promote {page.candidate} again", decisions.promote_again)]
    return [("Cancel the training", decisions.cancel)] if page.is_running else []


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


def _request(page: ProposalPage | None) -> None:
    """Where nothing is open, a person may ask."""
    models = [entry.name for entry in queries.model_entries() if entry.retired_at is None]
    if not models or (page is not None and page.is_open):
        return
    with st.expander("Ask for a retraining", icon=":material/add:"):
        if refused := registering.refusal(Action.REQUEST_RETRAINING):
            states.not_allowed(refused)
            return
        known = models.index(page.model) if page is not None and page.model in models else 0
        model = str(st.selectbox("Model", models, index=known, key="request-model"))
        st.text_input("Why", key=f"request-{model}", placeholder="what the approver reads first", max_chars=500)
        st.button("Ask", on_click=decisions.request, args=(model,), key="request")


lines = queries.proposals()
if not lines:
    _request(None)
    states.unfinished(
        "Nothing is proposed.",
        hint="A proposal comes with evidence: harmful drift, or a stress test below registration. "
        "A broken pipeline never raises one.",
    )
by_id = {line.id: line for line in lines}
asked = st.query_params.get("proposal", "")
of_model = [line.id for line in lines if line.model == st.query_params.get("model")]
known = asked.isdecimal() and int(asked) in by_id
first = int(asked) if known else next(iter(of_model), lines[0].id)
page = queries.proposal_page(first)
if page is None:
    states.unfinished(f"There is no proposal #{first}.")

if not known:
    states.no_such("proposal", asked)
st.title(page.headline)
actions.show_notice()
_head(page)
if page.is_about_to_change:
    _progress(page.id, page.state)
_evidence(page)
shadow_panel.show(page.id)
_decision(page)
_past(page)
_request(page)
if len(lines) > 1:
    st.subheader("All proposals", divider="gray")
    for line in lines:
        st.page_link(
            "views/retraining.py",
            label=f"#{line.id} {line.model}: {palette.words(line.state)}, {times.moment(line.created_at)}",
            query_params={"model": line.model, "proposal": str(line.id)},
        )
st.query_params["proposal"] = str(page.id)
