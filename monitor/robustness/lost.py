"""Which rows an attack costs: the part of robustness that clean accuracy does not explain."""

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput
from monitor.robustness.report import CampaignReport
from monitor.robustness.target import Task, is_right
from monitor.schema import FloatArray

REGISTERED_SHARE = 0.2  # of rows whose error grows beyond the cut at registration, where there are no classes


def lost_rows(
    report: CampaignReport, level: str, *, cut: float | None = None, threshold: float | None = None
) -> NDArray[np.bool_]:
    """Rows that are right on clean data and wrong at the worst point found at `level`, shape (n,).

    For binary models right means on the right side of the operating threshold (`threshold`, else the campaign's). For
    regression a row is lost when the attack adds more than `cut` to its absolute error, in the target's unit.
    """
    place = next((i for i, result in enumerate(report.levels) if result.level == level), None)
    if place is None:
        known = ", ".join(result.level for result in report.levels)
        raise BadInput(f"expected a level among {known}, got {level!r}")
    worst = report.worst_outputs[place]
    if report.task is Task.REGRESSION:
        if cut is None:
            raise BadInput("expected the cut beyond which a grown error counts as lost, got none")
        return np.asarray(_growth(report, worst) > cut)
    known_threshold = report.threshold if threshold is None else threshold
    decision = 0.0 if known_threshold is None else known_threshold
    before, after = (is_right(given, report.y, report.task, decision=decision) for given in (report.outputs, worst))
    return np.asarray(before & ~after)


def registered_cut(report: CampaignReport, level: str) -> float | None:
    """The growth of the error that a fifth of the rows exceed; None where there are classes."""
    if report.task is not Task.REGRESSION:
        return None
    place = [result.level for result in report.levels].index(level)
    return float(np.quantile(_growth(report, report.worst_outputs[place]), 1 - REGISTERED_SHARE))


def _growth(report: CampaignReport, worst: FloatArray) -> FloatArray:
    before, after = (np.abs(given.reshape(len(given)) - report.y) for given in (report.outputs, worst))
    return np.asarray(after - before, dtype=np.float64)
