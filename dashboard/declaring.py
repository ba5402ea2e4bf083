"""What people say about drift on the Drift and Alerts views: new normal, snooze, calendar, sensitivity."""

from collections.abc import Callable
from datetime import time, timedelta

import pandas as pd
import streamlit as st

from dashboard import auth, declarations, queries, states, times
from monitor.db.read_alerts import AlertLine, Snoozed
from monitor.db.read_declared import Declared, EventLine
from monitor.drift import FeatureOverride, Sensitivity
from monitor.errors import NotAllowed
from monitor.governance.roles import Action, authorize


def show(model: str, feature: str) -> None:
    """All of it for a model, with one of its features chosen."""
    st.subheader("What you know about it", divider="gray")
    found = queries.declared(model)
    names = ["New normal", "Snooze", "Calendar", "Sensitivity", "Segments"]
    normal, snooze, events, settings, segments = st.tabs(names, key="know", on_change="rerun", bind="query-params")
    with normal:
        _normal(found)
    with snooze:
        _snooze_feature(found, feature)
    with events:
        _calendar(found)
    with settings:
        _settings(found, feature)
    with segments:
        _segments(found)


def snooze_alert(line: AlertLine) -> None:
    """Beside an open alert: leave it in peace for a while, or end that."""
    if line.snoozed is not None:
        st.caption(_asleep(line.snoozed))
        st.button(
            "Wake",
            key="wake-alert",
            on_click=declarations.wake_alert,
            args=(line.id,),
            disabled=bool(_refusal(Action.ACKNOWLEDGE)),
        )
        return
    with st.popover("Snooze", icon=":material/snooze:"):
        _snooze_form(f"alert-{line.id}", "No message about this alert until then; once after it, if it still fires.",
                     lambda: declarations.snooze_alert(line.id))  # fmt: skip


def _asleep(snoozed: Snoozed) -> str:
    return (
        f":material/snooze: Snoozed until {times.moment(snoozed.until)} by {states.plain(snoozed.by)}: "
        f"{states.plain(snoozed.reason)}"
    )


def _normal(found: Declared) -> None:
    st.markdown(
        "**Is the drift the new normal?** Then say so: the bins stay, the proportions change, and the open drift alert "
        "is resolved. Windows with broken data or an expected event are left out."
    )
    st.caption(states.plain(queries.proposed_baseline(found.model)))
    if refused := _refusal(Action.ACCEPT_BASELINE):
        states.not_allowed(refused)
    else:
        with st.form("accept-baseline", border=False, clear_on_submit=True):
            st.number_input(
                "Newest windows (empty: as said above)", min_value=1, max_value=10_000, value=None, key="baseline-last",
                width=320,
            )  # fmt: skip
            st.text_input("Why is this normal now?", key="baseline-reason", max_chars=500)
            st.form_submit_button("Accept as the new baseline", on_click=declarations.accept, args=(found.model,))
    if found.baselines:
        st.dataframe(_baseline_table(found), hide_index=True)


def _baseline_table(found: Declared) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Version": [one.version for one in found.baselines],
            "From": [f"{one.starts:%-d %b %Y}" for one in found.baselines],
            "Until": [f"{one.ends:%-d %b %Y}" for one in found.baselines],
            "Windows": [one.windows for one in found.baselines],
            "Rows": [one.rows for one in found.baselines],
            "Accepted": [times.moment(one.accepted_at) for one in found.baselines],
            "In use": [one.active for one in found.baselines],
        }
    )


def _snooze_feature(found: Declared, feature: str) -> None:
    for name, snoozed in found.snoozed.items():
        left, right = st.columns([5, 1], vertical_alignment="center")
        left.markdown(f"**{states.plain(name)}**  \n{_asleep(snoozed)}")
        right.button("Wake", key=f"wake-{name}", on_click=declarations.wake_feature, args=(found.model, name))
    if feature in found.snoozed:
        return
    _snooze_form(
        f"feature-{feature}",
        f"No message about drift of {feature} alone until then; once after it, if it still drifts. Charts show it.",
        lambda: declarations.snooze(found.model, feature),
    )


def _snooze_form(key: str, words: str, act: Callable[[], None]) -> None:
    if refused := _refusal(Action.ACKNOWLEDGE):
        states.not_allowed(refused)
        return
    with st.form(f"snooze-{key}", border=False, clear_on_submit=True):
        st.caption(states.plain(words))
        st.selectbox("For", list(declarations.HOW_LONG), index=1, key="snooze-for", width=200)
        st.text_input("Why?", key="snooze-reason", max_chars=500)
        st.form_submit_button("Snooze", on_click=act)


def _calendar(found: Declared) -> None:
    st.markdown("**What is expected?** Windows of these times are shown and not judged, and are not learned from.")
    if found.events:
        st.dataframe(_event_table(found), hide_index=True)
    else:
        st.caption("Nothing is expected yet. Whole calendars come with `holdfast calendar import FILE.ics`.")
    if refused := _refusal(Action.CONFIGURE):
        states.not_allowed(refused)
        return
    if found.events:
        names = {event.id: f"{event.name}, {event.starts:%-d %b %Y}" for event in found.events}
        with st.form("remove-event", border=False):
            st.selectbox(
                "Not expected any more", list(names), format_func=lambda i: names[i], key="event-gone", width=320
            )
            st.form_submit_button("Remove", on_click=declarations.remove_event)
    with st.form("add-event", border=False, clear_on_submit=True):
        st.text_input("What is it?", key="event-name", max_chars=120, placeholder="Black Friday")
        st.date_input("First and last day (UTC)", value=[], key="event-days", width=320)
        st.toggle("Every year", key="event-yearly")
        st.toggle("Of every model", key="event-everywhere")
        st.form_submit_button("Expect it", on_click=declarations.add_event, args=(found.model,))


def _event_table(found: Declared) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Event": [event.name for event in found.events],
            "When": [_when(event) for event in found.events],
            "Every year": [event.yearly for event in found.events],
            "Of": ["all models" if event.everywhere else found.model for event in found.events],
            "By": [event.author for event in found.events],
        }
    )


def _when(event: EventLine) -> str:
    """Days as days, the last one included; moments as moments."""
    whole = event.starts.time() == event.ends.time() == time()
    last = event.ends - timedelta(days=1)
    if not whole:
        return f"{event.starts:%-d %b %Y %H:%M} to {event.ends:%-d %b %Y %H:%M} UTC"
    return f"{event.starts:%-d %b %Y}" + (f" to {last:%-d %b %Y}" if last > event.starts else "")


def _settings(found: Declared, feature: str) -> None:
    settings, override = found.settings, _override(found, feature)
    st.markdown(
        "**How much may it cost to be told?** It holds from the next window on; what was judged stays as it is."
    )
    if found.settings.overrides:
        st.dataframe(_override_table(found), hide_index=True)
    if refused := _refusal(Action.CONFIGURE):
        states.not_allowed(refused)
        return
    left, right = st.columns(2)
    with left, st.form("detection"):
        st.markdown("The model")
        st.number_input("False incidents …", 0.01, 1_000.0, float(settings.incidents), key="incidents")
        st.number_input("… in so many days", 1.0, 10_000.0, float(settings.per_days), key="per-days")
        words = list(map(str, Sensitivity))
        st.selectbox("Sensitivity", words, index=words.index(settings.sensitivity), key="sensitivity",
                     help="Shifts within .02, .05 or .15 σ are not worth a ticket.")  # fmt: skip
        st.form_submit_button("Save", on_click=declarations.configure, args=(found.model,))
    with right, st.form(f"override-{feature}"):
        st.markdown(f"The feature {states.plain(feature)}")
        st.number_input("Tolerated change, σ (empty: as the model)", 0.0, 10.0, override.tolerance,
                        key=f"tolerance-{feature}")  # fmt: skip
        st.number_input("Weight in the budget", 0.0, 1_000.0, float(override.weight), key=f"weight-{feature}",
                        help="0 mutes it: shown, and never alarms.")  # fmt: skip
        st.form_submit_button("Save", on_click=declarations.configure_feature, args=(found.model, feature))


def _segments(found: Declared) -> None:
    st.markdown("**Does one part of the traffic drift by itself?** A segment has a drift stream of its own.")
    st.caption(
        f"The false-alarm budget is shared equally by {1 + len(found.segments)} streams: all rows"
        + "".join(f", {states.plain(one.name)}" for one in found.segments)
        + "."
    )
    if found.segments:
        st.dataframe(_segment_table(found), hide_index=True)
    if refused := _refusal(Action.CONFIGURE):
        states.not_allowed(refused)
        return
    with st.form("add-segment", border=False, clear_on_submit=True):
        st.text_input("Segment", key="segment-name", max_chars=300, placeholder="channel=app", width=320)
        st.form_submit_button("Watch it by itself", on_click=declarations.add_segment, args=(found.model,))
    if found.segments:
        with st.form("remove-segment", border=False):
            st.selectbox("No longer by itself", [one.name for one in found.segments], key="segment-gone", width=320)
            st.form_submit_button("Remove", on_click=declarations.remove_segment, args=(found.model,))


def _segment_table(found: Declared) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Segment": [one.name for one in found.segments],
            "Newest window": [one.state or "not checked yet" for one in found.segments],
            "What": [one.sentence for one in found.segments],
            "Overrides": [", ".join(one.overrides) for one in found.segments],
        }
    )


def _override(found: Declared, feature: str) -> FeatureOverride:
    return FeatureOverride.from_document(found.settings.overrides.get(feature, {}))


def _override_table(found: Declared) -> pd.DataFrame:
    declared = {name: FeatureOverride.from_document(one) for name, one in found.settings.overrides.items()}
    return pd.DataFrame(
        {
            "Feature": list(declared),
            "Tolerated, σ": [one.tolerance for one in declared.values()],
            "Weight": [one.weight for one in declared.values()],
            "Muted": [one.is_muted for one in declared.values()],
        }
    )


def _refusal(action: Action) -> str:
    """Why this person may not; empty when they may. The act itself asks again."""
    actor = auth.current_actor()
    try:
        if actor is not None:
            authorize(actor, action)
    except NotAllowed as error:
        return str(error)
    return ""
