"""How a page looks when there is nothing to show, something failed, or somebody may not."""

from collections.abc import Sequence
from typing import NoReturn

import streamlit as st

from dashboard import times
from monitor.db.read_alerts import Event

_MARKDOWN = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>#|$:~"})


def empty(sentence: str, *, hint: str = "") -> None:
    """Nothing is there yet; the hint says what would bring it."""
    st.title(sentence)
    if hint:
        st.markdown(hint)


def failed(sentence: str, *, hint: str = "") -> None:
    """Something went wrong; the sentence says what, never a traceback."""
    st.error(sentence, icon=":material/error:")
    if hint:
        st.markdown(hint)


def no_such(what: str, asked: str) -> None:
    """A link led to something that is not there: say so above what is shown instead."""
    if asked:
        st.warning(
            f"There is no {what} {plain(asked[:40])}; here is the one that matters most.", icon=":material/link_off:"
        )


def unfinished(sentence: str, *, hint: str = "") -> NoReturn:
    """An empty page, and nothing after it."""
    empty(sentence, hint=hint)
    st.stop()


def not_allowed(sentence: str) -> None:
    """Somebody else may do this."""
    st.caption(f":material/lock: {sentence}")


def forbidden(title: str, sentence: str) -> NoReturn:
    """A whole page that is somebody else's, and nothing after it."""
    st.title(title)
    not_allowed(sentence)
    st.stop()


def sign_in() -> None:
    """The page of everyone without a session."""
    st.title("Sign in to Holdfast")
    st.markdown("A link signs you in once. On the machine that runs Holdfast, ask for one and open it here:")
    st.code("holdfast link", language=None)
    st.caption("Sessions end after 30 minutes without a click and after 8 hours. An admin can revoke them at any time.")


def plain(text: str) -> str:
    """Text that came from data, so that Markdown shows it as it is."""
    return " ".join(text.split()).translate(_MARKDOWN)


def field(name: str, text: str) -> None:
    """A name in small capitals and what it says."""
    st.markdown(f"**{name.upper()}**  \n{plain(text)}")


def timeline(events: Sequence[Event]) -> None:
    """What happened, in order, in the viewer's zone with UTC on hover."""
    if not events:
        st.caption("Nothing is recorded yet.")
    for event in events:
        note = f": {plain(event.note)}" if event.note else ""
        said = f"{times.moment(event.at)} · **{plain(event.who)}** {plain(event.what)}{note}"
        st.markdown(said, help=times.utc(event.at))
