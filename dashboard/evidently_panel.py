"""Evidently on the Drift view: what its metrics said of the newest window, and its reports behind a sandboxed route."""

from datetime import datetime

import pandas as pd
import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, auth, queries, states, times
from monitor.acts.reports import order_report
from monitor.db.read_drift import DriftHistory
from monitor.db.read_evidently import EvidentlyResults, EvidentlyRow
from monitor.db.registry import model_named
from monitor.errors import NotAllowed
from monitor.governance.roles import Action, Actor, authorize
from monitor.reports.render import Preset
from monitor.windows import Window

ABOUT = {
    Preset.ALL: "everything",
    Preset.DRIFT: "data drift",
    Preset.SUMMARY: "data summary",
    Preset.CLASSIFICATION: "classification",
    Preset.REGRESSION: "regression",
}


def show(drift: DriftHistory) -> None:
    """The table of Evidently's metrics, the report of the newest window, and a button that makes one."""
    newest = drift.newest().iloc[0]
    window = Window(newest["starts"].to_pydatetime(), newest["ends"].to_pydatetime())
    st.subheader("Evidently's metrics", divider="gray")
    results = queries.evidently_results(drift.model)
    if results.monitors:
        _metrics(results)
    else:
        st.caption(f"None is computed yet: `holdfast monitor add {drift.model} --metric ValueDrift column=NAME`")
    _report(drift, window)
    _order(drift.model, window)


def _metrics(results: EvidentlyResults) -> None:
    for line in results.monitors:
        if line.status != "ok":
            st.text(f"{line.name}: {line.sentence or line.status}")
    if results.rows:
        fired_first = sorted(results.rows, key=lambda row: not row.fired)
        st.dataframe(
            pd.DataFrame([_row(row, results.model) for row in fired_first]),
            hide_index=True,
            column_config={
                "Metric": st.column_config.TextColumn(pinned=True, width=230),
                "What": st.column_config.TextColumn(width=330),
                **{column: st.column_config.NumberColumn(format="%.4g") for column in ("Value", "Threshold")},
            },
        )
    st.caption("Conventional tests of a sample, with no budget of false alarms. The verdict above is Holdfast's.")


def _row(row: EvidentlyRow, model: str) -> dict[str, object]:
    return {
        "Metric": row.metric,
        "Column": "(the whole window)" if row.subject == model else row.subject,
        "Value": row.value,
        "Threshold": row.threshold,
        "Fired": row.fired,
        "Window": times.window(row.starts, row.ends),
        "What": row.sentence,
        "Status": row.status,
        "Monitor": row.monitor,
    }


def _report(drift: DriftHistory, window: Window) -> None:
    report = drift.report_of(window.start)
    if report is None:
        st.caption("An Evidently report is made for every alert; none has been asked for yet.")
    elif report.state != "ready":
        span = times.window(report.starts, report.ends)
        st.caption(f"The Evidently report of {span} is {report.state}. {states.plain(report.sentence)}")
    else:
        st.link_button("Open the Evidently report", f"/reports/{report.id}", icon=":material/open_in_new:")
        span = times.window(report.starts, report.ends)
        st.caption(f"Of {span}. Its tests are conventional ones; the verdict here is Holdfast's.")
        if st.toggle("Show it here", key="evidently", bind="query-params"):
            st.iframe(f"/reports/{report.id}", height=900)


def _order(model: str, window: Window) -> None:
    """A report of the newest window, on demand. Whoever may not order one reads why."""
    why = _refusal()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        preset = st.selectbox("A report about", list(ABOUT), format_func=ABOUT.__getitem__, key="preset", width=200)
        st.button(
            "Make a report", key="order-report", on_click=_ordered, args=(model, window, preset), disabled=bool(why),
            help=why or f"Of {times.window(window.start, window.end)}; the workers make it in some seconds.",
        )  # fmt: skip


def _refusal() -> str:
    try:
        authorize(auth.current_actor(active=False) or Actor(id="", name="nobody"), Action.ORDER_REPORT)
    except NotAllowed as error:
        return str(error)
    return ""


def _ordered(model: str, window: Window, preset: Preset) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        report = order_report(
            session, model_named(session, model), window=window, preset=preset, by=actor, now=now
        )  # fmt: skip
        if report.state == "ready":
            return "This report is made already."
        return f"The report about {ABOUT[preset]} is queued; it will be linked here."

    actions.perform(act)
