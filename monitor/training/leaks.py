"""Features that know the target too well: as a rule they are written after it, and will not be there in service."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput
from monitor.robustness.scoring import auc
from monitor.robustness.target import Task
from monitor.schema import FloatArray, Schema

SUSPECT_AUC = 0.995
SUSPECT_R2 = 0.999
SUSPECT_MATTHEWS = 0.99  # of "is missing", or of one level, with one class
_MOST_ROWS = 20_000
_BINS = 200
_PRIOR_ROWS = 1.0  # of the mean, mixed into each group's: a group of one row is no proof


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A feature that nearly is the target. `figure` is by `measure`: auroc or r2 of the feature alone, or matthews."""

    feature: str
    measure: str
    figure: float
    sentence: str


def suspected_leaks(rows: FloatArray, y: FloatArray, schema: Schema, task: Task | str) -> tuple[Leak, ...]:
    """Features of rows (n, d) that predict the targets y (n,) (almost) perfectly by themselves, the surest first.

    Each feature is cut into its levels, or into 200 bins by rank with missing values apart; the mean target of a group
    in one half of the rows is the prediction in the other half, so that a column of many levels proves nothing by
    itself. Suspicious are an AUC of .995 (of every class against the rest) or an R² of .999, and a level or
    missingness that has a Matthews correlation of .99 with a class. At most 20,000 rows are looked at.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"paid_back": [0.0, 1.0] * 100, "age": np.arange(200.0)})
    >>> schema = Schema.infer(frame)
    >>> y = frame["paid_back"].to_numpy()
    >>> [leak.sentence for leak in suspected_leaks(schema.encode(frame), y, schema, "binary")]
    ['paid_back alone predicts the target with an AUC of 1.000']
    """
    kind = Task(task)
    chosen = np.random.default_rng(0).permutation(len(rows))[:_MOST_ROWS]
    rows, y = np.asarray(rows, dtype=np.float64)[chosen], np.asarray(y, dtype=np.float64)[chosen]
    found = []
    for j, feature in enumerate(schema.features):
        groups = _groups(rows[:, j], many=feature.is_categorical)
        leak = _suspect(feature.name, groups, rows[:, j], y, kind)
        if leak is not None:
            found.append(leak)
    return tuple(sorted(found, key=lambda leak: (-leak.figure, leak.feature)))


def check_leaks(rows: FloatArray, y: FloatArray, schema: Schema, task: Task, allowed: Iterable[str] = ()) -> None:
    """Refuse to train on a feature that looks like the target, unless it is among those allowed."""
    known = set(allowed)
    if unknown := sorted(known - set(schema.names)):
        raise BadInput(f"expected features to allow as leaks that the schema has, got {', '.join(unknown)}")
    found = [leak for leak in suspected_leaks(rows, y, schema, task) if leak.feature not in known]
    if found:
        names = ", ".join(leak.feature for leak in found)
        raise BadInput(
            f"{'; '.join(leak.sentence for leak in found)}: is it written after the outcome? Leave {names} out of the "
            f"schema, or allow it by name (allow_leaks) if it is known in time"
        )


def _suspect(name: str, groups: NDArray[np.int_], values: FloatArray, y: FloatArray, task: Task) -> Leak | None:
    if task is Task.REGRESSION:
        r2 = max(_r2(_crossed(groups, y), y), _linear_r2(values, y))
        if r2 < SUSPECT_R2:
            return None
        return Leak(feature=name, measure="r2", figure=r2, sentence=f"{name} alone explains the target, R² {r2:.4f}")
    classes: Sequence[float] = (1.0,) if task is Task.BINARY else np.unique(y).tolist()
    aucs = [auc(_crossed(groups, (y == c).astype(np.float64)), (y == c).astype(np.float64)) for c in classes]
    least = min(0.5 if found is None else found for found in aucs)
    if least >= SUSPECT_AUC:
        words = "" if task is Task.BINARY else " or more for each class"
        sentence = f"{name} alone predicts the target with an AUC of {least:.3f}{words}"
        return Leak(feature=name, measure="auroc", figure=least, sentence=sentence)
    return _same_as_a_class(name, groups, np.isnan(values), y, classes)


def _same_as_a_class(
    name: str, groups: NDArray[np.int_], missing: NDArray[np.bool_], y: FloatArray, classes: Sequence[float]
) -> Leak | None:
    """Whether "is missing" or one group of values is one class, row by row."""
    indicators = [("being missing", missing)]
    frequent = np.bincount(groups).argsort()[::-1][:10]
    indicators += [("one value", groups == group) for group in frequent.tolist()]
    for words, indicator in indicators:
        for c in classes:
            figure = abs(_matthews(indicator, y == c))
            if figure >= SUSPECT_MATTHEWS:
                sentence = f"{name}: {words} is nearly the same as class {c:g} (Matthews correlation {figure:.3f})"
                return Leak(feature=name, measure="matthews", figure=figure, sentence=sentence)
    return None


def _groups(column: FloatArray, *, many: bool) -> NDArray[np.int_]:
    """Each row's group: a level, or a bin by rank; equal values share one, and missing ones have their own."""
    present = np.isfinite(column)
    groups = np.zeros(len(column), dtype=int)
    values = column[present]
    distinct, place = np.unique(values, return_inverse=True)
    if not many and len(distinct) > _BINS:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
        place = np.searchsorted(edges, values, side="right")
    groups[present] = place + 1
    return groups


def _crossed(groups: NDArray[np.int_], y: FloatArray) -> FloatArray:
    """The mean target of each row's group in the other half of the rows."""
    half, mean = np.arange(len(y)) % 2 == 0, float(y.mean())
    predicted = np.empty(len(y))
    for of in (half, ~half):
        n, total = (np.bincount(groups[~of], weights=w, minlength=groups.max() + 1) for w in (None, y[~of]))
        predicted[of] = ((total + _PRIOR_ROWS * mean) / (n + _PRIOR_ROWS))[groups[of]]
    return predicted


def _r2(predicted: FloatArray, y: FloatArray) -> float:
    spread = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - predicted) ** 2).sum()) / spread if spread > 0 else 0.0


def _linear_r2(values: FloatArray, y: FloatArray) -> float:
    """Of the best straight line, where most values are present: bins are too coarse for a copy in another unit."""
    known = np.isfinite(values)
    if known.mean() < 0.5 or np.ptp(values[known]) == 0 or np.ptp(y[known]) == 0:
        return 0.0
    return float(np.corrcoef(values[known], y[known])[0, 1] ** 2)


def _matthews(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    if a.all() or not a.any() or b.all() or not b.any():
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
