"""Finds what is due and writes job rows for it. Idempotent: the database holds one live job a stream."""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from monitor.acts.outside import continue_training
from monitor.db.alerts import Outbox, due_wakes
from monitor.db.engine import database_now
from monitor.db.jobs import Job, enqueue
from monitor.db.registry import EVIDENTLY, SEGMENT, Model, Monitor, Source, Version, due_sources
from monitor.db.retraining import CLOSED_STATES, OutsideTraining, Proposal, Shadow
from monitor.jobs.due import Streams
from monitor.jobs.propose import propose_on_schedule
from monitor.jobs.shadow_due import shadow_due

BY = "plan"
_JOBS = {
    "quality": "check_quality",
    "drift": "check_drift",
    "performance": "check_performance",
    "stress": "stress",
    SEGMENT: "check_segments",
    EVIDENTLY: "check_evidently",
}
CHECKS = tuple(_JOBS)
FOLLOWING = {"quality": ("drift",), "drift": ("performance", "stress", SEGMENT, EVIDENTLY)}  # what a check makes due


def plan(session: Session) -> int:
    """Write a job for every stream with due work; how many were written."""
    models = session.scalars(select(Model).where(Model.retired_at.is_(None)).order_by(Model.id)).all()
    planned = sum(plan_model(session, model) for model in models)
    planned += sum(propose_on_schedule(session, model, database_now(session)) for model in models)
    return (
        planned
        + plan_delivery(session)
        + _plan_wakes(session)
        + _plan_outside(session)
        + plan_shadows(session)
        + plan_sources(session)
        + _plan_retention(session)
    )


def plan_model(session: Session, model: Model, kinds: Collection[str] = CHECKS) -> int:
    """The same for the checks of one model, or some kinds of them."""
    if model.watermark is None:
        return 0
    streams = Streams(session, model)
    planned = 0
    for version in streams.versions:
        if streams.wants_reference(version):
            payload = {"version_id": version.id}
            stream = f"fit_reference:{version.id}"
            planned += enqueue(session, "fit_reference", stream=stream, payload=payload, by=BY) is not None
        chosen = (monitor for kind in kinds for monitor in streams.of_kind(kind))
        planned += sum(_plan_check(session, streams, version, monitor) for monitor in chosen)
    return planned


def _plan_check(session: Session, streams: Streams, version: Version, monitor: Monitor) -> int:
    if not streams.due_of(version, monitor):
        return 0
    payload = {"version_id": version.id, "monitor_id": monitor.id}
    stream = f"check:{version.id}:{monitor.id}"
    return int(enqueue(session, _JOBS[monitor.kind], stream=stream, payload=payload, by=BY) is not None)


def plan_delivery(session: Session) -> int:
    """A delivery job when a message is due."""
    due = exists().where(Outbox.state == "queued", Outbox.run_at <= func.now())
    if not session.scalar(select(due)):
        return 0
    return int(enqueue(session, "deliver", stream="deliver", payload={}, by=BY) is not None)


def _plan_wakes(session: Session) -> int:
    """A job when a snooze is over."""
    if not due_wakes(session, database_now(session)):
        return 0
    return int(enqueue(session, "wake", stream="wake", payload={}, by=BY) is not None)


def _plan_outside(session: Session) -> int:
    """A job for each training that a service answered, failed to answer in time, or need not answer any more."""
    over = OutsideTraining.deadline <= database_now(session)
    unanswered = (OutsideTraining.state == "asked") & (over | Proposal.state.in_(CLOSED_STATES))
    answered = OutsideTraining.state.in_(("delivered", "failed")) & (Proposal.state == "training")
    given_up = exists().where(
        Job.kind == "retrain", Job.state == "dead", Job.payload["proposal_id"].as_integer() == Proposal.id
    )
    due = select(Proposal.id).join(OutsideTraining).where(unanswered | answered, ~given_up).distinct()
    return sum(continue_training(session, session.get_one(Proposal, number)) for number in session.scalars(due).all())


def plan_shadows(session: Session) -> int:
    """A job for each shadow that has a window to look at, or whose proposal was decided."""
    running = select(Shadow, Proposal).join(Proposal).where(Shadow.state == "running").order_by(Shadow.proposal_id)
    return sum(_plan_shadow(session, shadow, proposal) for shadow, proposal in session.execute(running).all())


def _plan_shadow(session: Session, shadow: Shadow, proposal: Proposal) -> int:
    awaited = proposal.state == "awaiting_promotion"
    if awaited and not shadow_due(session, shadow, session.get_one(Model, proposal.model_id)).anything:
        return 0
    stream, payload = f"shadow:{proposal.id}", {"proposal_id": proposal.id}
    return int(enqueue(session, "shadow", stream=stream, payload=payload, by=BY) is not None)


def plan_sources(session: Session) -> int:
    """A job for each source whose time has come."""
    now = database_now(session)
    return sum(_plan_source(session, source, now) for source in due_sources(session, now))


def _plan_source(session: Session, source: Source, now: datetime) -> int:
    stream, payload = f"pull:{source.id}", {"source_id": source.id}
    if enqueue(session, "pull", stream=stream, payload=payload, by=BY) is None:
        return 0
    source.due_at = now + timedelta(seconds=source.every_seconds or 0)  # unless the job says otherwise when it ends
    return 1


def _plan_retention(session: Session) -> int:
    recent = exists().where(Job.kind == "retain", Job.created_at > func.now() - func.make_interval(0, 0, 0, 1))
    if session.scalar(select(recent)):
        return 0
    return int(enqueue(session, "retain", stream="retain", payload={}, by=BY) is not None)
