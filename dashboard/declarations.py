"""What the buttons beside drift and alerts do; each is one act, with what was typed beside it."""

from datetime import date, datetime, timedelta

import streamlit as st
from sqlalchemy.orm import Session

from dashboard import actions, states, times
from monitor.acts import baselines, calendar, detection, segments, snoozes
from monitor.alerts.calendar import ExpectedEvent
from monitor.db.alerts import Alert
from monitor.db.registry import champion, model_named
from monitor.drift import FeatureOverride
from monitor.errors import BadInput
from monitor.governance.roles import Actor
from monitor.windows import span_of

HOW_LONG = {"4 hours": 4, "1 day": 24, "3 days": 72, "1 week": 168, "30 days": 720}


def accept(model: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        accepted = baselines.accept_baseline(
            session, row, champion(session, row), last=last, reason=reason, by=actor, now=now
        )
        return f"{accepted.windows} windows are the baseline now: what they show is normal from the next window on."

    last, reason = st.session_state.get("baseline-last"), _typed("baseline-reason")
    actions.perform(act)


def snooze(model: str, feature: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        row = model_named(session, model)
        snoozed = snoozes.snooze_feature(
            session, row, feature, until=_until(now), reason=_typed("snooze-reason"), by=actor, now=now
        )
        return f"Drift of {feature} is snoozed until {times.moment(snoozed.until)}."

    actions.perform(act)


def wake_feature(model: str, feature: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        snoozes.wake_feature(session, model_named(session, model), feature, by=actor, now=now)
        return f"Drift of {feature} speaks again."

    actions.perform(act)


def snooze_alert(alert_id: int) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        alert = session.get_one(Alert, alert_id)
        snoozed = snoozes.snooze_alert(
            session, alert, until=_until(now), reason=_typed("snooze-reason"), by=actor, now=now
        )
        return f"Alert #{alert_id} is snoozed until {times.moment(snoozed.until)}."

    actions.perform(act)


def wake_alert(alert_id: int) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        snoozes.wake_alert(session, session.get_one(Alert, alert_id), by=actor, now=now)
        return f"Alert #{alert_id} speaks again."

    actions.perform(act)


def add_event(model: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        if not days:
            raise BadInput("expected the first day of the event: choose it in the calendar")
        about = None if everywhere else model_named(session, model)
        event = ExpectedEvent(name=name, span=span_of(days[0], days[-1]), yearly=yearly)
        calendar.add_event(session, event, model=about, by=actor, now=now)
        judged = calendar.windows_judged(session, event, model=about)
        stay = f" {judged} windows of that time were judged before and stay as they are." if judged else ""
        return f"{states.plain(name)} is expected.{stay}"

    days: list[date] = list(st.session_state["event-days"])
    name, yearly = _typed("event-name"), bool(st.session_state["event-yearly"])
    everywhere = bool(st.session_state["event-everywhere"])
    actions.perform(act)


def remove_event() -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        gone = calendar.remove_event(session, event_id, by=actor, now=now)
        return f"{states.plain(gone.name)} is not expected any more."

    event_id = int(st.session_state["event-gone"])
    actions.perform(act)


def add_segment(model: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        declared = segments.declare_segment(session, model_named(session, model), name, by=actor, now=now)
        return f"{states.plain(declared.name)} has a drift stream of its own from the next window on."

    name = _typed("segment-name")
    actions.perform(act)


def remove_segment(model: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        segments.remove_segment(session, model_named(session, model), name, by=actor, now=now)
        return f"{name} is not watched by itself any more."

    name = _typed("segment-gone")
    actions.perform(act)


def configure(model: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        settings = detection.configure_detection(
            session, model_named(session, model), sensitivity=st.session_state["sensitivity"],
            incidents=st.session_state["incidents"], per_days=st.session_state["per-days"], by=actor, now=now,
        )  # fmt: skip
        return (
            f"{settings.incidents:g} false incident{'' if settings.incidents == 1 else 's'} in {settings.per_days:g} "
            f"days, {settings.sensitivity}, from the next window on."
        )

    actions.perform(act)


def configure_feature(model: str, feature: str) -> None:
    def act(session: Session, actor: Actor, now: datetime) -> str:
        asked = FeatureOverride(tolerance=tolerance, weight=weight)
        detection.configure_detection(
            session, model_named(session, model), features={feature: asked}, by=actor, now=now
        )  # fmt: skip
        return f"{feature} is {'muted' if asked.is_muted else 'judged so'} from the next window on."

    tolerance, weight = st.session_state[f"tolerance-{feature}"], float(st.session_state[f"weight-{feature}"])
    actions.perform(act)


def _typed(key: str) -> str:
    return str(st.session_state.get(key) or "")


def _until(now: datetime) -> datetime:
    return now + timedelta(hours=HOW_LONG[st.session_state["snooze-for"]])
