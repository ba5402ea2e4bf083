"""What the target of a history is: one of two classes, one of several, or a quantity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from monitor.errors import BadInput
from monitor.performance import Task, ordered
from monitor.performance.labels import LEAST_CLASSES, MOST_CLASSES

if TYPE_CHECKING:
    from monitor.intake.columns import Columns

MANY_VALUES = 20  # a numeric target with more distinct values is a quantity, not a class


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The task, and which class is the positive one of two or which are the several; `notes` say what was guessed."""

    task: Task
    positive: str | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def meaning_of(rows: pd.DataFrame, columns: "Columns") -> Meaning:
    """What a person said that the target is, else what its values look like.

    Two distinct values are two classes. Texts are classes. Whole numbers, at most twenty of them, are classes too,
    unless a prediction has decimals; other numbers are a quantity. The classes are those of target and prediction.

    Raises:
        BadInput: a target that is empty or constant, or that cannot be what was said.
    """
    predicted = _known(rows, "prediction")
    if columns.target is None:
        return _without_labels(predicted, columns)
    labels = _known(rows, "label")
    distinct = ordered(labels.unique())
    if not distinct:
        raise BadInput(f"expected values in the target {columns.target}, every one is missing")
    if len(distinct) == 1:
        raise BadInput(f"expected a target that varies, {columns.target} is always {distinct[0]!r}")
    task = _said(columns) or _looks_like(labels, predicted, distinct, columns)
    if task is Task.REGRESSION:
        return _quantity(labels, distinct, columns)
    if task is Task.CLASSIFICATION:
        if len(distinct) != 2:
            raise BadInput(f"expected two classes in the target {columns.target}, got {_some(distinct)}")
        return Meaning(task=task, positive=_positive(distinct))
    return _several(ordered([*distinct, *predicted.unique()]), columns, is_guess=columns.task is None)


def _known(rows: pd.DataFrame, name: str) -> "pd.Series[Any]":
    return rows[name].dropna() if name in rows else pd.Series(dtype=object)


def _said(columns: "Columns") -> Task | None:
    if columns.task is None:
        return None
    if columns.task not in set(Task):
        raise BadInput(f"expected a task among {', '.join(Task)}, got {columns.task!r}")
    return Task(columns.task)


def _without_labels(predicted: "pd.Series[Any]", columns: "Columns") -> Meaning:
    """Labels may come later: the predictions alone say what they will be."""
    task, distinct = _said(columns), ordered(predicted.unique())
    if task is Task.MULTICLASS or (task is None and len(distinct) >= LEAST_CLASSES and not _all_numbers(predicted)):
        return _several(distinct, columns, is_guess=False)
    return Meaning(task=task or Task.CLASSIFICATION)


def _looks_like(
    labels: "pd.Series[Any]", predicted: "pd.Series[Any]", distinct: Sequence[str], columns: "Columns"
) -> Task:
    if columns.score is None and _all_numbers(labels):
        if len(distinct) > MANY_VALUES:
            return Task.REGRESSION
        if len(distinct) > 2 and not (_all_whole(labels) and _all_whole(predicted)):
            return Task.REGRESSION
    return Task.CLASSIFICATION if len(distinct) == 2 else Task.MULTICLASS


def _quantity(labels: "pd.Series[Any]", distinct: Sequence[str], columns: "Columns") -> Meaning:
    if not _all_numbers(labels):
        raise BadInput(f"expected numbers in the target {columns.target}, got {_some(distinct)}")
    doubtful = columns.task is None and len(distinct) <= MOST_CLASSES and _all_whole(labels)
    note = f"{columns.target} takes {len(distinct)} whole numbers: read as a quantity; --task multiclass for classes"
    return Meaning(task=Task.REGRESSION, notes=(note,) if doubtful else ())


def _several(classes: Sequence[str], columns: "Columns", *, is_guess: bool) -> Meaning:
    what = f"the target {columns.target}" if columns.target else "the prediction"
    if not LEAST_CLASSES <= len(classes) <= MOST_CLASSES:
        raise BadInput(
            f"expected two classes, {LEAST_CLASSES} to {MOST_CLASSES} classes or a number in {what}, "
            f"got {_some(classes)}: judge groups of classes, or one against the rest"
        )
    if columns.score is not None and columns.prediction is None:
        raise BadInput(
            f"expected --prediction beside --score {columns.score}: of {len(classes)} classes a score is the "
            "probability of the predicted one, and the score alone does not say which that is"
        )
    told = f"{what} is one of {len(classes)} classes: {', '.join(classes[:10])}{' …' if len(classes) > 10 else ''}"
    hint = "; --task regression if it is a quantity" if is_guess and _all_numbers(pd.Series(classes)) else ""
    return Meaning(task=Task.MULTICLASS, classes=tuple(classes), notes=(told + hint,))


def _positive(distinct: Sequence[str]) -> str:
    """Of two labels the one that says yes: 1, true, yes, up, …; else the later in the alphabet."""
    for label in distinct:
        if label.lower() in {"1", "true", "yes", "y", "positive", "up", "fraud", "bad", "churn", "default"}:
            return label
    return max(distinct)


def _all_numbers(texts: "pd.Series[Any]") -> bool:
    return bool(pd.to_numeric(texts, errors="coerce").notna().all())


def _all_whole(texts: "pd.Series[Any]") -> bool:
    values = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    return bool((values == np.round(values)).all())


def _some(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:5])}{' …' if len(classes) > 5 else ''})"
