"""Which versions are there, which one serves, and where did each come from?"""

from urllib.parse import quote

import pandas as pd
import streamlit as st

from dashboard import actions, controls, queries, registering, states, times
from monitor.db.read_registry import RegistryPage, VersionEntry
from monitor.governance.roles import Action


def _head(page: RegistryPage) -> None:
    solo = ", a team of one" if page.solo else ""
    st.markdown(f"**{page.model}** · {page.task} · tier {page.tier}{solo} · owner {states.plain(page.owner)}")
    if page.everything_frozen:
        st.warning("Every automatic act is stopped, for all models.", icon=":material/ac_unit:")
    elif page.frozen:
        st.warning("Frozen: policy does nothing by itself; people may still act.", icon=":material/ac_unit:")


def _table(page: RegistryPage) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Version": [one.name for one in page.versions],
            "State": [_state(one, page) for one in page.versions],
            "Came from": [one.origin for one in page.versions],
            "Flavour": [one.flavour for one in page.versions],
            "Metric": [_metric(one) for one in page.versions],
            "Made": [times.moment(one.created_at) for one in page.versions],
            "Promoted": [times.moment(one.promoted_at) if one.promoted_at else "" for one in page.versions],
            "Manifest": [one.manifest_sha256[:12] for one in page.versions],
        }
    )


def _state(entry: VersionEntry, page: RegistryPage) -> str:
    if entry.name != page.serving:
        return entry.state
    return "champion" if entry.confirmed_at else "champion, not yet in the traces"


def _metric(entry: VersionEntry) -> str:
    metric = entry.metric or {}
    return f"{metric['name']} {metric['value']:.3f}" if metric.get("value") is not None else ""


def _lineage(page: RegistryPage, entry: VersionEntry) -> None:
    st.subheader(f"{entry.name}: {_state(entry, page)}", divider="gray")
    left, right = st.columns(2)
    with left:
        states.field("Came from", entry.origin)
        states.field("Parent", entry.parent or "none that is recorded")
        states.field("Took over from", entry.replaced or "nobody")
        states.field("Recipe", entry.recipe or "not recorded")
    with right:
        rows = f"{entry.trained_rows:,} rows, " if entry.trained_rows else ""
        states.field("Data", f"{rows}sha256 {entry.snapshot_sha256[:16]}…" if entry.snapshot_sha256 else "not recorded")
        states.field("Weights", f"sha256 {entry.weights_sha256[:16]}…" if entry.weights_sha256 else "no artefact")
        states.field("Manifest", f"sha256 {entry.manifest_sha256[:16]}…")
        known = {"robust AUC": entry.robust_auc, "robust accuracy": entry.robust_accuracy}
        robust = "".join(f", {words} {value:.3f}" for words, value in known.items() if value is not None)
        states.field("At registration", f"{_metric(entry) or 'not measured'}{robust}")
    _links(page, entry)


def _links(page: RegistryPage, entry: VersionEntry) -> None:
    with st.container(horizontal=True):
        card = f"/v1/models/{quote(page.model, safe='')}/versions/{quote(entry.name, safe='')}/card"
        st.link_button("Model card", card, icon=":material/description:")
        if entry.proposal_id is not None:
            number = str(entry.proposal_id)
            st.page_link("views/retraining.py", label=f"Proposal #{number}", icon=":material/model_training:",
                         query_params={"model": page.model, "proposal": number})  # fmt: skip
            st.link_button("Evidence bundle", f"/v1/proposals/{number}/bundle", icon=":material/archive:")


def _freezing(page: RegistryPage) -> None:
    st.subheader("Automatic acts", divider="gray")
    if refused := registering.refusal(Action.FREEZE):
        states.not_allowed(refused)
        return
    st.caption(
        "Policy may propose a retraining, and decide at tier 0 inside an envelope. Frozen, it does neither; "
        "checks and alerts go on."
    )
    word = "Unfreeze" if page.frozen else "Freeze"
    with st.form("freezing", border=False, clear_on_submit=True):
        st.text_input("Reason", key=f"freeze-reason-{page.model}", placeholder="why, for the audit", max_chars=500)
        st.form_submit_button(
            f"{word} {page.model}", on_click=registering.set_frozen, args=(page.model, not page.frozen)
        )


def _freezing_all(page: RegistryPage) -> None:
    """One switch for the whole platform."""
    word = "Unfreeze" if page.everything_frozen else "Freeze"
    with st.form("freezing-all", border=False, clear_on_submit=True):
        st.text_input("Reason for all models", key="freeze-all-reason", placeholder="why, for the audit", max_chars=500)
        st.form_submit_button(
            f"{word} everything", on_click=registering.set_all_frozen, args=(not page.everything_frozen,)
        )


def _envelope(page: RegistryPage) -> None:
    """Tier 0: what policy may decide by itself."""
    st.subheader("Change envelope", divider="gray")
    signed = page.envelope
    if signed is None:
        st.caption("No approver has signed one: people decide.")
    else:
        states.field("Signed", f"by {signed.signed_by}, holds until {times.moment(signed.expires_at)}: {signed.reason}")
        limits = {name: ", ".join(map(str, v)) if isinstance(v, list) else v for name, v in signed.limits.items()}
        st.dataframe(pd.DataFrame({"Limit": list(limits), "Value": [str(v) for v in limits.values()]}), hide_index=True)
        with st.form("revoke", border=False, clear_on_submit=True):
            st.text_input("Reason to revoke", key=f"revoke-reason-{page.model}", max_chars=500)
            st.form_submit_button("Revoke", on_click=registering.revoke_envelope, args=(page.model,))
    if refused := registering.refusal(Action.SIGN_ENVELOPE):
        states.not_allowed(refused)
        return
    with st.form("sign", border=False):
        left, middle, right = st.columns(3)
        left.number_input("Days", 1.0, 366.0, 90.0, key=f"envelope-days-{page.model}")
        middle.number_input("Clean loss allowed", 0.0, 1.0, 0.0, 0.001, "%.3f", key=f"envelope-clean-{page.model}")
        right.number_input("Robust loss allowed", 0.0, 1.0, 0.0, 0.001, "%.3f", key=f"envelope-robust-{page.model}")
        st.text_input("Reason to sign", key=f"envelope-reason-{page.model}", max_chars=500)
        st.form_submit_button("Sign", on_click=registering.sign_envelope, args=(page.model,))


def _retiring(page: RegistryPage, entry: VersionEntry | None) -> None:
    st.subheader("Retire", divider="gray")
    if page.retired_at is not None:
        st.caption(f"{page.model} was retired {times.moment(page.retired_at)}: nothing is checked any more.")
        return
    if refused := registering.refusal(Action.RETIRE):
        states.not_allowed(refused)
        return
    st.caption("For good: a retired version never serves again, a retired model is not checked any more.")
    st.text_input("Reason to retire", key=f"retire-reason-{page.model}", placeholder="why", max_chars=500)
    with st.container(horizontal=True):
        if entry is not None and entry.name != page.serving and entry.state != "retired":
            st.button(f"Retire {entry.name}", on_click=registering.retire, args=(page.model, entry.name))
        st.button(f"Retire the model {page.model}", on_click=registering.retire, args=(page.model, None))


model = controls.pick_model()
page = queries.registry_page(model)
st.title(page.headline)
actions.show_notice()
_head(page)
if not page.versions:
    states.unfinished(f"{page.model} has no version yet.", hint="Register one: `holdfast model attach MODEL FILE`.")
st.dataframe(_table(page), hide_index=True)
names = [one.name for one in page.versions]
asked = st.query_params.get("version", "")
if asked not in names:
    states.no_such("version", asked)
first = asked if asked in names else page.serving or names[0]
chosen = st.selectbox("Version", names, index=names.index(first), width=260) or first
st.query_params["version"] = chosen
entry = page.entry(chosen)
if entry is not None:
    _lineage(page, entry)
_freezing(page)
if not registering.refusal(Action.FREEZE):
    _freezing_all(page)
if page.tier == 0:
    _envelope(page)
_retiring(page, entry)
