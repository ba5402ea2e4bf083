"""How well the model does on labels that have come, and whether somebody is adapting to it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import update
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun
from monitor.db.jobs import Claimed
from monitor.db.registry import Version
from monitor.db.traces import read_traces
from monitor.errors import BadInput, NotEnoughData
from monitor.jobs.context import Tools
from monitor.jobs.due import Due
from monitor.jobs.samples import Judged, judged, reference_sample
from monitor.jobs.stream import Check, Measurement, Outcome, Subject, advance
from monitor.performance import (
    METRICS,
    EvasionEvidence,
    Measured,
    Task,
    all_metrics,
    evasion_signature,
    is_beyond,
    limit_of,
    measure,
)
from monitor.performance.metrics import recalls
from monitor.schema import FloatArray

_MOST_ROWS = 100_000  # of a window, labelled
_MOST_COMPARED = 2_000  # reference rows of a label
_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class _ByLabel:
    """Encoded reference rows of label 1 and of label 0, shapes (m, d)."""

    positive: FloatArray
    negative: FloatArray


@dataclass(frozen=True, kw_only=True)
class _Yardstick:
    """What a window is held against; `found` says that the version had no baseline and this one is new."""

    metric: Measured | None
    limit: float | None
    threshold: float
    by_label: _ByLabel | None
    found: bool


def run(tools: Tools, job: Claimed) -> None:
    """Measure every window of one version whose labels are mature, and those again whose labels went on coming."""
    advance(tools, job, "performance", partial(_prepare, tools))


def _prepare(tools: Tools, session: Session, subject: Subject, due: list[Due]) -> Check:
    yardstick = _yardstick(tools, session, subject)
    return lambda session, one: _check(session, subject, yardstick, one)


def _yardstick(tools: Tools, session: Session, subject: Subject) -> _Yardstick:
    baseline, settings = subject.version.baseline, subject.settings
    given = baseline.get("operating_threshold")
    threshold = _HALF if given is None else float(given)
    sample = _reference_rows(tools, session, subject)
    metric = Measured.from_document(baseline["metric"]) if baseline.get("metric") else None
    found = metric is None and sample is not None
    if metric is None and sample is not None:
        metric = _measured(subject, sample, None, threshold)
    limit = baseline.get("limit")
    if limit is None and metric is not None:
        limit = limit_of(metric, setting=settings.limit)
    return _Yardstick(
        metric=metric,
        limit=limit,
        threshold=threshold,
        by_label=_by_label(tools, subject, sample),
        found=found and metric is not None,
    )


def _reference_rows(tools: Tools, session: Session, subject: Subject) -> Judged | None:
    """The labelled traces of the reference, kept for the next job; None while there are none."""
    key = ("labelled reference", subject.reference_id, subject.model.id, subject.model.created_at)
    if key not in tools.cache:
        rows = reference_sample(session, subject, labelled=True)
        if rows.empty:
            return None
        tools.cache[key] = judged(rows, subject.model.task, subject.settings)
    kept: Judged = tools.cache[key]
    return kept


def _by_label(tools: Tools, subject: Subject, sample: Judged | None) -> _ByLabel | None:
    if sample is None or Task(subject.model.task) is not Task.CLASSIFICATION or not _mutable(subject):
        return None
    key = ("reference by label", subject.reference_id, subject.model.id, subject.model.created_at)
    if key not in tools.cache:
        positive, negative = (sample.frame[sample.y == label] for label in (1, 0))
        tools.cache[key] = _ByLabel(
            positive=subject.schema.encode(_thinned(positive)), negative=subject.schema.encode(_thinned(negative))
        )
    found: _ByLabel = tools.cache[key]
    return found


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """Every so many rows, so that few enough stay."""
    return frame.iloc[:: max(1, len(frame) // _MOST_COMPARED)]


def _mutable(subject: Subject) -> list[int]:
    return [j for j, feature in enumerate(subject.schema.features) if feature.mutable and not feature.is_categorical]


def _measured(subject: Subject, rows: Judged, metric: str | None, threshold: float) -> Measured | None:
    try:
        return measure(
            subject.model.task, rows.y, score=rows.score, prediction=rows.prediction, metric=metric, threshold=threshold
        )
    except (NotEnoughData, BadInput):
        return None


def _check(session: Session, subject: Subject, yardstick: _Yardstick, due: Due) -> Outcome:
    seen = due.coverage
    counted = {"kept": seen.kept, "labelled": seen.labelled, "coverage": seen.share} if seen else {}
    frame = read_traces(
        session, subject.model, due.window, version=subject.version.name, labelled=True, limit=_MOST_ROWS
    )
    rows = judged(frame, subject.model.task, subject.settings)
    name = yardstick.metric.name if yardstick.metric else None
    try:
        found = measure(
            subject.model.task, rows.y, score=rows.score, prediction=rows.prediction, metric=name,
            threshold=yardstick.threshold,
        )  # fmt: skip
    except NotEnoughData as error:
        return Outcome(status="insufficient", sentence=str(error), rows=len(rows.y), document=counted)
    except BadInput as error:
        return Outcome(status="error", sentence=str(error), rows=len(rows.y), document=counted)
    evasion = _evasion(subject, yardstick.by_label, rows)
    fell = yardstick.limit is not None and is_beyond(found, yardstick.limit)
    others = all_metrics(
        subject.model.task, rows.y, score=rows.score, prediction=rows.prediction, threshold=yardstick.threshold
    )
    by_class = _recalls(subject, rows)
    return Outcome(
        rows=len(rows.y),
        sentence=f"{found}" + (f" lies beyond the limit {yardstick.limit:.3f}" if fell else ""),
        document={
            **counted,
            "metric": found.to_document(),
            "limit": yardstick.limit,
            "metrics": {key: value for key, value in others.items() if np.isfinite(value)},
            "recalls": by_class,
            "evasion": _document(subject, evasion) if evasion else None,
        },
        measurements=(
            _headline(found, yardstick.limit, fell),
            *(_other(key, value) for key, value in others.items() if key != found.name),
            *(_recall_of(name, value) for name, value in by_class.items()),
            *([_adapting(evasion)] if evasion else []),
        ),
        after=partial(_remember, yardstick) if yardstick.found else None,
    )


def _recalls(subject: Subject, rows: Judged) -> dict[str, float]:
    """By class the share of its rows that were called so, where there are several."""
    classes = subject.settings.classes
    if not classes or rows.prediction is None:
        return {}
    return {classes[number]: value for number, value in recalls(rows.y, rows.prediction).items()}


def _evasion(subject: Subject, known: _ByLabel | None, rows: Judged) -> EvasionEvidence | None:
    if known is None:
        return None
    encoded = subject.schema.encode(rows.frame)
    return evasion_signature(
        known.positive, encoded[rows.y == 1], known.negative, encoded[rows.y == 0], _mutable(subject),
        names=subject.schema.names,
    )  # fmt: skip


def _document(subject: Subject, evasion: EvasionEvidence) -> dict[str, Any]:
    name = None if evasion.feature is None else subject.schema.names[evasion.feature]
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in asdict(evasion).items()}
    return {**plain, "name": name}


def _headline(found: Measured, limit: float | None, fell: bool) -> Measurement:
    return Measurement(
        subject=found.name, metric=found.name, statistic=found.value, low=found.low, high=found.high, threshold=limit,
        fired=fell, sentence=str(found),
    )  # fmt: skip


def _other(name: str, value: float) -> Measurement:
    return Measurement(
        subject=name, metric=name, statistic=value if np.isfinite(value) else None,
        detail={"higher_is_better": METRICS[name].higher_is_better},
    )  # fmt: skip


def _recall_of(name: str, value: float) -> Measurement:
    return Measurement(
        subject=f"recall of {name}", metric="recall", statistic=value, detail={"higher_is_better": True, "class": name}
    )


def _adapting(evasion: EvasionEvidence) -> Measurement:
    return Measurement(
        subject="evasion", metric="evasion", statistic=evasion.statistic, p_value=evasion.p_value,
        fired=bool(evasion.detected), sentence=evasion.sentence,
    )  # fmt: skip


def _remember(yardstick: _Yardstick, session: Session, run: CheckRun) -> None:
    """Keep the reference performance that was just measured, so that every later window is held against the same."""
    version = session.get_one(Version, run.version_id)
    if not version.baseline.get("metric") and yardstick.metric is not None:
        learned: Mapping[str, Any] = {"metric": yardstick.metric.to_document(), "limit": yardstick.limit}
        session.execute(
            update(Version).where(Version.id == version.id).values(baseline={**version.baseline, **learned})
        )
