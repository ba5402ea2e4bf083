"""Did a feature move? Profiles of every row, window by window, through the detector."""

from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts.calendar import ExpectedEvent, expected_in
from monitor.db.base import Json
from monitor.db.calendar import expected_events
from monitor.db.checks import CheckRun
from monitor.db.jobs import Claimed
from monitor.db.profiles import read_profile
from monitor.db.registry import ModelSettings
from monitor.db.registry import Reference as Row
from monitor.db.segments import drift_streams
from monitor.drift import Detector, FalseAlarmBudget, FeatureOverride, Overrides, Reference, State, predictions_of
from monitor.drift.profile import Profile
from monitor.drift.report import DriftReport, FeatureReport, over_ticks
from monitor.errors import BadInput, JobReleased
from monitor.jobs.context import Tools
from monitor.jobs.due import Due
from monitor.jobs.learning import windows_missing
from monitor.jobs.stream import Check, Measurement, Outcome, Subject, advance
from monitor.windows import Window, grid


def run(tools: Tools, job: Claimed) -> None:
    """Advance the drift stream of one version over all windows whose data were found sound."""
    advance(tools, job, "drift", partial(_prepare, tools))


def _prepare(tools: Tools, session: Session, subject: Subject, due: list[Due]) -> Check:
    if subject.reference is None:
        return lambda session, one: _learning(session, subject)
    reference = subject.reference
    detector = _detector(session, subject, reference, due[0].window)
    events = expected_events(session, subject.model)
    return lambda session, one: _check(session, subject, reference, detector, events, one.window)


def _learning(session: Session, subject: Subject) -> Outcome:
    missing = windows_missing(session, subject)
    return Outcome(
        status="no_reference", sentence=f"learning normal, {missing} more window{'s' if missing != 1 else ''}"
    )


def _detector(session: Session, subject: Subject, reference: Reference, first: Window) -> Detector:
    """The detector as the last check run left it, or a fresh one under a new reference."""
    last = session.scalar(
        select(CheckRun)
        .where(
            CheckRun.version_id == subject.version.id, CheckRun.kind == "drift", CheckRun.ends <= first.start,
            CheckRun.detector_state.is_not(None),
        )
        .order_by(CheckRun.starts.desc(), CheckRun.revision.desc())
        .limit(1)
    )  # fmt: skip
    known = last is not None and last.document.get("reference_id") == subject.reference_id
    state, document = (last.detector_state, last.document) if last is not None and known else (None, {})
    share = drift_streams(session, subject.model)
    return resumed(reference, state, document, subject.settings, share=share, overrides=subject.settings.overrides)


def resumed(
    reference: Reference, state: bytes | None, document: Json, settings: ModelSettings, *, share: int, overrides: Json
) -> Detector:
    """A detector as it was left, under the settings that hold now; a fresh one where nothing of use was left.

    Args:
        reference: what is normal.
        state: what the detector remembered, None for nothing.
        document: its last report.
        settings: of the model.
        share: how many streams share the model's budget.
        overrides: documents by feature; features that the reference does not have are left out.
    """
    declared = {
        name: FeatureOverride.from_document(one) for name, one in overrides.items() if name in reference.schema.names
    }
    asked: dict[str, Any] = {
        "budget": FalseAlarmBudget(incidents=settings.incidents / share, per_days=settings.per_days),
        "sensitivity": settings.sensitivity,
        "overrides": declared,
        "predictions": predictions_of(reference.schema),
    }
    if state is not None and not _is_muted(document, declared):
        try:
            return Detector.restore(reference, state, **asked)
        except BadInput:  # the state's format is older than this release
            pass
    return Detector(reference, **asked)


def _is_muted(report: Json, overrides: Overrides) -> bool:
    """Whether an open incident is held by features alone that were muted since: it is over then."""
    culprits = report.get("culprits") or ()
    muted = {name for name, override in overrides.items() if override.is_muted}
    return report.get("state") == State.OPEN and bool(culprits) and muted.issuperset(culprits)


def terms_of(detector: Detector) -> Json:
    """What the window was judged by, kept with its run: settings may change, and what was judged stays."""
    return {
        "terms": {
            "incidents": detector.budget.incidents,
            "per_days": detector.budget.per_days,
            "ticks": detector.budget.ticks(detector.reference.width),
            "tolerance": detector.sensitivity.tolerance,
            "sensitivity": detector.sensitivity.value,
            "overrides": {name: override.to_document() for name, override in sorted(detector.overrides.items())},
        },
    }


def require_in_use(session: Session, subject: Subject) -> None:
    """Give the job back when a new baseline was accepted since it began; one that is being accepted waits meanwhile.

    Raises:
        JobReleased: the next run holds the windows that are left against the new baseline.
    """
    in_use = select(Row.active).where(Row.id == subject.reference_id).with_for_update(read=True)
    if not session.scalar(in_use):
        raise JobReleased(f"a new baseline of {subject.version.name} was accepted")


def broken_data(session: Session, subject: Subject, window: Window) -> str | None:
    """What the quality check found broken in a window; None where the data were sound."""
    return session.scalar(
        select(CheckRun.sentence)
        .where(
            CheckRun.version_id == subject.version.id, CheckRun.kind == "quality", CheckRun.starts == window.start,
            CheckRun.ends == window.end, CheckRun.document["broken"].as_boolean(),
        )
        .order_by(CheckRun.revision.desc())
        .limit(1)
    )  # fmt: skip


def _check(
    session: Session, subject: Subject, reference: Reference, detector: Detector, events: list[ExpectedEvent],
    window: Window,
) -> Outcome:  # fmt: skip
    require_in_use(session, subject)
    document: Json = {"reference_id": subject.reference_id} | terms_of(detector)
    broken = broken_data(session, subject, window)
    if broken is not None:
        sentence = f"the data are broken ({broken}): the detector did not see them"
        return Outcome(status="skipped", sentence=sentence, document=document, detector_state=detector.state())
    expected = expected_in(events, window)
    document |= {"expected": expected} if expected else {}
    report = _advanced(session, subject, reference, detector, events, window)
    return Outcome(
        status=report.status,
        sentence=report.sentence,
        rows=report.rows,
        document=report.to_document() | document,
        measurements=_measurements(report),
        detector_state=detector.state(),
    )


def _advanced(
    session: Session, subject: Subject, reference: Reference, detector: Detector, events: list[ExpectedEvent],
    window: Window,
) -> DriftReport:  # fmt: skip
    """The detector moved on over the ticks of a window, and what they come to; ticks of an event are only shown."""
    reports, whole = [], Profile.empty(reference.binning)
    for tick in grid(window.start, window.end, subject.settings.tick):
        counted = read_profile(
            session, model_id=subject.model.id, version_id=subject.version.id, binning=reference.binning, window=tick
        ) or Profile.empty(reference.binning)
        reports.append(detector.update(tick, counted, expected=expected_in(events, tick)))
        whole += counted
    return reports[0] if len(reports) == 1 else over_ticks(reports, window, reference.total, whole)


def _measurements(report: DriftReport) -> tuple[Measurement, ...]:
    return tuple(measurement_of(feature) for feature in report.features.values())


def measurement_of(feature: FeatureReport) -> Measurement:
    """A feature's report as a finding; one that was not tested has no effect."""
    tested = feature.p_value is not None
    low, high = feature.interval if tested else (None, None)
    return Measurement(
        subject=feature.name,
        metric="drift",
        status=feature.status,
        statistic=feature.strength,
        p_value=feature.p_value,
        e_value=feature.e_value,
        effect=feature.effect if tested else None,
        low=low,
        high=high,
        threshold=feature.threshold,
        fired=feature.moved,
        sentence=feature.sentence,
        detail={"magnitude": feature.magnitude, "movement": feature.movement, "lane": feature.lane},
    )
