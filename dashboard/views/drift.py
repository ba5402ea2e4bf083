"""What moved?"""

import pandas as pd
import streamlit as st

from dashboard import actions, charts, controls, declaring, evidently_panel, queries, states, times
from monitor.db.read_drift import DriftHistory

HELD = "Squares: the detector held the feature responsible, within the false-alarm budget."


def _table(drift: DriftHistory) -> pd.DataFrame:
    """The newest window, what moved first; a column that says nothing of any feature is left out."""
    newest = drift.newest().set_index("feature").loc[drift.features].reset_index()
    table = pd.DataFrame(
        {
            "Feature": newest["feature"],
            "Moved": newest["fired"],
            "What": newest["sentence"],
            "Distance, σ": newest["magnitude"],
            "Effect, σ": [
                f"{effect:.3f} [{low:.3f}, {high:.3f}]" if effect == effect else None
                for effect, low, high in zip(newest["effect"], newest["low"], newest["high"], strict=True)
            ],
            "Threshold": newest["threshold"],
            "p-value": newest["p_value"],
            # as text: a column of numbers does not draw values beyond 2^53, and those that fire are
            "e-value": [f"{e_value:.2g}" if e_value == e_value else None for e_value in newest["e_value"]],
            "Status": newest["status"].where(newest["status"] != "ok"),
        }
    )
    return table.dropna(axis="columns", how="all")


def _one_feature(drift: DriftHistory, feature: str) -> None:
    """The feature's values then and now, and how its effect went."""
    path = drift.of(feature)
    last = path.iloc[-1]
    st.subheader(last["sentence"] or f"{feature}: {last['status']}", divider="gray")
    if feature in drift.of_vector:
        what = "its length" if feature.endswith(".norm") else "how far it reaches along one of its fixed directions"
        st.caption(f"{states.plain(feature)} stands for the vector {states.plain(drift.of_vector[feature])}: {what}.")
    left, right = st.columns(2)
    starts, ends = last["starts"].to_pydatetime(), last["ends"].to_pydatetime()
    histogram = queries.histogram(drift.model, feature, starts, ends)
    with left:
        if histogram is None:
            st.info("The counts of this window are not kept any more, or there is no reference yet.")
        else:
            st.plotly_chart(charts.reference_against_current(histogram), config=charts.QUIET, key="histogram")
            until = f" (until {histogram.reference_ends:%-d %b %Y})" if histogram.reference_ends else ""
            st.caption(
                f"Counts of every row, sampled or not, over bins frozen with the reference{until}; "
                f"window {times.window(starts, ends)}."
            )
    with right:
        if feature in drift.by_level:
            st.plotly_chart(charts.distance_path(path), config=charts.QUIET, key="path")
            st.caption("How far its levels moved together (√PSI without its sampling bias). " + HELD)
        else:
            st.plotly_chart(charts.effect_path(path), config=charts.QUIET, key="path")
            st.caption(
                "How far its mean moved, with the 95 % interval; beyond the dashed line this alone fires, and so can a "
                "change of spread or shape. " + HELD
            )


name = controls.pick_model()
drift = queries.drift_history(name, last=controls.span())
if drift.is_empty():
    states.unfinished(
        drift.headline,
        hint="Drift is measured once 14 reference windows have come; until then Holdfast is learning what normal is.",
    )

st.title(drift.headline)
actions.show_notice(toast=True)
if drift.cells.empty:
    st.info(str(drift.runs.iloc[-1]["sentence"]))
    st.stop()
controls.pick_span()
st.plotly_chart(charts.drift_heatmap(drift.cells, drift.features), config=charts.QUIET, key="heatmap")
st.caption(
    "How far each feature moved in each window, in σ of the reference (√PSI without its sampling bias). White dots: "
    f"the detector held the feature responsible. Times in {times.zone_name()}."
)
asked = st.query_params.get("feature")
feature = st.selectbox(
    "Feature", drift.features, index=drift.features.index(asked) if asked in drift.features else 0, width=320
)
st.query_params["feature"] = feature
_one_feature(drift, feature)

st.subheader("The newest window, feature by feature", divider="gray")
st.dataframe(
    _table(drift),
    hide_index=True,
    column_config={
        "Feature": st.column_config.TextColumn(pinned=True),
        "What": st.column_config.TextColumn(width=330),
        "Effect, σ": st.column_config.TextColumn(
            help="Of the mean, or of the level that moved most, with 95 % interval"
        ),
        **{column: st.column_config.NumberColumn(format="%.3f") for column in ("Distance, σ", "Threshold")},
        "p-value": st.column_config.NumberColumn(format="%.2g"),
    },
)
evidently_panel.show(drift)
declaring.show(name, feature)
