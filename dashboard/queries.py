"""What the views read, kept for a few seconds: the reads themselves live in `monitor/db/read_*.py`."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import place
from monitor.acts import baselines
from monitor.db import (
    read_alerts,
    read_audit,
    read_declared,
    read_drift,
    read_evidently,
    read_intake,
    read_model,
    read_overview,
    read_people,
    read_quarantine,
    read_registry,
    read_retraining,
    read_robustness,
    read_shadow,
    read_sources,
)
from monitor.db.engine import transaction

TTL_SECONDS = 5
P = ParamSpec("P")
R = TypeVar("R")


def _kept(read: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """The read in a transaction of its own, remembered for each database and each set of arguments."""

    @st.cache_data(ttl=TTL_SECONDS, show_spinner=False)
    def remembered(url: str, name: str, *args: P.args, **kwargs: P.kwargs) -> R:  # name tells the reads apart
        with transaction(place.engine_of(url)) as session:
            return read(session, *args, **kwargs)

    def ask(*args: P.args, **kwargs: P.kwargs) -> R:
        return remembered(place.here().database_url, read.__qualname__, *args, **kwargs)

    return ask


def _now(read: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """The read as it is at this moment: what a person decides on, and what progresses."""

    def ask(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction(place.engine()) as session:
            return read(session, *args, **kwargs)

    return ask


intake_page = _now(read_intake.intake_page)
quarantine_examples = _now(read_quarantine.quarantine_examples)
overview = _kept(read_overview.overview)
model_history = _kept(read_model.model_history)
drift_history = _kept(read_drift.drift_history)
histogram = _kept(read_drift.histogram)
evidently_results = _kept(read_evidently.evidently_results)
declared = _now(read_declared.declared)
proposed_baseline = _now(baselines.proposed_baseline)
robustness_history = _kept(read_robustness.robustness_history)
running_tests = _now(read_robustness.running_tests)
alert_list = _kept(read_alerts.alert_list)
alert_page = _now(read_alerts.alert_page)
proposals = _kept(read_retraining.proposals)
proposal_page = _now(read_retraining.proposal_page)
shadow_page = _now(read_shadow.shadow_page)
registry_page = _now(read_registry.registry_page)
model_entries = _kept(read_registry.model_entries)
audit_page = _now(read_audit.audit_page)
verify_trail = _now(read_audit.verify_trail)
people_page = _now(read_people.people_page)
source_lines = _now(read_sources.source_lines)


def forget() -> None:
    """Read everything anew: something was just changed."""
    st.cache_data.clear()
