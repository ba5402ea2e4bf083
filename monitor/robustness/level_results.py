"""What a report says of each level of attack, and of all of them together."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from monitor.errors import HoldfastError
from monitor.robustness import scoring
from monitor.robustness.certify import certified_error
from monitor.robustness.level_attacks import Found, LevelAttacks, proved
from monitor.robustness.report import LevelResult
from monitor.robustness.smoothing import Smoothing, certify_smoothed
from monitor.robustness.stressed import Stressed
from monitor.robustness.target import Task, predicted

_SMOOTHED = 256  # rows: each takes hundreds of calls


def level_results(
    of: Stressed, attacks: LevelAttacks, found: Sequence[Found], clean_auc: float | None, threshold: float | None
) -> tuple[LevelResult, ...]:
    """One result a level; `threshold` is the operating one, in outputs."""
    return tuple(_level(of, one, attacks, clean_auc, threshold) for one in found)


def _level(
    of: Stressed, found: Found, attacks: LevelAttacks, clean_auc: float | None, threshold: float | None
) -> LevelResult:
    task, decision = of.task, of.target.decision
    recall, precision = None, None
    if task is Task.BINARY and threshold is not None:
        recall, precision = scoring.recall_and_precision(found.outputs, of.y, threshold)
    before, after = (predicted(o, task, decision=decision) for o in (of.clean, found.outputs))
    single, attacked = found.by_name("one step"), of.quality(found.outputs)
    bracket, certified_rows = _bracket(of, found)
    return LevelResult(
        level=found.threat.level,
        epsilon=found.threat.epsilon,
        clean=of.quality(of.clean),
        attacked=attacked,
        certified=_certified(task, attacked, bracket),
        interval=scoring.quality_interval(found.outputs, of.y, task, decision=decision),
        constant=scoring.constant_quality(of.y, task),
        flip_rate=float((before != after).mean()),
        clean_auc=clean_auc,
        robust_auc=scoring.auc(found.outputs, of.y) if task is Task.BINARY else None,
        worst_recall=recall,
        worst_precision=precision,
        one_step=None if single is None else of.quality(single.outputs),
        raw_budget=found.threat.raw_budget(),
        frozen=found.threat.frozen,
        beyond_reality=found.threat.beyond_reality,
        attacks=attacks.results(found),
        swaps=int(found.threat.swaps) if found.threat.groups else 0,
        bracket=bracket,
        certified_rows=certified_rows,
    )


def _certified(task: Task, attacked: float, bracket: float | None) -> float | None:
    if bracket is None:
        return None
    return attacked + bracket if task is Task.REGRESSION else max(attacked - bracket, 0.0)


def _bracket(of: Stressed, found: Found) -> tuple[float | None, int]:
    """How far certified accuracy lies below the attacked one, over the rows that were certified, and how many.

    For regression, how far the certified worst-case error lies above the attacked one.
    """
    most = of.plan.certified_rows
    place = np.arange(len(of.rows))
    if most is not None and most < len(place):
        place = np.sort(np.random.default_rng(of.seed).choice(len(place), most, replace=False))
    if of.task is Task.REGRESSION:
        most_error = certified_error(of.target, of.rows[place], of.y[place], found.threat)
        if most_error is None:
            return None, 0
        attacked = np.abs(found.outputs - of.y)[place]
        return float((most_error - attacked).mean()), len(place)
    sure = found.sure[place] if found.sure is not None else proved(of, found, place)
    if sure is None:
        return None, 0
    right = of.right(found.outputs)[place]
    if bool((sure & ~right).any()):
        raise HoldfastError("a row was certified and broken later: the certificate or the attack is wrong, report it")
    return float(right.mean() - sure.mean()), len(place)


def with_smoothed(
    of: Stressed, levels: tuple[LevelResult, ...], found: Sequence[Found]
) -> tuple[tuple[LevelResult, ...], float | None]:
    """Levels with the certificate of the smoothed model where the model has none, and its clean accuracy."""
    known = any(level.certified is not None for level in levels)
    if known or not of.plan.smoothing_samples or of.task is Task.REGRESSION:
        return levels, None
    few, settings = slice(0, _SMOOTHED), Smoothing(samples=of.plan.smoothing_samples)
    threats = [one.threat for one in found]
    result = certify_smoothed(of.target, of.rows[few], of.y[few], threats, settings, seed=of.seed)
    shares = [result.certified[threat.level] for threat in threats]
    return tuple(replace(level, smoothed=s) for level, s in zip(levels, shares, strict=True)), result.accuracy


def half_broken(levels: Sequence[LevelResult]) -> float | None:
    """The ε at which half of the clean accuracy is lost, on straight lines between the levels."""
    epsilon = [0.0, *(level.epsilon for level in levels)]
    accuracy = [levels[0].clean, *(level.attacked for level in levels)]
    half = levels[0].clean / 2
    if accuracy[-1] > half:
        return None
    place = next(i for i, value in enumerate(accuracy) if value <= half)
    if place == 0 or accuracy[place - 1] == accuracy[place]:
        return epsilon[place]
    share = (accuracy[place - 1] - half) / (accuracy[place - 1] - accuracy[place])
    return float(epsilon[place - 1] + share * (epsilon[place] - epsilon[place - 1]))


def area(levels: Sequence[LevelResult]) -> float | None:
    """The mean accuracy over ε from 0 to the widest level, by trapezoids."""
    epsilon = [0.0, *(level.epsilon for level in levels)]
    if epsilon[-1] <= 0:
        return None
    return float(np.trapezoid([levels[0].clean, *(level.attacked for level in levels)], epsilon) / epsilon[-1])
