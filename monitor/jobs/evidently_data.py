"""What Evidently is shown of a window: its kept traces and the reference's, made safe."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from monitor.db.registry import (
    Model,
    ModelSettings,
    Version,
    feature_schema,
    newest_reference,
    reference_for,
    schema_of,
)
from monitor.db.traces import read_traces
from monitor.errors import BadInput
from monitor.performance import Labels, Task
from monitor.reports.sanitise import MAX_ROWS, Sanitised, sanitise
from monitor.windows import Window

POSITIVE, _NEGATIVE, _HALF = "1", "0", 0.5


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The two samples; without them `status` and `sentence` say why, in the words of a check run."""

    data: Sanitised | None = None
    task: Task = Task.CLASSIFICATION
    status: str = "ok"
    sentence: str = ""

    @property
    def regression(self) -> bool:
        return self.task is Task.REGRESSION

    @property
    def positive(self) -> str | None:
        """Of two classes the one that scores are of."""
        return POSITIVE if self.task is Task.CLASSIFICATION else None


def shown(
    session: Session, model: Model, version: Version | None, window: Window, *, of_version: bool = False,
    max_rows: int = MAX_ROWS, **how: Any,
) -> Shown:  # fmt: skip
    """The window, of all versions or of `version` alone, beside what is normal for it; `sanitise` takes `how`."""
    reference = (reference_for(session, version) if version else None) or newest_reference(session, model)
    if reference is None:
        return Shown(status="no_reference", sentence="the model has no reference yet: there is nothing to compare with")
    only = version.name if version is not None and of_version else None
    current = read_traces(session, model, window, version=only, limit=max_rows)
    normal = read_traces(session, model, Window(reference.starts, reference.ends), limit=max_rows)
    # where a reference lies over the window itself, only what lies beside it is normal
    normal = normal[(normal["event_time"] < window.start) | (normal["event_time"] >= window.end)]
    labels = ModelSettings.of(model).labels(model.task)
    if labels.task is not Task.REGRESSION:
        threshold = (version.baseline if version else {}).get("operating_threshold")
        current, normal = (_as_classes(frame, labels, threshold) for frame in (current, normal))
    schema = schema_of(feature_schema(session, model))
    try:
        is_value = labels.task is Task.REGRESSION
        data = sanitise(current, normal, schema, regression=is_value, max_rows=max_rows, **how)
    except BadInput as error:
        return Shown(status="insufficient", sentence=str(error))
    return Shown(data=data, task=labels.task)


def _as_classes(frame: pd.DataFrame, labels: Labels, threshold: float | None) -> pd.DataFrame:
    """Labels and predictions as 1 and 0 in words, where no class was logged by the score; of several by name."""
    label, prediction = (labels.numbers(frame[name]) for name in ("label", "prediction"))
    if labels.task is Task.MULTICLASS:  # it fails on a class that one side alone has: none of ours is none
        said, true = (pd.Series(labels.texts(found), frame.index, dtype=object) for found in (prediction, label))
        return frame.assign(label=true, prediction=said)
    score = pd.to_numeric(frame["score"], errors="coerce").to_numpy(np.float64)
    by_score = np.where(np.isfinite(score), score > (_HALF if threshold is None else threshold), np.nan)
    prediction = np.where(np.isfinite(prediction), prediction, by_score)
    words = {1.0: POSITIVE, 0.0: _NEGATIVE}
    return frame.assign(
        label=pd.Series(label, frame.index).map(words), prediction=pd.Series(prediction, frame.index).map(words)
    )
