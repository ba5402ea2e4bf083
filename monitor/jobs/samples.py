"""Kept traces as arrays: encoded rows, and labels, scores and predictions as numbers."""

from dataclasses import dataclass
from typing import Any

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
    """Labelled traces as a metric wants them; a column that never came is None. Shapes (n,), frame of n rows."""

    frame: pd.DataFrame
    y: FloatArray
    score: FloatArray | None
    prediction: FloatArray | None


def judged(frame: pd.DataFrame, task: str, settings: ModelSettings) -> Judged:
    """Turn text into numbers and leave out rows that lack a label, or what the metric needs."""
    y = numbers(frame["label"], task, settings.positive)
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(np.float64)
    prediction = numbers(frame["prediction"], task, settings.positive)
    use_score, use_prediction = bool(np.isfinite(score).any()), bool(np.isfinite(prediction).any())
    if Task(task) is Task.REGRESSION:  # a service may log its value as a score
        prediction, use_prediction = (prediction, True) if use_prediction else (score, use_score)
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


def numbers(texts: "pd.Series[Any]", task: str, positive: str | None) -> FloatArray:
    """Labels or predictions as numbers: 1 for the positive class, else 0; as they are where no class is named."""
    if Task(task) is Task.CLASSIFICATION and positive is not None:
        hit = (texts.astype(object).map(_plain) == _plain(positive)).to_numpy(np.float64)
        return np.where(texts.isna().to_numpy(), np.nan, hit)
    words = texts.astype(object).map(lambda text: _BOOLEANS.get(str(text).lower(), text))
    return pd.to_numeric(words, errors="coerce").to_numpy(np.float64)


_BOOLEANS = {"true": 1.0, "false": 0.0}


def _plain(text: object) -> str:
    """`1`, `1.0` and `True` are one class."""
    word = str(text).strip()
    number = _BOOLEANS.get(word.lower(), word)
    try:
        return f"{float(number):g}"
    except ValueError:
        return word
