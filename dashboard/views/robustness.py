"""What does it take to break it?"""

import pandas as pd
import streamlit as st

from dashboard import actions, charts, charts_robustness, controls, fragility, queries, states, stressing, times
from monitor.acts.tabular import WITHOUT_ARTEFACT
from monitor.db.read_campaign import CampaignView
from monitor.db.read_robustness import RobustnessHistory

_FIGURES = ("Certified", "Robust AUC", "Worst recall", "Best constant")


def _pick(history: RobustnessHistory, newest: CampaignView) -> CampaignView:
    """The newest campaign of another kind, on request."""
    by_purpose = {campaign.purpose: campaign for campaign in history.campaigns}
    if len(by_purpose) < 2:
        return newest
    names = {purpose: f"{one.words}, {times.moment(one.made_at)}" for purpose, one in by_purpose.items()}
    asked = st.query_params.get("campaign", newest.purpose)
    first = list(names).index(asked if asked in names else newest.purpose)
    chosen = st.selectbox("Campaign", list(names), index=first, format_func=names.__getitem__, width=340)
    if chosen != newest.purpose:
        st.query_params["campaign"] = chosen
    else:  # so that the next newest one is shown when it comes
        st.query_params.pop("campaign", None)
    return by_purpose[chosen]


def _head(shown: CampaignView) -> None:
    took = f", {shown.seconds:.1f} s" if shown.seconds is not None else ""
    which = f"{shown.on} " if shown.on else ""
    span = times.window(shown.starts, shown.ends)
    st.caption(f"{shown.plan.capitalize()} campaign on {shown.version}, n = {shown.rows:,} {which}rows of {span}{took}")
    if shown.note:
        st.caption(f":material/info: {states.plain(shown.note)}.")


def _flags(campaign: CampaignView) -> None:
    if not campaign.flags:
        st.markdown(":material/verified: The attack's self-audit raised no flag.")
    for name, sentence in campaign.flags:
        st.warning(f"**{name.replace('_', ' ')}** — {sentence}", icon=":material/flag:")


def _band(shown: CampaignView, candidate: CampaignView | None) -> None:
    """The picture, in raw units of a chosen feature, and what its lines mean."""
    compared = [shown, *([candidate] if candidate is not None else [])]
    feature = None
    if shown.movable:
        feature = st.selectbox("How far an attacker may move", list(shown.movable), key="feature", width=260)
    st.plotly_chart(charts_robustness.accuracy_by_level(compared, feature), config=charts.QUIET, key="levels")
    if any(level.certified is not None for level in shown.levels):
        rows = max(level.certified_rows for level in shown.levels)
        on = f" The certificate is of {rows:,} of the rows." if rows and rows < shown.rows else ""
        st.caption(
            "Certified ≤ true ≤ attacked: no attack within the budget can go below the dashed line, and the best one "
            f"that was found goes down to the squares (95 % interval).{on}"
        )
    else:
        st.caption("Squares: the best attack that was found (95 % interval). This model has no certificate below them.")
    by_auc = any(level.robust_auc is not None for level in shown.levels)
    told = "Robust AUC is the AUC of worst-case scores. " if by_auc else ""
    st.caption(f"{told}Compare with the best constant predictor: no attack moves it.")


def _levels(shown: CampaignView, gate: str) -> None:
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
            for level in shown.levels
        ]
    )
    formats = {column: st.column_config.NumberColumn(format="%.3f") for column in _FIGURES}
    st.dataframe(
        table.dropna(axis="columns", how="all"),
        hide_index=True,
        column_config={
            "Level": st.column_config.TextColumn(pinned=True),
            "An attacker may move": st.column_config.TextColumn(width=320),
            **formats,
        },
    )
    at = shown.level(gate)
    if at is not None and at.budget:
        st.caption(f"At {gate}, which alerts and gates read, an attacker may move {', '.join(at.budget)}.")
    smallest = _smallest(shown)
    if smallest:
        st.caption(smallest)


def _smallest(shown: CampaignView) -> str:
    """How little is enough, in units of ε."""
    told = []
    if shown.half_broken is not None:
        told.append(f"Robust accuracy is halfway from clean to nothing at ε = {shown.half_broken:.3g}.")
    if shown.area is not None:
        told.append(f"On average over all budgets up to the widest it is {shown.area:.3f}.")
    if shown.minimum is not None:
        quantiles = (("one row in twenty", shown.minimum.q05), ("a quarter", shown.minimum.q25),
                     ("half", shown.minimum.median))  # fmt: skip
        known = ", ".join(f"{share} within {value:.3g}" for share, value in quantiles if value is not None)
        held = f"{shown.minimum.unbroken:.0%} hold at every budget"
        told.append(f"The smallest budget that breaks a row: {known + '; ' if known else ''}{held}.")
    return " ".join(told)


def _history(history: RobustnessHistory) -> None:
    st.subheader("How it went", divider="gray")
    if len(history.ticks) > 1:
        st.plotly_chart(charts_robustness.tick_history(history.ticks, history.level), config=charts.QUIET, key="ticks")
        st.caption(f"Each point is a campaign; {history.level} is the level that alerts and gates read. UTC on hover.")
    else:
        st.caption("One campaign so far. The next comes with the stress monitor's next window.")


def _order(history: RobustnessHistory) -> None:
    st.subheader("Stress it now", divider="gray")
    stressing.show_order(history.model)


history = queries.robustness_history(controls.pick_model())
if history.newest is None:
    st.title(history.headline)
    actions.show_notice()
    if not history.tabular:
        st.markdown(f"{states.plain(history.model)} has vectors, {WITHOUT_ARTEFACT}.")
        st.stop()
    st.markdown(
        "A stress test needs the model itself: `holdfast model attach "
        f"{history.model} model.joblib --convert`, or `--factory net:build --weights w.safetensors`."
    )
    if not stressing.show_running(history.model):
        stressing.show_order(history.model)
    st.stop()

title = st.empty()
shown = _pick(history, history.newest)
title.title(history.headline_of(shown))
actions.show_notice(toast=True)
is_running = stressing.show_running(history.model)
_head(shown)
if history.candidate is not None:
    st.markdown(f"Compared with the candidate **{history.candidate.version}**, on {history.candidate.rows:,} rows.")
_flags(shown)
_band(shown, history.candidate)
_levels(shown, history.level)
fragility.breaks(shown)
fragility.today(history, shown)
fragility.noise(shown)
_history(history)
if not is_running:
    _order(history)
