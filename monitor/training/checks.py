"""What is refused before a training, and after it: data that teach nothing, and networks that learned nothing."""

import numpy as np

from monitor.errors import BadInput, NotEnoughData
from monitor.robustness.target import Task
from monitor.schema import FloatArray, Schema

MIN_ROWS = 100
MIN_OF_A_CLASS = 5
_SAME = 1e-6  # outputs closer than this, relative, are one output


def check_data(rows: FloatArray, y: FloatArray, schema: Schema, task: Task) -> None:
    """Refuse what cannot be learned from, in a sentence."""
    if rows.ndim != 2 or rows.shape[1] != len(schema) or y.shape != (len(rows),):
        raise BadInput(f"expected rows (n, {len(schema)}) and targets (n,), got {rows.shape} and {y.shape}")
    missing = int((~np.isfinite(y)).sum())
    if len(y) and missing == len(y):
        raise BadInput(f"expected labelled rows, but all {missing} labels are missing: wait for labels")
    if missing:
        raise BadInput(f"expected a target for every row, got {missing} missing ones: leave those rows out")
    if len(rows) < MIN_ROWS:
        raise NotEnoughData(f"expected at least {MIN_ROWS} labelled rows to train on, got {len(rows)}")
    values, counts = np.unique(y, return_counts=True)
    if len(values) < 2:
        raise BadInput(f"expected at least two different targets, got only {values[0]:g}: there is nothing to learn")
    if task is Task.BINARY and set(values) != {0.0, 1.0}:
        raise BadInput(f"expected binary targets 0 and 1, got {', '.join(f'{v:g}' for v in values[:5])}")
    if task is Task.MULTICLASS and not np.array_equal(values, np.arange(len(values))):
        raise BadInput(
            f"expected classes numbered 0 to {len(values) - 1}, got {', '.join(f'{v:g}' for v in values[:5])}"
        )
    if task is not Task.REGRESSION and counts.min() < MIN_OF_A_CLASS:
        rare = values[int(counts.argmin())]
        raise NotEnoughData(
            f"expected at least {MIN_OF_A_CLASS} rows of every class, got {counts.min()} of class {rare:g}"
        )


def degenerate(outputs: FloatArray, y: FloatArray, task: Task) -> str | None:
    """Why outputs (n,) or (n, k) on rows with targets y (n,) are those of a network that learned nothing; else None.

    One answer for all rows, or so nearly that no threshold separates as many rows as there are positives. A low output
    everywhere is no reason: where positives are rare an honest network says so.

    >>> degenerate(np.full(4, 0.3), np.array([0.0, 1.0, 0.0, 1.0]), Task.BINARY)
    'it gives every row the same output, 0.3'
    >>> degenerate(np.array([-4.0, -2.0, -5.0, -3.0]), np.array([0.0, 1.0, 0.0, 1.0]), Task.BINARY) is None
    True
    """
    if not np.isfinite(outputs).all():
        return "it gives some rows no finite output"
    spread = np.ptp(outputs, axis=0)
    if np.all(spread <= _SAME * (1 + np.abs(outputs).max(axis=0))):
        first = ", ".join(f"{value:.3g}" for value in np.atleast_1d(outputs[0])[:5])
        return f"it gives every row the same output, {first}"
    if task is Task.BINARY:
        return _one_sided(outputs, y)
    if task is Task.MULTICLASS and len(np.unique(outputs.argmax(axis=1))) == 1:
        only = int(outputs[0].argmax())
        share = float((y == only).mean())
        return None if share >= 0.9 else f"it predicts class {only} for every row, of which {share:.0%} are"
    return None


def _one_sided(outputs: FloatArray, y: FloatArray) -> str | None:
    """Where most rows tie, a threshold flags far more or far fewer rows than there are positives, or none at all."""
    positives = float((y > 0).mean())
    threshold = float(np.quantile(outputs, 1 - positives)) if positives < 1 else float(outputs.min())
    above, at_least = float((outputs > threshold).mean()), float((outputs >= threshold).mean())
    if above < 0.1 * positives and 1 - at_least < 0.1 * (1 - positives):
        return f"it gives {at_least - above:.0%} of the rows one output, so it predicts one class for nearly all"
    return None
