"""Who did what, and was anything altered?"""

from datetime import UTC, date, datetime, time, timedelta
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from dashboard import auth, place, queries, states, times
from monitor.db.audit_heads import read_heads
from monitor.db.read_audit import AuditLine, AuditPage, Chosen
from monitor.errors import BadInput, NotAllowed
from monitor.governance.roles import Action, authorize

SHOWN = 200
ALL = "all"
_NOTES = ("reason", "sentence", "name", "version")


def _refusal() -> str:
    actor = auth.current_actor()
    try:
        if actor is not None:
            authorize(actor, Action.READ_AUDIT)
    except NotAllowed as error:
        return str(error)
    return ""


def _headline(page: AuditPage) -> str:
    acts = f"{page.total:,} {'act' if page.total == 1 else 'acts'}"
    newest = page.lines[0] if page.lines else None
    return f"{acts}, the newest by {newest.actor}: {newest.action}" if newest else f"{acts} of that kind"


def _filters(page: AuditPage) -> Chosen:
    """What is shown, from the choices; they live in the URL."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = _choice("Model", "model", page.models)
        actor = _choice("Who", "who", page.actors)
        action = _choice("Act", "act", page.actions)
        since = st.date_input("Since (UTC)", value=None, key="since", bind="query-params", width=140)
        until = st.date_input("Until (UTC)", value=None, key="until", bind="query-params", width=140)
    end = _midnight(until) + timedelta(days=1) if isinstance(until, date) else None
    return Chosen(
        model=model, actor=actor, action=action, since=_midnight(since) if isinstance(since, date) else None, until=end
    )


def _choice(label: str, key: str, known: tuple[str, ...]) -> str | None:
    options = [ALL, *known]
    asked = st.query_params.get(key, ALL)
    chosen = st.selectbox(label, options, index=options.index(asked) if asked in options else 0, width=180)
    if chosen == ALL:
        st.query_params.pop(key, None)
        return None
    st.query_params[key] = chosen
    return chosen


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _table(page: AuditPage) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "#": [line.number for line in page.lines],
            "When": [times.moment(line.at) for line in page.lines],
            "UTC": [times.utc(line.at) for line in page.lines],
            "Who": [line.actor for line in page.lines],
            "Act": [line.action for line in page.lines],
            "Model": [line.model or "" for line in page.lines],
            "On": [line.subject for line in page.lines],
            "Note": [_note(line) for line in page.lines],
        }
    )


def _note(line: AuditLine) -> str:
    said = next((str(line.details[name]) for name in _NOTES if line.details.get(name)), "")
    own = " (self-approved)" if line.details.get("self_approved") else ""
    return said + own


def _exports(chosen: Chosen) -> None:
    """The trail as a file, streamed by the API to whoever may read it."""
    asked = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(chosen).items()}
    given = {name: value for name, value in asked.items() if value is not None}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Verify the trail", key="verify", type="primary", icon=":material/verified_user:")
        for label, form in (("Export", "jsonl"), ("CSV for a spreadsheet", "csv")):
            address = f"/v1/audit/export?{urlencode({**given, 'format': form})}"
            st.link_button(label, address, icon=":material/download:")


def _verify() -> None:
    keeper = place.here().keeper
    with st.spinner("Reading the whole trail …"):
        try:
            heads = read_heads(keeper.heads, keeper.public) if keeper is not None else []
            found = queries.verify_trail(heads)
        except BadInput as error:
            states.failed(f"The signed heads cannot be trusted: {error}.")
            return
    if found.ok:
        st.success(found.sentence, icon=":material/verified_user:")
    else:
        states.failed(found.sentence, hint="Keep the database and `heads.jsonl` as they are, and ask who had access.")


if refused := _refusal():
    states.forbidden("The audit trail is for auditors and admins", refused)
everything = queries.audit_page(most=1)
if not everything.total:
    states.unfinished(
        "Nothing was done yet.", hint="Every act of a person or of policy is written here; try `holdfast model list`."
    )
title = st.empty()
chosen = _filters(everything)
page = queries.audit_page(chosen, most=SHOWN)
title.title(_headline(page))
_exports(chosen)
if st.session_state.get("verify"):
    _verify()
st.dataframe(_table(page), hide_index=True, height="content" if page.total < 20 else 560)
if page.total > len(page.lines):
    st.caption(f"The newest {len(page.lines)} of {page.total:,}; an export holds all.")
numbers = {line.number: line for line in page.lines}
if numbers:
    number = st.selectbox("Entry", list(numbers), width=300, format_func=lambda n: f"#{n} {numbers[n].action}")
    shown = numbers[number]
    st.json({**shown.details, "hash": shown.hash}, expanded=True)
