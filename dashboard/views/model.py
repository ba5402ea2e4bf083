"""Is this model healthy, since when not, and why?"""

import pandas as pd
import streamlit as st

from dashboard import actions, charts, controls, palette, queries, states, times
from monitor.db.read_model import Judged, ModelHistory


def _facts(history: ModelHistory, last: Judged) -> None:
    """The newest figures, each with n and interval."""
    performance, champion, version = st.columns(3)
    metric, serving = history.realised, history.champion
    if metric is None:
        performance.metric(
            "Performance", "no labels yet", help=f"Of windows that {serving.name} scored" if serving else ""
        )
    else:
        change = metric.value - history.reference.value if history.reference else None
        performance.metric(
            f"{metric.name} of {serving.name if serving else 'it'}, newest labelled window",
            f"{metric.value:.3f}",
            delta=None if change is None else f"{change:+.3f} against the reference",
            delta_color="off",
            help=f"95 % interval [{metric.low}, {metric.high}], n = {metric.n:,}",
        )
    limit = "none set" if history.limit is None else f"{history.limit:.3f}"
    champion.metric("Limit", limit, help="The whole interval must lie beyond it before a verdict is harmful")
    version.metric("Champion", serving.name if serving else "none", help=f"Risk tier {history.tier}")
    if serving and serving.promoted_at and not serving.confirmed_at:
        version.caption(f"{serving.name} is promoted; serving still reports {last.version}")


def _ladder(history: ModelHistory) -> None:
    """Which rungs stand, and the command for the next one."""
    st.subheader("How far up the ladder", divider="gray")
    for rung, column in zip(history.rungs, st.columns(len(history.rungs)), strict=True):
        icon = ":material/check_circle:" if rung.stands else ":material/radio_button_unchecked:"
        column.markdown(f"{icon} **{rung.number} {rung.name}**  \n{rung.gives}")
    if history.next_rung:
        st.markdown(f"Next, for {history.next_rung.gives}:")
        st.code(history.next_rung.command, language=None)


def _windows(history: ModelHistory) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Window": window.starts,
                "Verdict": palette.words(window.verdict) + (" (revised)" if window.revision else ""),
                "Why": window.sentence,
                "Metric": window.metric.value if window.metric else None,
                "Rows": window.rows,
                "Version": window.version,
            }
            for window in reversed(history.windows)
        ]
    )


name = controls.pick_model()
history = queries.model_history(name, last=controls.span())
if not history.windows:
    states.empty(
        history.headline,
        hint="Verdicts come with the first whole window after a reference of 14 windows. Is anything coming in? "
        f"`holdfast watch 'logs/*.parquet' --model {name}`",
    )
    _ladder(history)
    st.stop()

last = history.windows[-1]
st.title(history.headline)
actions.show_notice()
st.markdown(f"{palette.VERDICT_ICONS.get(last.verdict, '')} {last.sentence} **{last.advice}**")
_facts(history, last)
controls.pick_span()
st.plotly_chart(charts.timeline(history), config=charts.QUIET, key="timeline")
st.caption(
    f"{len(history.windows)} windows, the newest {times.window(last.starts, last.ends)}. Bars are verdicts; points are "
    "the realised metric on labels that have come, with its 95 % interval. Dotted lines: alerts, and where a new "
    f"version began to serve. Times in {times.zone_name()}."
)
for check in history.checks:
    states.field(f"Newest {check.kind} check{history.of_whom(check)}", check.words)
    if check.beside:
        st.caption(" · ".join(f"{states.plain(name)} {value:.3f}" for name, value in check.beside))
_ladder(history)
with st.expander(f"All {len(history.windows)} windows"):
    st.dataframe(
        _windows(history),
        hide_index=True,
        column_config={
            "Window": st.column_config.DatetimeColumn(format="D MMM YYYY, HH:mm", timezone=times.zone_name()),
            "Why": st.column_config.TextColumn(width="large"),
            "Metric": st.column_config.NumberColumn(format="%.3f"),
        },
    )
