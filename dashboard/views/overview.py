"""Which of my models need me now?"""

import pandas as pd
import streamlit as st

from dashboard import actions, palette, queries, states, times
from monitor.db.read_overview import Figure, OverviewRow

CARDS = 5


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "not yet measured"
    interval = f" [{figure.low:.3f}, {figure.high:.3f}]" if figure.low is not None and figure.high is not None else ""
    return f"{figure.value:.3f}{interval}"


def _check(row: OverviewRow, kind: str) -> str:
    check = row.checks.get(kind)
    if check is None:
        return "not checked"
    if check.status != "ok":
        return palette.words(check.status)
    if not check.fired:
        return "quiet" if kind == "drift" else "ok"
    return f"{len(check.fired)} of {check.checked} moved" if kind == "drift" else ", ".join(check.fired[:3])


def _card(row: OverviewRow) -> None:
    """One model that needs somebody: why, and the way there."""
    with st.container(border=True):
        title, button = st.columns([4, 1], vertical_alignment="center")
        title.markdown(f"**{row.name}** {row.version or ''} — {row.why}")
        st.caption(row.sentence)
        if row.awaits:
            target, label, query = "retraining", "Review", {"model": row.name, "proposal": str(row.proposal_id)}
        elif row.pages or row.tickets:
            target, label, query = "alerts", "See the alert", {"model": row.name}
        else:
            target, label, query = "model", "See why", {"model": row.name}
        if button.button(label, key=f"need-{row.name}", type="primary", width="stretch"):
            st.switch_page(f"views/{target}.py", query_params=query)


def _table(rows: tuple[OverviewRow, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Model": row.name,
                "Verdict": palette.words(row.verdict),
                "Performance": _figure(row.performance),
                "Trend": list(row.spark),
                "Drift": _check(row, "drift"),
                "Robust": row.robustness.value if row.robustness else None,
                "Data": _check(row, "quality"),
                "Alerts": row.pages + row.tickets,
                "Data until": row.watermark,
                "Serving": row.version or "none yet",
            }
            for row in rows
        ]
    )


overview = queries.overview()
if not overview.rows:
    states.unfinished(
        overview.headline,
        hint="Watch a file of predictions: `holdfast watch 'logs/*.parquet' --model NAME`. "
        "Or see what Holdfast would have told you about your own history: "
        "`holdfast backtest FILE --time COL --score COL`.",
    )

st.title(overview.headline)
actions.show_notice()
for needing in overview.needing[:CARDS]:
    _card(needing)

st.subheader("All models" if len(overview.rows) > 1 else "The model", divider="gray")
picked = st.dataframe(
    _table(overview.rows),
    hide_index=True,
    on_select="rerun",
    selection_mode="single-row",
    key="models",
    column_config={
        "Model": st.column_config.TextColumn(pinned=True),
        "Performance": st.column_config.TextColumn(
            help="Realised by the version that serves, on labels that have come, 95 % interval"
        ),
        "Trend": st.column_config.LineChartColumn(help="The realised metric of the last 30 windows", width=90),
        "Robust": st.column_config.NumberColumn(
            help="Robust AUC, of several classes robust accuracy, of the newest stress test", format="%.3f"
        ),
        "Data": st.column_config.TextColumn(help="Faults in the newest window's data"),
        "Alerts": st.column_config.NumberColumn(help="Pages and tickets that are open", width=60),
        "Data until": st.column_config.DatetimeColumn(format="D MMM, HH:mm", timezone=times.zone_name()),
    },
)
st.caption(
    "Sorted by need. Intervals are 95 %. Performance is realised, on labels that have come; drift and data quality are "
    f"those of the newest window. Times in {times.zone_name()}. Select a row to open the model."
)
if picked.selection.rows:
    st.switch_page("views/model.py", query_params={"model": overview.rows[picked.selection.rows[0]].name})
