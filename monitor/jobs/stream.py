"""A stream of checks: one version under one monitor, advanced window by window, one transaction a window."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session, defer

from monitor.db.checks import CheckRun, Finding
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Claimed
from monitor.db.registry import FeatureSchema, Model, ModelSettings, Monitor, Reference, Version, schema_of
from monitor.drift.reference import Reference as Normal
from monitor.errors import JobReleased, NotFound
from monitor.jobs.context import Tools, effect
from monitor.jobs.due import Due, Streams
from monitor.jobs.plan import FOLLOWING, plan_model
from monitor.jobs.raise_alerts import judge
from monitor.schema import Schema
from monitor.windows import Window


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a check looks at: one version of a model, and what is normal for it (None before there is a reference)."""

    model: Model
    version: Version
    settings: ModelSettings
    schema: Schema
    reference_id: int | None
    reference: Normal | None
    normal_from: Window | None  # the span of the reference


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One fact of a check run, as a `Finding` row stores it."""

    subject: str
    metric: str
    status: str = "ok"
    statistic: float | None = None
    p_value: float | None = None
    e_value: float | None = None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    fired: bool = False
    sentence: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check found in one window."""

    status: str = "ok"
    sentence: str = ""
    rows: int = 0
    document: dict[str, Any] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    detector_state: bytes | None = None
    after: Callable[[Session, CheckRun], None] | None = None  # what else is written with the run


Check = Callable[[Session, Due], Outcome]


def subject_of(session: Session, tools: Tools, version_id: int) -> Subject:
    """Everything about a version that its checks need; the fitted reference is kept for the next job."""
    version = session.get(Version, version_id)
    if version is None:
        raise NotFound(f"no version {version_id}: it was deleted after the job was planned")
    model = session.get_one(Model, version.model_id)
    chosen = select(Reference).where(Reference.version_id == version_id, Reference.active)
    row = session.scalar(chosen.options(defer(Reference.document)))
    newest = select(FeatureSchema).where(FeatureSchema.model_id == model.id).order_by(FeatureSchema.number.desc())
    features = session.get(FeatureSchema, row.schema_id) if row else session.scalars(newest).first()
    if features is None:
        raise NotFound(f"model {model.name} has no schema")
    return Subject(
        model=model,
        version=version,
        settings=ModelSettings.of(model),
        schema=schema_of(features),
        reference_id=row.id if row else None,
        reference=_fitted(tools, row) if row else None,
        normal_from=Window(row.starts, row.ends) if row else None,
    )


def _fitted(tools: Tools, row: Reference) -> Normal:
    key = ("reference", row.id, row.binning_id, row.created_at)
    if key not in tools.cache:
        tools.cache[key] = Normal.from_document(row.document)
    normal: Normal = tools.cache[key]
    return normal


def advance(tools: Tools, job: Claimed, kind: str, prepare: Callable[[Session, Subject, list[Due]], Check]) -> None:
    """Check all due windows of the job's stream in order; each window's rows commit together, the last with the job.

    `prepare` reads once what the whole run needs and returns the check of one window.
    """
    with transaction(tools.engine) as session:
        subject = subject_of(session, tools, job.payload["version_id"])
        monitor = session.get_one(Monitor, job.payload["monitor_id"])
        due = Streams(session, subject.model).due(subject.version, kind)
        check = prepare(session, subject, due) if due else None
    if check is None:
        with effect(tools, job):
            return
    for number, one in enumerate(due, start=1):
        if tools.stopping() and number > 1:
            raise JobReleased(f"stopped after {number - 1} of {len(due)} windows")
        with effect(tools, job, last=number == len(due)) as session:
            run = record_run(session, subject, monitor, one, check(session, one))
            now = database_now(session)
            judge(session, tools, subject.model, subject.version, window_to_judge(run, subject), now)
            if number == len(due) and kind in FOLLOWING:
                plan_model(session, session.get_one(Model, subject.model.id), FOLLOWING[kind])
        tools.checked(kind)


def window_to_judge(run: CheckRun, subject: Subject) -> Window:
    """The window itself; for a stress test, which spans several, the last one of them."""
    width = timedelta(seconds=subject.settings.window_seconds)
    return Window(run.ends - width, run.ends) if run.kind == "stress" else Window(run.starts, run.ends)


def record_run(session: Session, subject: Subject, monitor: Monitor, due: Due, outcome: Outcome) -> CheckRun:
    """Write the check run of a window and its findings."""
    run = CheckRun(
        model_id=subject.model.id,
        version_id=subject.version.id,
        monitor_id=monitor.id,
        kind=monitor.kind,
        starts=due.window.start,
        ends=due.window.end,
        revision=due.revision,
        status=outcome.status,
        sentence=outcome.sentence,
        rows=outcome.rows,
        detector_state=outcome.detector_state,
        document=outcome.document,
    )
    session.add(run)
    session.flush()
    if outcome.measurements:
        session.execute(insert(Finding), [asdict(found) | {"check_run_id": run.id} for found in outcome.measurements])
    if outcome.after:
        outcome.after(session, run)
    return run
