"""Learns what is normal for a version that began without a reference, from its own first windows."""

import pandas as pd
from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_reference
from monitor.alerts.calendar import expected_in
from monitor.db.calendar import expected_events
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Claimed
from monitor.db.profiles import add_profile, read_profile
from monitor.db.registry import newest_reference
from monitor.db.traces import read_traces
from monitor.drift import Reference, with_predictions
from monitor.drift.bins import Binning
from monitor.drift.profile import Profile
from monitor.drift.reference import MIN_ROWS, MIN_WINDOWS
from monitor.governance import POLICY
from monitor.jobs.context import Tools, effect
from monitor.jobs.due import Streams
from monitor.jobs.plan import plan_model
from monitor.jobs.stream import Subject, subject_of
from monitor.schema import Schema
from monitor.windows import Window, grid


def run(tools: Tools, job: Claimed) -> None:
    """Fit and accept the first reference of a version; nothing if somebody accepted one in the meantime."""
    with transaction(tools.engine) as session:
        subject = subject_of(session, tools, job.payload["version_id"])
        windows = _seen(session, subject)
        known = _known_binning(session, subject)
        entries = _profiles(session, subject, windows, known) if known else []
        frames = [] if known else [(window, _kept(session, subject, window)) for window in windows]
    with effect(tools, job, point="reference") as session:
        if subject.reference is not None or not windows:
            return
        reference = Reference.fit(entries or frames, schema=_schema(subject, known, frames), binning=known)
        accept_reference(session, subject.model, subject.version, reference, by=POLICY, now=database_now(session))
        if not known:
            _count_kept(session, subject, reference, frames)
        plan_model(session, session.merge(subject.model, load=True))


def _seen(session: Session, subject: Subject) -> list[Window]:
    """The ticks of the whole windows in which this version had rows, in order.

    Windows on which an event was expected are left out where the others suffice.
    """
    streams, settings = Streams(session, subject.model), subject.settings
    rows, events = streams.traffic[subject.version.id], expected_events(session, subject.model)
    whole = [Window(start, start + settings.width) for start in sorted(rows)]
    whole = [window for window in whole if window.end <= streams.closed]
    usual = [window for window in whole if expected_in(events, window) is None]
    suffices = len(usual) >= MIN_WINDOWS and sum(rows[window.start] for window in usual) >= MIN_ROWS
    chosen = usual if suffices else whole
    return [tick for window in chosen for tick in grid(window.start, window.end, settings.tick)]


def _schema(subject: Subject, known: Binning | None, frames: list[tuple[Window, pd.DataFrame]]) -> Schema:
    """What the bins count: the features, and what the model said."""
    if known:
        return known.schema
    several = bool(subject.settings.classes)
    return with_predictions(subject.schema, pd.concat([frame for _, frame in frames]), several=several)


def _known_binning(session: Session, subject: Subject) -> Binning | None:
    """The bins that intake has counted this version with: those of the model's newest reference."""
    newest = newest_reference(session, subject.model)
    return Reference.from_document(newest.document).binning if newest else None


def _profiles(
    session: Session, subject: Subject, windows: list[Window], binning: Binning
) -> list[tuple[Window, Profile]]:
    counted = (
        (
            window,
            read_profile(
                session, model_id=subject.model.id, version_id=subject.version.id, binning=binning, window=window
            ),
        )
        for window in windows
    )
    return [(window, profile) for window, profile in counted if profile is not None]


def _kept(session: Session, subject: Subject, window: Window) -> pd.DataFrame:
    return read_traces(session, subject.model, window, version=subject.version.name)


def _count_kept(
    session: Session, subject: Subject, reference: Reference, frames: list[tuple[Window, pd.DataFrame]]
) -> None:
    """Count what was kept before there were bins, so that history and dashboard see these windows too."""
    for window, frame in frames:
        add_profile(
            session, model_id=subject.model.id, version_id=subject.version.id,
            bucket=window.start, profile=Profile.of(frame, reference.binning),
        )  # fmt: skip
