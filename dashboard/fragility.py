"""Where a model gives way, on the Robustness view: features, slices, single attacks, noise, and today against then."""

import pandas as pd
import streamlit as st

from dashboard import charts, charts_robustness, states
from monitor.db.read_campaign import CampaignView
from monitor.db.read_robustness import RobustnessHistory
from monitor.robustness.wording import feature_sentence


def breaks(shown: CampaignView) -> None:
    """Features, slices and single attacks: where the model gives way."""
    if shown.features:
        st.subheader("What breaks it", divider="gray")
        st.plotly_chart(charts_robustness.fragile_features(shown), config=charts.QUIET, key="features")
        for found in [one for one in shown.features[:3] if one.repaired > 0]:
            sentence = feature_sentence(found)
            st.text(f"· {sentence[0].upper()}{sentence[1:]}.")
    if shown.slices:
        st.markdown("**Where it breaks most easily**")
        st.dataframe(_slices(shown), hide_index=True, column_config={
            "Flip rate": st.column_config.NumberColumn(format="percent"),
            "Left": st.column_config.NumberColumn(format="%.3f"),
        })  # fmt: skip
    if not shown.attacks.empty:
        with st.expander("What each attack found"):
            st.dataframe(_attacks(shown), hide_index=True, column_config={
                "Level": st.column_config.TextColumn(pinned=True),
                "Left": st.column_config.NumberColumn(format="%.3f"),
                "Seconds": st.column_config.NumberColumn(format="%.2f"),
            })  # fmt: skip
            st.caption(
                "Left: the accuracy (for values the error) that this attack left by itself. Alone: rows that it broke "
                "and no other did. Refused: rows that the independent check did not allow; they count as unbroken."
            )


def _slices(shown: CampaignView) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Rows that": found.slice,
                "Rows": found.rows,
                "Flip rate": found.flip_rate,
                "95 % interval": f"{found.interval[0]:.0%} to {found.interval[1]:.0%}",
                "Left": found.quality,
            }
            for found in shown.slices
        ]
    )


def _attacks(shown: CampaignView) -> pd.DataFrame:
    names = {
        "level": "Level", "name": "Attack", "quality": "Left", "alone": "Alone", "infeasible": "Refused",
        "gradient_rows": "Rows through a gradient", "queries": "Rows through the model", "seconds": "Seconds",
    }  # fmt: skip
    return shown.attacks.rename(columns=names)[list(names.values())]


def noise(shown: CampaignView) -> None:
    """One figure of the noise grid, and where the signal drowns."""
    if shown.noise.empty:
        return
    st.subheader("Under noise and faults", divider="gray")
    names = charts_robustness.noise_figures(shown)
    chosen = names[0]
    if len(names) > 1:
        chosen = st.segmented_control("Figure", names, default=chosen, key="noise-figure") or chosen
    st.plotly_chart(charts_robustness.noise_grid(shown, chosen), config=charts.QUIET, key="noise")
    mean = "" if shown.corrupted_auc is None else f"Mean AUC over all cells {shown.corrupted_auc:.3f}. "
    st.caption(f"{mean}The colour is the loss against clean rows; the worst family is on top.")
    losses = shown.snr_at_loss.items()
    known = [f"{name.strip(' %')} % at {value:.0f} dB" for name, value in losses if value is not None]
    if known:
        st.caption(f"As the signal drowns in noise, the AUC loses {', '.join(known)}.")


def today(history: RobustnessHistory, shown: CampaignView) -> None:
    """Is it more fragile than it was: on recent rows, row by row, and tick by tick."""
    told = []
    if history.recency is not None:
        told.append(history.recency.sentence)
    if shown.paired:
        told.append(_paired(shown))
    stream = history.stream
    if stream:
        share, before = 100 * stream["lost"], 100 * stream["registered"]
        evidence = f"{min(stream['evidence'], stream['needed']):,.1f} of the {stream['needed']:,}"
        word = "more fragile than at registration" if stream["alarm"] else "no more fragile than at registration"
        told.append(
            f"The last tick lost {share:.1f} % of its rows to the attack at {history.level}, {before:.1f} % at "
            f"registration; evidence {evidence} that an alarm asks for: {word}."
        )
    if told:
        st.subheader("More fragile today?", divider="gray")
    for sentence in told:
        st.markdown(states.plain(sentence))


def _paired(shown: CampaignView) -> str:
    paired = shown.paired or {}
    return (
        f"Against {paired['version']} on the same {paired['rows']:,} rows: {paired['newly']:,} newly lost at "
        f"{paired['level']}, {paired['no_longer']:,} no longer (McNemar, p = {paired['p_value']:.2g})."
    )
