"""What a report says of noise and faults: the grid of families by severity, and its summary."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from monitor.robustness import scoring
from monitor.robustness.noise import FAMILIES, Surroundings, corrupt
from monitor.robustness.report import NoiseResult
from monitor.robustness.stressed import Stressed
from monitor.robustness.target import Task, predicted
from monitor.schema import FloatArray

_LOSSES = (0.01, 0.05, 0.1)  # of the clean AUC


def noise_results(of: Stressed, around: Surroundings) -> tuple[NoiseResult, ...]:
    """The grid of the plan's families by severity, without those for which the schema has no feature."""
    cells = [(f, s) for f in of.plan.families for s in of.plan.severities if FAMILIES[f].applies(around)]
    return tuple(_cell(of, family, severity, around) for family, severity in cells)


def _cell(of: Stressed, family: str, severity: int, around: Surroundings) -> NoiseResult:
    rng = np.random.default_rng([of.seed, list(FAMILIES).index(family), severity])
    outputs = of.target.outputs(corrupt(family, of.rows, severity, around, rng))
    task, decision = of.task, of.target.decision
    flipped = predicted(outputs, task, decision=decision) != predicted(of.clean, task, decision=decision)
    return NoiseResult(
        family=family,
        severity=severity,
        strength=FAMILIES[family].strengths[severity - 1],
        unit=FAMILIES[family].unit,
        quality=of.quality(outputs),
        auc=scoring.auc(outputs, of.y) if task is Task.BINARY else None,
        flip_rate=float(flipped.mean()),
        unanswered=float(np.isnan(outputs.reshape(len(outputs), -1)).any(axis=1).mean()),
        calibration_error=_calibration_error(of, outputs),
    )


def _calibration_error(of: Stressed, outputs: FloatArray) -> float | None:
    if of.task is not Task.BINARY or np.isnan(outputs).any():
        return None
    scores: FloatArray = outputs if of.target.module is None else np.asarray(expit(outputs))
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    return scoring.calibration_error(scores, of.y) if inside else None


def mean_corrupted_auc(noise: Sequence[NoiseResult]) -> float | None:
    """Over all cells; one in which the model left rows unanswered ranks nothing, and counts as chance."""
    return float(np.mean([0.5 if cell.auc is None else cell.auc for cell in noise])) if noise else None


def snr_at_loss(noise: Sequence[NoiseResult], clean_auc: float | None) -> dict[str, float | None]:
    """By loss of AUC, the signal-to-noise ratio in dB at which it is reached; empty without the sweep."""
    cells = [cell for cell in noise if cell.family == "snr" and cell.auc is not None]
    if clean_auc is None or len(cells) < 2:
        return {}
    strengths, aucs = [cell.strength for cell in cells], [cell.auc for cell in cells if cell.auc is not None]
    return {f"{loss:.0%}": scoring.snr_at_loss(strengths, aucs, clean_auc, loss) for loss in _LOSSES}
