"""A drill: a fault planted in a copy of the newest data goes the whole way, and its message arrives marked DRILL."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from monitor.alerts import AlertKind, Message, Severity
from monitor.db.alerts import Alert, queue_messages
from monitor.db.audit import record
from monitor.db.engine import database_now, transaction
from monitor.db.registry import Model, ModelSettings, champion, model_named
from monitor.db.traces import read_traces
from monitor.drift.quality import QualityFinding, QualityReference, check_quality
from monitor.errors import BadInput, NotEnoughData
from monitor.governance import Action, Actor, authorize
from monitor.jobs.context import Tools
from monitor.jobs.deliver import send_due
from monitor.jobs.samples import reference_sample
from monitor.jobs.stream import Subject, subject_of
from monitor.performance import Facts, Judgement, Verdict, judge
from monitor.schema import Kind
from monitor.windows import Window

FACTOR = 100.0  # cents for euros: the commonest unit error


def run_drill(tools: Tools, name: str, *, by: Actor) -> list[str]:
    """Plant ×100 in a copy of the newest window of model `name`, and deliver what follows; sentences about it.

    Raises:
        NotEnoughData: the model has no reference, or no rows in its newest window.
        BadInput: no route is set, or no numeric feature can carry the fault.
    """
    with transaction(tools.engine) as session:
        now = database_now(session)
        model = model_named(session, name)
        authorize(by, Action.DRILL)
        subject = subject_of(session, tools, champion(session, model).id)
        window = _newest_window(model)
        rows, feature = _with_fault(session, subject, window)
        findings = _found(session, subject, rows)
        alert = _alert(session, subject, window, findings, now=now)
        owed = queue_messages(
            session, event="drill", message=alert.message, severity=Severity.PAGE, model_id=model.id,
            alert_id=alert.id, key=f"drill:{alert.id}",
        )  # fmt: skip
        if not owed:
            raise BadInput("no route takes pages of this model: add one with holdfast route add NAME URL")
        record(session, "model.drilled", by=by.id, subject=f"alert:{alert.id}", at=now, model=name, feature=feature)
        sentences = [f"planted {feature} ×{FACTOR:g} in a copy of {window.start:%-d %b %Y} ({len(rows):,} rows)"]
        sentences += [finding.sentence for finding in findings]
    return [*sentences, *send_due(tools)]


def _newest_window(model: Model) -> Window:
    if model.watermark is None:
        raise NotEnoughData(f"{model.name} has no traces yet: send some first")
    width = timedelta(seconds=ModelSettings.of(model).window_seconds)
    return Window(model.watermark - width, model.watermark)


def _with_fault(session: Session, subject: Subject, window: Window) -> tuple[pd.DataFrame, str]:
    """A copy of the window's kept rows with the first suitable feature in the wrong unit."""
    if subject.reference is None:
        raise NotEnoughData(f"{subject.model.name} is still learning what is normal: a drill needs a reference")
    rows = read_traces(session, subject.model, window, limit=5_000).copy()
    for feature in subject.schema.features:
        values = rows[feature.name] if feature.name in rows else pd.Series(dtype=float)
        if feature.kind is Kind.NUMERIC and float(np.nan_to_num(values.abs().median())) > 0:
            rows[feature.name] = values * FACTOR
            return rows, feature.name
    raise BadInput(f"{subject.model.name} has no numeric feature in {window.start:%-d %b} to plant a fault in")


def _found(session: Session, subject: Subject, rows: pd.DataFrame) -> tuple[QualityFinding, ...]:
    """What the data-quality check says of the faulty copy: the same function that watches production."""
    normal = QualityReference.fit(reference_sample(session, subject), subject.schema)
    findings = check_quality(normal, rows)
    if not any(finding.breaks_pipeline for finding in findings):
        raise NotEnoughData(f"the fault was not found in {len(rows):,} rows: drill on a fuller window")
    return findings


def _alert(
    session: Session, subject: Subject, window: Window, findings: tuple[QualityFinding, ...], *, now: datetime
) -> Alert:
    judgement: Judgement = judge(Facts(quality=findings))
    message = Message(
        title=f"{subject.model.name}: {judgement.verdict.in_words}, not drift",
        severity=Severity.PAGE,
        lines=(judgement.sentence, "This is a drill: a fault was planted in a copy; production data are untouched."),
        do=judgement.do,
        dont=judgement.dont,
        drill=True,
    )
    alert = Alert(
        model_id=subject.model.id, version_id=subject.version.id, kind=AlertKind.QUALITY,
        cause=f"drill:{now.isoformat()}", severity=Severity.PAGE, state="resolved", verdict=Verdict.PIPELINE_BREAK,
        starts=window.start, ends=window.end, drill=True, resolved_at=now, message=message.to_document(),
        culprits=list(dict.fromkeys(finding.feature for finding in findings if finding.feature)),
    )  # fmt: skip
    session.add(alert)
    session.flush()
    return alert
