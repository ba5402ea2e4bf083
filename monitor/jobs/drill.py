"""A drill: a fault planted in a copy of the newest data goes the whole way, and its message arrives marked DRILL."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts import AlertKind, Message, Severity
from monitor.db.alerts import Alert, Outbox, Route, queue_messages
from monitor.db.audit import record
from monitor.db.engine import database_now, transaction
from monitor.db.registry import Model, ModelSettings, champion, model_named
from monitor.db.traces import read_traces
from monitor.drift.quality import MIN_ROWS, QualityFinding, QualityReference, check_quality
from monitor.errors import BadInput, NotEnoughData
from monitor.governance import Action, Actor, authorize
from monitor.jobs.context import Tools
from monitor.jobs.deliver import send_due
from monitor.jobs.samples import reference_sample
from monitor.jobs.stream import Subject, subject_of
from monitor.performance import Facts, Verdict, judge
from monitor.windows import Window

FACTOR = 100.0  # cents for euros: the commonest unit error
PATIENCE = 20.0  # seconds for a worker that took the message before we did
_MOST_ROWS = 5_000


@dataclass(frozen=True, kw_only=True)
class Drill:
    """What was planted, what was found, and what became of the message on each route."""

    sentences: tuple[str, ...]
    delivered: bool


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """What the data-quality check says of a copy of the window's rows with one feature spoilt."""

    feature: str
    planted: str
    findings: tuple[QualityFinding, ...]


def run_drill(tools: Tools, name: str, *, by: Actor, patience: float = PATIENCE) -> Drill:
    """Plant a fault in a copy of the newest window of model `name`, and deliver what follows from it.

    Raises:
        NotAllowed: `by` may not drill.
        NotEnoughData: the model has no reference, or too few rows in its newest window.
        BadInput: no route takes pages of this model, or none of its features can carry a fault.
    """
    with transaction(tools.engine) as session:
        now = database_now(session)
        model = model_named(session, name)
        authorize(by, Action.DRILL)
        subject = subject_of(session, tools, champion(session, model).id)
        window = _newest_window(model)
        rows = _newest_rows(session, subject, window)
        fault = _fault(QualityReference.fit(reference_sample(session, subject), subject.schema), rows, subject)
        alert = _alert(session, subject, window, fault, link=tools.link, now=now)
        owed = queue_messages(
            session, event="drill", message=alert.message, severity=Severity.PAGE, model_id=model.id,
            alert_id=alert.id, key=f"drill:{alert.id}",
        )  # fmt: skip
        if not owed:
            raise BadInput(
                f"no route takes pages of {name}, or they are silenced: add one with holdfast route add NAME URL"
            )
        record(
            session, "model.drilled", by=by.id, subject=f"alert:{alert.id}", at=now, model=name, feature=fault.feature
        )
        told = [f"planted {fault.planted} in a copy of the {len(rows):,} rows until {window.end:%-d %b %Y %H:%M} UTC"]
        told += [f"found: {finding.sentence}" for finding in fault.findings]
        drilled = alert.id
    send_due(tools)
    arrived = _outcome(tools, drilled, patience)
    return Drill(
        sentences=(*told, *(sentence for _, sentence in arrived)),
        delivered=all(was_sent for was_sent, _ in arrived),
    )


def _newest_window(model: Model) -> Window:
    if model.watermark is None:
        raise NotEnoughData(f"{model.name} has no traces yet: send some first")
    width = timedelta(seconds=ModelSettings.of(model).window_seconds)
    return Window(model.watermark - width, model.watermark)


def _newest_rows(session: Session, subject: Subject, window: Window) -> pd.DataFrame:
    if subject.reference is None:
        raise NotEnoughData(f"{subject.model.name} is still learning what is normal: a drill needs a reference")
    rows = read_traces(session, subject.model, window, limit=_MOST_ROWS)
    if len(rows) < MIN_ROWS:
        raise NotEnoughData(
            f"expected at least {MIN_ROWS} rows in the window until {window.end:%-d %b %Y %H:%M}, got {len(rows)}: "
            "drill when more have come"
        )
    return rows


def _fault(normal: QualityReference, rows: pd.DataFrame, subject: Subject) -> _Fault:
    """The first spoilt copy in which the check that watches production finds the fault."""
    for feature, planted, spoilt in _spoilt(rows, subject):
        findings = tuple(found for found in check_quality(normal, spoilt) if found.feature == feature)
        if any(found.breaks_pipeline for found in findings):
            return _Fault(feature=feature, planted=planted, findings=findings)
    raise BadInput(f"no feature of {subject.model.name} can carry a fault that would be found: all are mostly missing")


def _spoilt(rows: pd.DataFrame, subject: Subject) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Copies of the rows: a numeric feature in the wrong unit, else a feature that is missing."""
    for feature in subject.schema.features:
        if not feature.is_categorical and feature.name in rows:
            values = pd.to_numeric(rows[feature.name], errors="coerce").astype(np.float64) * FACTOR
            yield feature.name, f"{feature.name} ×{FACTOR:g}", rows.assign(**{feature.name: values})
    for feature in subject.schema.features:
        yield feature.name, f"{feature.name} missing", rows.assign(**{feature.name: None})


def _alert(session: Session, subject: Subject, window: Window, fault: _Fault, *, link: str, now: datetime) -> Alert:
    judgement = judge(Facts(quality=fault.findings))
    alert = Alert(
        model_id=subject.model.id, version_id=subject.version.id, kind=AlertKind.QUALITY,
        cause=f"drill:{now.isoformat()}", severity=Severity.PAGE, state="resolved", verdict=Verdict.PIPELINE_BREAK,
        starts=window.start, ends=window.end, drill=True, resolved_at=now, culprits=[fault.feature],
    )  # fmt: skip
    session.add(alert)
    session.flush()
    message = Message(
        title=f"{subject.model.name}: {judgement.verdict.in_words}, not drift",
        severity=Severity.PAGE,
        lines=(judgement.sentence, "This is a drill: a fault was planted in a copy; production data are untouched."),
        do=judgement.do,
        dont=judgement.dont,
        link=f"{link}/?view=alerts&alert={alert.id}" if link else "",
        drill=True,
    )
    alert.message = message.to_document()
    return alert


def _outcome(tools: Tools, alert_id: int, patience: float) -> list[tuple[bool, str]]:
    """For each route whether the message was sent, and a sentence; a worker may be sending one just now."""
    until = time.monotonic() + patience
    while True:
        with transaction(tools.engine) as session:
            chosen = select(Outbox, Route.name).join(Route, Route.id == Outbox.route_id)
            owed = session.execute(chosen.where(Outbox.alert_id == alert_id).order_by(Outbox.id)).all()
        unsettled = [row for row, _ in owed if row.state == "queued" and row.last_error is None]
        if not unsettled or time.monotonic() > until:
            return [(row.state == "sent", f"{name}: {_became(row)}") for row, name in owed]
        time.sleep(0.2)


def _became(row: Outbox) -> str:
    if row.state == "sent":
        return "delivered"
    if row.state == "dead":
        return f"NOT delivered, and will not be: {row.last_error}"
    return f"NOT delivered yet: {row.last_error or 'a worker is sending it'}; it is tried again"
