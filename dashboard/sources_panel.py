"""The tab of sources: how the last look at each went, and its schedule held or resumed."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd
import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, states, times
from monitor.acts.sources import pause_source, resume_source
from monitor.db.read_sources import SourceLine
from monitor.db.registry import model_named, source_of
from monitor.governance.roles import Actor


def show(lines: Sequence[SourceLine], *, may_act: bool) -> None:
    """All sources; an operator holds and resumes them here."""
    if not lines:
        st.caption("No model is read from a source. `holdfast source add` declares one.")
        return
    st.dataframe(_table(lines), hide_index=True)
    for line in lines:
        if line.last_error:
            told = f"{line.name} of {line.model} could not be read as a whole ({line.failures} in a row)"
            st.warning(states.plain(f"{told}: {line.last_error}"), icon=":material/warning:")
    scheduled = {f"{line.model}: {line.name}": line for line in lines if line.every_seconds is not None}
    if may_act and scheduled:
        chosen = scheduled[st.selectbox("Source", list(scheduled), key="source", width=320)]
        label = "Resume" if chosen.paused else "Pause"
        st.button(label, key="hold-source", on_click=_hold, args=(chosen.model, chosen.name, not chosen.paused))


def _table(lines: Sequence[SourceLine]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Model": [line.model for line in lines],
            "Source": [line.name for line in lines],
            "State": [line.state for line in lines],
            "Last read": [times.moment(line.pulled_at) if line.pulled_at else "never" for line in lines],
            "Schedule": [line.pace for line in lines],
            "Kind": [line.kind for line in lines],
            "Location": [line.location for line in lines],
        }
    )


def _hold(model: str, name: str, paused: bool) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        change = pause_source if paused else resume_source
        change(session, row, source_of(session, row, name), by=actor, now=now)
        return f"{name} of {model} is {'paused; its place is kept' if paused else 'read again'}."

    actions.perform(act)
