"""Who may do what here, and what was declared of each model?"""

from collections.abc import Sequence
from datetime import timedelta

import pandas as pd
import streamlit as st

from dashboard import actions, administration, queries, registering, sources_panel, states, times
from monitor.acts.tokens import LIFETIME, LONGEST
from monitor.db.read_people import PeoplePage, PersonLine, TokenLine
from monitor.db.read_registry import ModelEntry
from monitor.governance.roles import ROLES_OF_PROGRAMS, Action, Role

_DAY = timedelta(days=1)


def _people(page: PeoplePage) -> None:
    st.dataframe(
        pd.DataFrame(
            {
                "Name": [one.name for one in page.people],
                "Roles": [", ".join(one.roles) for one in page.people],
                "State": ["disabled" if one.disabled else "may sign in" for one in page.people],
                "Last seen": [times.moment(one.seen_at) if one.seen_at else "never" for one in page.people],
                "Since": [times.moment(one.created_at) for one in page.people],
            }
        ),
        hide_index=True,
    )
    change, add = st.columns(2)
    with add, st.form("add-person", clear_on_submit=True):
        st.markdown("**Add a person**")
        st.text_input("Name", key="person-name", max_chars=100)
        st.multiselect("Roles", [role.value for role in Role], key="person-roles")
        st.form_submit_button("Add and invite", on_click=administration.add_person)
    with change:
        by_name = {one.name: one for one in page.people}
        if by_name:
            chosen = st.selectbox("Person", list(by_name), key="person")
            _person(by_name[chosen])


def _person(one: PersonLine) -> None:
    with st.form(f"roles-of-{one.name}"):
        st.multiselect("Roles", [role.value for role in Role], default=list(one.roles), key=f"roles-{one.name}")
        st.form_submit_button("Save the roles", on_click=administration.change_roles, args=(one.name,))
    st.text_input("Reason", key=f"why-{one.name}", placeholder="why, for the audit", max_chars=500)
    with st.container(horizontal=True):
        if one.disabled:
            st.button("Enable", key="enable", on_click=administration.enable, args=(one.name,))
        else:
            st.button("Disable", key="disable", on_click=administration.disable, args=(one.name,))
            st.button("Another sign-in link", key="invite", on_click=administration.invite, args=(one.name,))


def _tokens(tokens: Sequence[TokenLine], models: Sequence[ModelEntry]) -> None:
    if tokens:
        st.dataframe(_token_table(tokens), hide_index=True)
    else:
        st.caption("No program holds a token yet.")
    make, revoke = st.columns(2)
    with make, st.form("create-token", clear_on_submit=True):
        st.markdown("**Create a token**")
        st.caption("A program sends it as `Authorization: Bearer TOKEN`. It operates and reads; votes are people's.")
        st.text_input("Name", key="token-name", max_chars=100)
        st.multiselect("Roles", sorted(ROLES_OF_PROGRAMS), key="token-roles")
        st.selectbox("For", [administration.ALL_MODELS, *(one.name for one in models)], key="token-model")
        st.number_input("Days", min_value=1, max_value=LONGEST // _DAY, value=LIFETIME // _DAY, key="token-days")
        st.form_submit_button("Create", on_click=administration.create_token)
    held = [one.name for one in tokens if one.state == "held"]
    with revoke:
        if held:
            chosen = st.selectbox("Token", held, key="token")
            st.button("Revoke", key="revoke", on_click=administration.revoke_token, args=(chosen,))


def _token_table(tokens: Sequence[TokenLine]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Name": [one.name for one in tokens],
            "Roles": [", ".join(one.roles) for one in tokens],
            "For": [one.model or administration.ALL_MODELS for one in tokens],
            "State": [one.state for one in tokens],
            "Until": [times.moment(one.expires_at) for one in tokens],
            "Last used": [times.moment(one.used_at) if one.used_at else "never" for one in tokens],
            "By": [one.created_by for one in tokens],
        }
    )


def _models(models: Sequence[ModelEntry]) -> None:
    if not models:
        st.caption("No model is registered yet.")
        return
    st.dataframe(
        pd.DataFrame(
            {
                "Model": [one.name for one in models],
                "Owner": [one.owner for one in models],
                "Task": [one.task for one in models],
                "Tier": [one.tier for one in models],
                "State": [_model_state(one) for one in models],
                "Window (h)": [one.settings.get("window_seconds", 0) / 3_600 for one in models],
                "False incidents": [_budget(one) for one in models],
                "Stress level": [one.settings.get("stress_level", "") for one in models],
                "Policy proposes": [bool(one.settings.get("policy", True)) for one in models],
                "Team of one": [one.solo for one in models],
            }
        ),
        hide_index=True,
    )
    chosen = st.selectbox("All settings of", [one.name for one in models], width=260, key="settings-of")
    st.json(dict(next(one for one in models if one.name == chosen).settings), expanded=False)
    st.caption("They are changed on the Drift view, or with `holdfast model set`.")


def _model_state(one: ModelEntry) -> str:
    if one.retired_at is not None:
        return "retired"
    return "frozen" if one.frozen else "watched"


def _budget(one: ModelEntry) -> str:
    return f"{one.settings.get('incidents', 1):g} in {one.settings.get('per_days', 365):g} days"


refused, models = registering.refusal(Action.MANAGE_USERS), queries.model_entries()
page = None if refused else queries.people_page()
st.title(page.headline if page is not None else "People and tokens are an admin's; models are shown to all")
actions.show_notice()
administration.show_secret()
names = ["Models", "Sources", "People", "Tokens"] if refused else ["People", "Tokens", "Models", "Sources"]
tabs = dict(zip(names, st.tabs(names, key="about", on_change="rerun", bind="query-params"), strict=True))
with tabs["People"]:
    if page is None:
        states.not_allowed(refused)
    else:
        _people(page)
with tabs["Tokens"]:
    if page is None:
        states.not_allowed(refused)
    else:
        _tokens(page.tokens, models)
with tabs["Models"]:
    _models(models)
with tabs["Sources"]:
    sources_panel.show(queries.source_lines(), may_act=not registering.refusal(Action.CONFIGURE))
