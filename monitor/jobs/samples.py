"""Kept traces as arrays: labels, scores and predictions as numbers."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from monitor.db.registry import ModelSettings
from monitor.db.traces import read_traces
from monitor.jobs.stream import Subject
from monitor.performance import Task
from monitor.schema import FloatArray

_MOST_ROWS = 20_000


def reference_sample(session: Session, subject: Subject, *, labelled: bool = False) -> pd.DataFrame:
    """At most 20,000 kept traces, a random choice over the reference; none without a reference.

    A reference may lie in the traces of the version before, so those of all versions count.
    """
    if subject.normal_from is None:
        return pd.DataFrame()
    return read_traces(session, subject.model, subject.normal_from, labelled=labelled, limit=_MOST_ROWS)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Labelled traces as a metric wants them; a column that never came is None. Shapes (n,), frame of n rows.

    Of several classes there is no score, and a label that is none of them is there as UNKNOWN.
    """

    frame: pd.DataFrame
    y: FloatArray
    score: FloatArray | None
    prediction: FloatArray | None


def judged(frame: pd.DataFrame, task: str, settings: ModelSettings) -> Judged:
    """Turn text into numbers and leave out rows that lack a label, or what the metric needs."""
    labels = settings.labels(task)
    y, prediction = labels.numbers(frame["label"]), labels.numbers(frame["prediction"])
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(np.float64)
    use_score, use_prediction = bool(np.isfinite(score).any()), bool(np.isfinite(prediction).any())
    if labels.task is Task.REGRESSION:  # a service may log its value as a score
        prediction, use_prediction = (prediction, True) if use_prediction else (score, use_score)
        use_score = False
    if labels.task is Task.MULTICLASS:  # the probability of whichever class was predicted ranks nothing
        use_score = False
    whole = np.isfinite(y)
    for used, values in ((use_score, score), (use_prediction, prediction)):
        whole &= np.isfinite(values) if used else True
    return Judged(
        frame=frame[whole],
        y=y[whole],
        score=score[whole] if use_score else None,
        prediction=prediction[whole] if use_prediction else None,
    )
