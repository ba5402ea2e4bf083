"""What gates say beyond point values: paired intervals, gaps between groups, and slices in which a candidate loses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from monitor.governance import FairnessFigure
from monitor.jobs.compare_child import Measurements
from monitor.performance.fairness import Rate, enough, gap_on, largest_gap, rates
from monitor.performance.groups import groups_of
from monitor.performance.intervals import IndexArray, Interval
from monitor.performance.metrics import Task, auroc, brier_rows, mcc, precision, recall
from monitor.performance.paired import paired_intervals
from monitor.performance.slices import worse_slices
from monitor.schema import FloatArray, Schema

_BINS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """One version on the held-out rows: its scores or values (n,), None where it reports classes alone, and decisions.

    Of several classes `said` are their probabilities (n, k). Decisions are classes 0 and 1 by the version's own
    threshold, of several the likeliest one's number, or the values themselves.
    """

    said: FloatArray | None
    decided: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class SideBySide:
    """Champion (`old`) and candidate (`new`) on the same held-out rows with their truth, shapes (n,)."""

    frame: pd.DataFrame
    schema: Schema
    y: FloatArray
    old: Shown
    new: Shown
    task: Task

    def losses(self) -> tuple[str, FloatArray, FloatArray]:
        """What a row costs in words, for the champion and for the candidate."""
        y, old, new = self.y, self.old, self.new
        if self.task is Task.REGRESSION:
            return "mean absolute error", np.abs(y - old.decided), np.abs(y - new.decided)
        if old.said is not None and new.said is not None:
            return "mean squared error of the probability", brier_rows(y, old.said), brier_rows(y, new.said)
        return "share of wrong decisions", _wrong(y, old), _wrong(y, new)


def _wrong(y: FloatArray, one: Shown) -> FloatArray:
    return np.asarray(y != one.decided, dtype=np.float64)


def differences_of(both: SideBySide, champion: Measurements | None, candidate: Measurements) -> dict[str, Interval]:
    """Paired intervals of candidate minus champion by gate, for each gate whose figure is one of shared rows."""
    found = {} if both.task is Task.REGRESSION else _clean_differences(both)
    return found if champion is None else found | _attacked_differences(both, champion, candidate)


def _clean_differences(both: SideBySide) -> dict[str, Interval]:
    y, old, new = both.y, both.old.decided, both.new.decided

    def differences(rows: IndexArray) -> dict[str, float]:
        truth, before, now = y[rows], old[rows], new[rows]
        found = {"mcc": mcc(truth, now) - mcc(truth, before)}
        if both.task is Task.CLASSIFICATION:
            found["positive_rate"] = float(now.mean() - before.mean())
        if both.old.said is None or both.new.said is None:
            return found
        said, says = both.old.said[rows], both.new.said[rows]
        found["calibration"] = calibration_error(truth, says) - calibration_error(truth, said)
        if both.task is Task.MULTICLASS:
            return found
        wanted = recall(truth, before)
        return found | {
            "precision_at_champion_recall": precision_at_recall(truth, says, wanted)
            - precision_at_recall(truth, said, wanted),
        }

    return paired_intervals(differences, y)


def _attacked_differences(both: SideBySide, champion: Measurements, candidate: Measurements) -> dict[str, Interval]:
    """Of worst-case figures, where both were attacked on the same rows."""
    if not np.array_equal(champion.attacked_rows, candidate.attacked_rows):
        return {}
    y = both.y[candidate.attacked_rows]
    old, new = champion.attacked, candidate.attacked
    if both.task is Task.MULTICLASS:
        kept, keeps = (np.asarray(one.argmax(axis=1) == y, dtype=np.float64) for one in (old, new))
        return paired_intervals(lambda rows: {"robust_accuracy_s2": float(keeps[rows].mean() - kept[rows].mean())}, y)
    if both.task is Task.REGRESSION:
        before, now = np.abs(old - y), np.abs(new - y)
        return paired_intervals(
            lambda rows: {"robust_error_s2": float(now[rows].mean() - before[rows].mean())}, np.zeros(y.size)
        )
    if champion.threshold is None or candidate.threshold is None:
        return {}
    found, finds = (old > champion.threshold).astype(float), (new > candidate.threshold).astype(float)
    return paired_intervals(
        lambda rows: {
            "robust_auc_s2": auroc(y[rows], new[rows]) - auroc(y[rows], old[rows]),
            "worst_recall_s2": recall(y[rows], finds[rows]) - recall(y[rows], found[rows]),
        },
        y,
    )


def fairness_of(both: SideBySide, features: Iterable[str]) -> tuple[FairnessFigure, ...]:
    """The widest gap of each rate between groups of each feature, with the paired interval of how it changed."""
    found = []
    for feature in features:
        before, now = (rates(both.y, one.decided, task=both.task) for one in (both.old, both.new))
        for old, new in zip(before, now, strict=True):
            found.append(_fairness(both, feature, old, new))
    return tuple(found)


def _fairness(both: SideBySide, feature: str, old: Rate, new: Rate) -> FairnessFigure:
    known = groups_of(both.frame, both.schema, feature) if feature in both.schema.names else ()
    groups = enough(known, new)
    figure = FairnessFigure(
        feature=feature, rate=new.name, champion=largest_gap(groups, old), candidate=largest_gap(groups, new),
        unit=float(old.values.mean()) if both.task is Task.REGRESSION else 1.0,
    )  # fmt: skip
    if figure.candidate is None:
        return figure
    intervals = paired_intervals(
        lambda rows: {"gap": gap_on(groups, new, rows) - gap_on(groups, old, rows)},
        np.zeros(both.y.size) if both.task is Task.REGRESSION else both.y,
    )
    return FairnessFigure(**{**vars(figure), "difference": intervals.get("gap")})


def slices_of(both: SideBySide) -> list[dict[str, Any]]:
    """The levels and quarters of features in which the candidate is significantly worse, the worst first."""
    loss, old, new = both.losses()
    groups = [group for name in both.schema.names for group in groups_of(both.frame, both.schema, name)]
    return [found.to_document() for found in worse_slices(groups, old, new, loss=loss)]


def calibration_error(y: FloatArray, score: FloatArray) -> float:
    """Expected calibration error over ten bins of equal size, less the gap that chance alone makes.

    Of probabilities (n, k) it is that of the likeliest class: how often it is right against how sure it was.

    >>> rng = np.random.default_rng(0)
    >>> score = rng.uniform(size=20_000)
    >>> calibration_error((rng.uniform(size=20_000) < score).astype(float), score) < 0.01
    True
    """
    if score.ndim == 2:
        y, score = (score.argmax(axis=1) == y).astype(np.float64), score.max(axis=1)
    total = 0.0
    for rows in np.array_split(np.argsort(score, kind="stable"), _BINS):
        share = float(y[rows].mean())
        gap = (share - float(score[rows].mean())) ** 2 - share * (1 - share) / max(rows.size - 1, 1)
        total += rows.size / y.size * max(gap, 0.0) ** 0.5
    return total


def precision_at_recall(y: FloatArray, score: FloatArray, wanted: float) -> float:
    """The precision at the highest threshold at which at least `wanted` of the positives are found."""
    positives = np.sort(score[y == 1])[::-1]
    place = min(max(int(np.ceil(wanted * positives.size)) - 1, 0), positives.size - 1)
    return precision(y, (score >= positives[place]).astype(np.float64))
