"""Did a feature move within a segment? The kept rows of each declared level, each with a detector of its own."""

import base64
import json
import zlib
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.segments import learn_segment
from monitor.alerts import AlertKind, Condition, Severity, Signal
from monitor.alerts.calendar import ExpectedEvent, expected_in
from monitor.db.base import Json
from monitor.db.calendar import expected_events
from monitor.db.checks import CheckRun
from monitor.db.engine import database_now
from monitor.db.jobs import Claimed
from monitor.db.registry import SEGMENT, Reference
from monitor.db.segments import Segment, drift_streams, segment_monitor, segments_of
from monitor.db.traces import read_traces
from monitor.drift import Detector, Profile, State, Status
from monitor.drift.report import DriftReport, over_ticks
from monitor.jobs.check_drift import broken_data, measurement_of, require_in_use, resumed, terms_of
from monitor.jobs.context import Tools
from monitor.jobs.due import Due
from monitor.jobs.facts import Known, known_of
from monitor.jobs.raise_alerts import raise_alert
from monitor.jobs.stream import Check, Measurement, Outcome, Subject, advance
from monitor.performance.verdict import ADVICE, Judgement, Verdict
from monitor.windows import Window, grid


@dataclass(frozen=True, kw_only=True)
class _Stream:
    """A segment with its detector, advanced from window to window."""

    segment: Segment
    detector: Detector


def run(tools: Tools, job: Claimed) -> None:
    """Advance the streams of all segments of one version over the windows whose drift was looked at."""
    advance(tools, job, SEGMENT, partial(_prepare, tools))


def _prepare(tools: Tools, session: Session, subject: Subject, due: list[Due]) -> Check:
    monitor = segment_monitor(session, subject.model)
    declared = segments_of(monitor) if monitor is not None else {}
    row = session.get(Reference, subject.reference_id) if subject.reference_id else None
    if row is None or not declared:
        return lambda session, one: Outcome(status="no_reference", sentence="learning normal, no segment is judged yet")
    states, reports = _last_run(session, subject, due[0].window)
    share = drift_streams(session, subject.model)
    streams = []
    for name, segment in declared.items():
        normal = learn_segment(session, subject.model, row, segment)
        overrides = subject.settings.overrides | segment.overrides  # the segment's own go before the model's
        detector = resumed(
            normal, states.get(name), reports.get(name, {}), subject.settings, share=share, overrides=overrides
        )  # fmt: skip
        streams.append(_Stream(segment=segment, detector=detector))
    return lambda session, one: _check(tools, session, subject, streams, one.window)


def _last_run(session: Session, subject: Subject, first: Window) -> tuple[dict[str, bytes], Json]:
    """The detectors' states as the last run under this reference left them, and its reports, by segment."""
    last = session.scalar(
        select(CheckRun)
        .where(
            CheckRun.version_id == subject.version.id, CheckRun.kind == SEGMENT, CheckRun.ends <= first.start,
            CheckRun.detector_state.is_not(None),
        )
        .order_by(CheckRun.starts.desc(), CheckRun.revision.desc())
        .limit(1)
    )  # fmt: skip
    if last is None or not last.detector_state or last.document.get("reference_id") != subject.reference_id:
        return {}, {}
    packed: dict[str, str] = json.loads(zlib.decompress(last.detector_state))
    return {name: base64.b64decode(state) for name, state in packed.items()}, last.document["segments"]


def _check(tools: Tools, session: Session, subject: Subject, streams: list[_Stream], window: Window) -> Outcome:
    require_in_use(session, subject)
    document: Json = {"reference_id": subject.reference_id, "segments": {}}
    broken = broken_data(session, subject, window)
    if broken is not None:
        sentence = f"the data are broken ({broken}): no segment was looked at"
        return Outcome(status="skipped", sentence=sentence, document=document, detector_state=_packed(streams))
    rows = read_traces(session, subject.model, window, version=subject.version.name)
    events = expected_events(session, subject.model)
    measurements: list[Measurement] = []
    for stream in streams:
        name = stream.segment.name
        report = _advanced(stream, stream.segment.rows_of(rows), window, subject.settings.tick, events)
        document["segments"][name] = report.to_document() | terms_of(stream.detector)
        found = (measurement_of(feature) for feature in report.features.values())
        measurements += [
            replace(one, sentence=f"{name}: {one.sentence}", detail=one.detail | {"segment": name}) for one in found
        ]
    return Outcome(
        sentence="; ".join(f"{name}: {one['sentence']}" for name, one in document["segments"].items()),
        rows=len(rows), document=document, measurements=tuple(measurements), detector_state=_packed(streams),
        after=partial(_tell, tools, subject, streams),
    )  # fmt: skip


def _advanced(
    stream: _Stream, rows: pd.DataFrame, window: Window, tick: timedelta, events: list[ExpectedEvent]
) -> DriftReport:
    """The segment's detector moved on over the ticks of a window, and what they come to."""
    reference = stream.detector.reference
    reports, whole = [], Profile.empty(reference.binning)
    for one in grid(window.start, window.end, tick):
        within = (rows["event_time"] >= one.start) & (rows["event_time"] < one.end)
        profile = Profile.of(rows[within], reference.binning)
        reports.append(stream.detector.update(one, profile, expected=expected_in(events, one)))
        whole += profile
    return reports[0] if len(reports) == 1 else over_ticks(reports, window, reference.total, whole)


def _packed(streams: list[_Stream]) -> bytes:
    states = {one.segment.name: base64.b64encode(one.detector.state()).decode() for one in streams}
    return zlib.compress(json.dumps(states, sort_keys=True).encode(), 6)


def _tell(tools: Tools, subject: Subject, streams: list[_Stream], session: Session, run: CheckRun) -> None:
    """An alert of its own for each segment whose incident is open; within the champion only."""
    if subject.version.id != subject.model.champion_id:
        return
    window, now = Window(run.starts, run.ends), database_now(session)
    whole = known_of(session, subject.version, window)
    for stream in streams:
        name = stream.segment.name
        report = run.document["segments"][name]
        if report["status"] != Status.OK:
            continue
        known = _known(whole, report, name)
        signal = _signal(subject, known, report, name)
        raise_alert(session, tools, subject.model, subject.version, known, signal, now)


def _known(whole: Known, report: Json, segment: str) -> Known:
    """What is known within the segment: its own drift, and no performance of its own."""
    moved = tuple(report["culprits"]) if report["state"] == State.OPEN else ()
    do, dont = ADVICE[Verdict.PENDING_LABELS]
    judgement = Judgement(
        verdict=Verdict.PENDING_LABELS, sentence=f"On {segment}: {report['sentence']}.", do=do, dont=dont
    )  # fmt: skip
    return replace(
        whole,
        runs={"drift": CheckRun(document=report, kind="drift")},
        facts=replace(whole.facts, moved=moved),
        judgement=judgement,
    )


def _signal(subject: Subject, known: Known, report: Json, segment: str) -> Signal:
    features = report["features"]
    return Signal(
        model=f"{subject.model.name} on {segment}",
        cause=f"drift:{segment}",
        window=known.window,
        condition=Condition.FIRING if report["state"] == State.OPEN else Condition.CLEAR,
        kind=AlertKind.DRIFT,
        severity=Severity.TICKET,
        verdict=known.judgement.verdict,
        effect=max((abs(features[name].get("effect") or 0.0) for name in known.facts.moved), default=0.0),
        culprits=known.leading,
        sentence=report["sentence"],
    )
