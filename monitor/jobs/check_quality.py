"""Is the data broken? Faults of the kept rows of each window, and silence."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from statistics import median

from sqlalchemy.orm import Session

from monitor.db.jobs import Claimed
from monitor.db.profiles import read_profile
from monitor.db.traces import read_traces
from monitor.drift.quality import MIN_ROWS, QualityFinding, QualityReference, check_freshness, check_quality
from monitor.errors import NotEnoughData
from monitor.jobs.context import Tools
from monitor.jobs.due import Due
from monitor.jobs.samples import reference_sample
from monitor.jobs.stream import Check, Measurement, Outcome, Subject, advance
from monitor.schema import Schema

_MOST_ROWS = 50_000  # of a window, kept ones


def run(tools: Tools, job: Claimed) -> None:
    """Advance the quality stream of one version over all due windows."""
    advance(tools, job, "quality", partial(_prepare, tools))


def _prepare(tools: Tools, session: Session, subject: Subject, due: list[Due]) -> Check:
    normal = _normal(tools, session, subject)
    profiles = subject.reference.profiles if subject.reference else ()
    usual = float(median(profile.rows for profile in profiles)) if profiles else 0.0
    return lambda session, one: _check(session, subject, one, normal, usual)


def _normal(tools: Tools, session: Session, subject: Subject) -> QualityReference | None:
    key = ("quality", subject.reference_id, subject.model.id, subject.model.created_at)
    if subject.reference is not None and key not in tools.cache:
        try:
            known = _known(subject.schema, subject.reference.schema.names)
            tools.cache[key] = QualityReference.fit(reference_sample(session, subject), known)
        except NotEnoughData:
            return None
    normal: QualityReference | None = tools.cache.get(key)
    return normal


def _known(schema: Schema, names: Collection[str]) -> Schema:
    """The features that the reference has seen: one that came later is no fault."""
    return Schema(tuple(replace(feature, formula=None) for feature in schema.features if feature.name in names))


def _check(session: Session, subject: Subject, due: Due, normal: QualityReference | None, usual: float) -> Outcome:
    if subject.reference is None or normal is None:
        return Outcome(
            status="no_reference", sentence="learning normal: faults are looked for once there is a reference"
        )
    counted = read_profile(
        session, model_id=subject.model.id, version_id=subject.version.id, binning=subject.reference.binning,
        window=due.window,
    )  # fmt: skip
    rows = counted.rows if counted else 0
    stale = check_freshness(rows=rows, usual_rows=usual)
    kept = read_traces(session, subject.model, due.window, version=subject.version.name, limit=_MOST_ROWS)
    found = (*check_quality(normal, kept), *([stale] if stale else []))
    broken = any(finding.breaks_pipeline for finding in found)
    if len(kept) < MIN_ROWS and not found:
        sentence = f"{len(kept)} rows were kept, and at least {MIN_ROWS} are needed to judge them"
        return Outcome(status="insufficient", sentence=sentence, rows=rows)
    return Outcome(
        rows=rows,
        sentence="; ".join(finding.sentence for finding in found) or "no fault found",
        document={"findings": [finding.to_document() for finding in found], "broken": broken},
        measurements=tuple(_measurement(finding) for finding in found),
    )


def _measurement(finding: QualityFinding) -> Measurement:
    return Measurement(
        subject=finding.feature or "rows",
        metric=finding.kind,
        statistic=finding.statistic,
        p_value=finding.p_value,
        effect=finding.share,
        threshold=finding.threshold,
        fired=True,
        sentence=finding.sentence,
        detail={"reference": finding.reference, "segment": finding.segment},
    )
