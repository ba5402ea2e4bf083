"""The Streamlit script: nobody sees anything before a session is found; then one view runs."""

import logging
from pathlib import Path

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from dashboard import auth, states
from monitor.errors import HoldfastError

VIEWS = Path(__file__).parent / "views"
STYLE = Path(__file__).with_name("style.css")
PAGES = {
    "overview": ("Overview", ":material/home:"),
    "model": ("Model", ":material/timeline:"),
    "drift": ("Drift", ":material/stacked_line_chart:"),
    "robustness": ("Robustness", ":material/shield:"),
    "alerts": ("Alerts", ":material/notifications:"),
    "retraining": ("Retraining", ":material/model_training:"),
    "intake": ("Intake", ":material/input:"),
    "registry": ("Registry", ":material/inventory_2:"),
    "audit": ("Audit", ":material/history:"),
    "settings": ("Settings", ":material/settings:"),
}


def main() -> None:
    st.set_page_config(page_title="Holdfast", page_icon="⚓", layout="wide")
    st.html(STYLE)
    actor = auth.current_actor()
    views = [
        st.Page(VIEWS / f"{name}.py", title=title, icon=icon, default=name == "overview")
        for name, (title, icon) in PAGES.items()
    ]
    chosen = st.navigation(views, position="hidden" if actor is None else "sidebar")
    if actor is None:
        states.sign_in()
        return
    with st.sidebar:
        st.caption(f"{actor.name} · {', '.join(sorted(actor.roles)) or 'no role'}")
        st.button("Sign out", on_click=auth.sign_out, type="tertiary", icon=":material/logout:")
    chosen.run()


try:
    main()
except SQLAlchemyError as error:
    logging.getLogger(__name__).error("a view could not be read: %s", error)
    states.failed(
        "The database does not answer.", hint="It may be restarting: reload in a moment, or run `holdfast doctor`."
    )
except HoldfastError as error:
    states.failed(str(error))
