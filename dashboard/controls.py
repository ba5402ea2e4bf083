"""What a person chooses on several views. A choice lives in the URL, so a link leads back to the same page."""

import streamlit as st

from dashboard import queries, states

SPANS = {"30 windows": 30, "90 windows": 90, "1 year": 366}
DEFAULT_SPAN = "90 windows"


def pick_model() -> str:
    """The model that the page is about: from the URL, else the last one looked at, else the neediest."""
    names = [row.name for row in queries.overview().rows]
    if not names:
        states.unfinished(
            "No model is monitored yet.",
            hint="Try your own file: `holdfast backtest FILE --time COL --score COL`, then "
            "`holdfast watch 'logs/*.parquet' --model NAME`.",
        )
    asked = st.query_params.get("model") or st.session_state.get("last_model")
    if asked is not None and asked not in names:
        states.failed(f"There is no model “{asked}”; there are: {', '.join(names)}.")
        asked = None
    chosen = names[0] if asked is None else asked
    if len(names) > 1:
        chosen = st.selectbox("Model", names, index=names.index(chosen), width=260) or chosen
    else:
        st.caption(f"Model {chosen}")
    st.session_state["last_model"] = st.query_params["model"] = chosen
    return str(chosen)


def span() -> int:
    """How many of the newest windows are shown; `pick_span` draws the choice further down the page."""
    return SPANS.get(st.session_state.get("span") or st.query_params.get("span", DEFAULT_SPAN), SPANS[DEFAULT_SPAN])


def pick_span() -> None:
    st.segmented_control(
        "Shown", list(SPANS), default=DEFAULT_SPAN, key="span", bind="query-params", label_visibility="collapsed"
    )  # fmt: skip
