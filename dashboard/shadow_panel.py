"""The part of the Retraining view that shows a candidate's shadow; one line there: `shadow_panel.show(page.id)`."""

import streamlit as st

from dashboard import charts, queries, states, times
from dashboard.charts_shadow import difference
from monitor.db.read_shadow import ShadowPage

_ICONS = {
    "not_worse": ":material/check_circle:",
    "worse": ":material/cancel:",
    "failed": ":material/cancel:",
    "undecided": ":material/help:",
    None: ":material/hourglass_top:",
}


def show(proposal_id: int) -> None:
    """Champion and candidate on the same live traces; nothing where the proposal has no shadow."""
    page = queries.shadow_page(proposal_id)
    if page is None:
        return
    st.subheader(f"Shadow: {_state(page)}", divider="gray")
    st.markdown(f"{_ICONS.get(page.verdict, _ICONS[None])} {states.plain(page.headline)}")
    left, middle, right = st.columns(3)
    left.metric("Labelled rows", f"{page.rows:,}", help=f"from {times.utc(page.since)} to {times.utc(page.ends)}")
    middle.metric("Decisions changed", f"{page.share_changed:.1%}", help=f"{page.changed:,} of {page.decisions:,}")
    right.metric(
        "Mean loss against the champion", f"{page.difference:+.4f}" if page.rows else "no label yet", delta_color="off",
        help=f"{page.loss}; [{page.low:+.4f}, {page.high:+.4f}] holds at every moment at once",
    )  # fmt: skip
    if page.rows:
        st.plotly_chart(difference(page), config=charts.QUIET, key="shadow-difference")
    if page.examples:
        with st.expander(f"Traces whose decision changes ({len(page.examples)} of {page.changed:,})"):
            st.text("\n".join(page.examples))


def _state(page: ShadowPage) -> str:
    if page.state != "running":
        return (page.verdict or "ended").replace("_", " ")
    return f"running until {times.utc(page.ends)}"
