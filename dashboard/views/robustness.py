"""What does it take to break it?"""

import pandas as pd
import streamlit as st

from dashboard import actions, charts, charts_robustness, controls, queries, states, times
from monitor.db.read_robustness import CampaignView, RobustnessHistory


def _compared(history: RobustnessHistory) -> list[CampaignView]:
    return [campaign for campaign in (history.newest, history.candidate) if campaign is not None]


def _levels(campaign: CampaignView) -> pd.DataFrame:
    """Levels with their budgets in raw units: what the numbers mean to the person who owns the data."""
    table = pd.DataFrame(
        [
            {
                "Level": level.level + (" (beyond reality)" if level.beyond_reality else ""),
                "An attacker may move": "; ".join(level.budget) or "nothing at this level",
                "Robust AUC": level.robust_auc,
                "Attacked": f"{level.attacked:.3f} [{level.low:.3f}, {level.high:.3f}]",
                "Certified": level.certified,
                "Worst recall": level.worst_recall,
                "Best constant": level.constant,
            }
            for level in campaign.levels
        ]
    )
    return table.dropna(axis="columns", how="all")


def _flags(campaign: CampaignView) -> None:
    if not campaign.flags:
        st.markdown(":material/verified: The attack's self-audit raised no flag.")
    for name, sentence in campaign.flags:
        st.warning(f"**{name.replace('_', ' ')}** — {sentence}", icon=":material/flag:")


history = queries.robustness_history(controls.pick_model())
newest = history.newest
if newest is None:
    states.unfinished(
        history.headline,
        hint="A stress test needs the model itself: `holdfast model attach "
        f"{history.model} model.joblib --convert`, or `--factory net:build --weights w.safetensors`.",
    )

st.title(history.headline)
actions.show_notice()
took = f", {newest.seconds:.1f} s" if newest.seconds is not None else ""
span = times.window(newest.starts, newest.ends)
st.caption(f"{newest.plan.capitalize()} campaign on {newest.version}, n = {newest.rows:,} rows of {span}{took}")
if history.candidate is not None:
    st.markdown(f"Compared with the candidate **{history.candidate.version}**, on {history.candidate.rows:,} rows.")
st.plotly_chart(charts_robustness.accuracy_by_level(_compared(history)), config=charts.QUIET, key="levels")
if any(level.certified is not None for level in newest.levels):
    st.caption(
        "Certified ≤ true ≤ attacked: no attack within the budget can go below the dashed line, and the best one that "
        "was found goes down to the squares (95 % interval)."
    )
else:
    st.caption("Squares: the best attack that was found (95 % interval). This model has no certificate below them.")
st.caption("Robust AUC is the AUC of worst-case scores. Compare with the best constant predictor: no attack moves it.")
st.dataframe(
    _levels(newest),
    hide_index=True,
    column_config={
        "Level": st.column_config.TextColumn(pinned=True),
        "An attacker may move": st.column_config.TextColumn(width=320),
        **{
            column: st.column_config.NumberColumn(format="%.3f")
            for column in ("Certified", "Robust AUC", "Worst recall", "Best constant")
        },
    },
)
gating = newest.level(history.level)
if gating is not None and gating.budget:
    st.caption(f"At {gating.level}, which alerts and gates read, an attacker may move {', '.join(gating.budget)}.")
_flags(newest)

if not newest.noise.empty:
    st.subheader("Under noise and faults", divider="gray")
    mean = "" if newest.corrupted_auc is None else f"Mean AUC over all cells {newest.corrupted_auc:.3f}. "
    st.plotly_chart(charts_robustness.noise_grid(newest), config=charts.QUIET, key="noise")
    st.caption(f"{mean}The colour is the loss against clean rows; the worst family is on top.")

st.subheader("How it went", divider="gray")
if len(history.ticks) > 1:
    st.plotly_chart(charts_robustness.tick_history(history.ticks, history.level), config=charts.QUIET, key="ticks")
    st.caption(f"Each point is a campaign; {history.level} is the level that alerts and gates read. UTC on hover.")
else:
    st.caption("One campaign so far. The next comes with the stress monitor's next window.")
