"""From measurements of champion and candidate to gates, to what is shown side by side, and to the new baseline."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.errors import BadInput
from monitor.governance import CandidateFigures, GateResult, all_passed, judge_gates
from monitor.jobs.compare_child import Measurements
from monitor.jobs.gate_figures import (
    Shown,
    SideBySide,
    calibration_error,
    differences_of,
    fairness_of,
    precision_at_recall,
    slices_of,
)
from monitor.jobs.material import Material, operating_threshold
from monitor.jobs.robust_gate import NOTHING_MOVABLE, at_level, robust_gate, why_not_comparable
from monitor.performance import METRICS, Measured, default_metric, limit_of, measure, paired_difference
from monitor.performance import Task as PlatformTask
from monitor.performance.metrics import Needs, mcc, recall
from monitor.performance.verdict import Verdict
from monitor.robustness import Task
from monitor.schema import FloatArray

_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What the gates say of one candidate."""

    recipe: str
    gates: tuple[GateResult, ...]
    comparison: dict[str, Any]
    baseline: dict[str, Any]

    @property
    def passed(self) -> bool:
        return all_passed(self.gates)

    @property
    def sentence(self) -> str:
        failed = [gate.sentence for gate in self.gates if not gate.passed]
        if not failed:
            return f"The {self.recipe} candidate passed all {len(self.gates)} gates."
        return f"The {self.recipe} candidate failed {len(failed)} of {len(self.gates)} gates: {' '.join(failed)}"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Side:
    """One version's scores or values on the rows before and on the held-out ones, and its stress test.

    Of `several` classes they are probabilities (n, k), or class numbers (n,) where the traces report no more.
    """

    learned: FloatArray
    held: FloatArray
    threshold: float
    stress: Measurements | None
    several: bool = False

    @property
    def decided(self) -> FloatArray:
        """Classes on the held-out rows: 0 and 1 by the version's own threshold, of several the likeliest."""
        if self.several:
            return self.held if self.held.ndim == 1 else self.held.argmax(axis=1).astype(np.float64)
        return (self.held > self.threshold).astype(np.float64)

    def given(self, metric: str) -> FloatArray:
        """What a metric compares: scores or values as they are, or classes."""
        return self.decided if METRICS[metric].needs is Needs.CLASS else self.held


def rule(material: Material, recipe: str, champion: Measurements | None, candidate: Measurements) -> Ruling:
    """Judge one candidate on the held-out rows; a champion without an artefact is judged by what its traces report."""
    y, before = material.y[material.cut :], material.y[: material.cut]
    old, new = _champion_side(material, champion, before), _side(material, candidate, before)
    metric = _metric(material, champion)
    difference = paired_difference(
        y, old.given(metric), new.given(metric), metric, threshold=_HALF, several=material.task is Task.MULTICLASS
    )
    figures = [_figures(material, side, metric, y, old) for side in (old, new)]
    cleared, sentence = _trigger(material, figures[1], new.stress, old.stress)
    both = SideBySide(
        frame=material.frame.iloc[material.cut :], schema=material.schema, y=y, old=_shown(material, old),
        new=_shown(material, new), task=PlatformTask(material.model.task),
    )  # fmt: skip
    differences = differences_of(both, old.stress, candidate)
    gates = judge_gates(
        figures[0], figures[1], clean_difference=difference, trigger_cleared=cleared, trigger_sentence=sentence,
        differences=differences, fairness=fairness_of(both, material.settings.fairness_by),
    )  # fmt: skip
    gates = tuple(robust_gate(material.task, gate, old.stress, candidate, differences) for gate in gates)
    return Ruling(
        recipe=recipe,
        gates=gates,
        comparison=_comparison(figures, old.stress, candidate) | {"slices": slices_of(both)},
        baseline=_baseline(material, figures[1].clean, new, candidate),
    )


def _shown(material: Material, side: _Side) -> Shown:
    """What a version says of the held-out rows, and what it decides."""
    if material.task is Task.REGRESSION:
        return Shown(said=side.held, decided=side.held)
    scored = side.stress is not None or material.score is not None
    return Shown(said=side.held if scored else None, decided=side.decided)


def _metric(material: Material, champion: Measurements | None) -> str:
    if material.task is not Task.BINARY:
        usual = default_metric(material.model.task, has_score=False)
        registered = str((material.champion.baseline.get("metric") or {}).get("name", usual))
        return registered if material.model.task in METRICS[registered].tasks else usual
    if champion is None and material.score is None:
        return "accuracy"
    return str((material.champion.baseline.get("metric") or {}).get("name", "auroc"))


def _champion_side(material: Material, champion: Measurements | None, before: FloatArray) -> _Side:
    if champion is not None:
        return _side(material, champion, before)
    traced = material.prediction if material.score is None else material.score
    if traced is None:
        raise BadInput("expected scores or predictions in the traces, or an artefact of the champion: got neither")
    learned, held = traced[: material.cut], traced[material.cut :]
    scored = material.task is Task.BINARY and material.score is not None
    threshold = operating_threshold(learned, before) if scored else _HALF
    several = material.task is Task.MULTICLASS
    return _Side(learned=learned, held=held, threshold=threshold, stress=None, several=several)


def _side(material: Material, found: Measurements, before: FloatArray) -> _Side:
    threshold = operating_threshold(found.learned, before) if material.task is Task.BINARY else _HALF
    several = material.task is Task.MULTICLASS
    return _Side(learned=found.learned, held=found.held, threshold=threshold, stress=found, several=several)


def _figures(material: Material, side: _Side, metric: str, y: FloatArray, champion: _Side) -> CandidateFigures:
    given = side.given(metric)
    needs = METRICS[metric].needs
    clean = measure(
        material.model.task, y, score=given if needs is Needs.SCORE else None,
        prediction=None if needs is Needs.SCORE else given, metric=metric,
    )  # fmt: skip
    figures = CandidateFigures(clean=clean, **_stress_figures(side.stress))
    if material.task is Task.REGRESSION:
        return replace(figures, spread=float(np.ptp(side.held)))
    found = side.decided
    commonest = float(np.unique(found, return_counts=True)[1].max() / found.size)
    figures = replace(figures, mcc=mcc(y, found), spread=1 - commonest)
    if material.task is Task.MULTICLASS:
        noisy = (
            None if side.stress is None else float(np.mean([cell["quality"] for cell in side.stress.report["noise"]]))
        )
        sure = None if side.held.ndim == 1 else calibration_error(y, side.held)
        return replace(figures, corrupted_accuracy=noisy, ece=sure)
    figures = replace(figures, positive_rate=float(found.mean()))
    if needs is not Needs.SCORE:
        return figures
    return replace(
        figures,
        ece=calibration_error(y, side.held),
        precision_at_champion_recall=precision_at_recall(y, side.held, recall(y, champion.decided)),
    )


def _stress_figures(found: Measurements | None) -> dict[str, Any]:
    if found is None:
        return {}
    level = at_level(found)
    flags = tuple(flag["sentence"] for flag in found.report["audit"] if flag["name"] != NOTHING_MOVABLE)
    comparable = why_not_comparable(found) is None
    return {
        "robust_auc": level["robust_auc"] if comparable else None,
        "worst_recall": level["worst_recall"] if comparable else None,
        "corrupted_auc": found.report["mean_corrupted_auc"],
        "latency_p95_ms": found.latency_p95_ms,
        "audit_flags": flags,
    }


def _trigger(
    material: Material, figures: CandidateFigures, candidate: Measurements | None, champion: Measurements | None
) -> tuple[bool, str]:
    """Whether what raised the proposal is gone on the candidate: its metric is within the tolerance again."""
    clean, limit = figures.clean, material.champion.baseline.get("limit")
    if material.proposal.verdict == Verdict.FRAGILE and candidate is not None and champion is not None:
        now, before = candidate.headline, champion.headline
        better = now.value >= before.value if now.higher_is_better else now.value <= before.value
        return better, f"Trigger: {now.words} at {now.level} {before.value:.3f} → {now.value:.3f} on the newest rows."
    if limit is None or (material.champion.baseline.get("metric") or {}).get("name", clean.name) != clean.name:
        return True, "Trigger: no tolerance is set for this metric, so there is none to return to."
    within = clean.value >= limit if clean.higher_is_better else clean.value <= limit
    words = "within" if within else "still beyond"
    return within, f"Trigger: {clean.name} {clean.value:.3f} is {words} the limit {limit:.3f} on the newest rows."


def _comparison(
    figures: list[CandidateFigures], champion: Measurements | None, candidate: Measurements
) -> dict[str, Any]:
    clean, now = figures[1].clean, candidate.headline
    return {
        "clean": {
            "metric": clean.name, "value": clean.value, "low": clean.low, "high": clean.high,
            "champion": figures[0].clean.value,
        },
        "robust": {
            "metric": now.metric, "value": now.value, "low": now.low, "high": now.high, "level": now.level,
            "champion": champion.headline.value if champion is not None else None,
        },
    }  # fmt: skip


def _baseline(material: Material, clean: Measured, side: _Side, found: Measurements) -> dict[str, Any]:
    """What the candidate's windows will be held against, once it serves."""
    try:
        limit = limit_of(clean, setting=material.settings.limit)
    except BadInput:  # the owner's limit lies on the better side of what the candidate reaches
        limit = limit_of(clean)
    return {
        "metric": clean.to_document(),
        "limit": limit,
        "operating_threshold": side.threshold if material.task is Task.BINARY else None,
        "stress": found.headline.to_document() | {"reality_cap": found.reality_cap},
        "stress_stream": found.stream,
        "corrupted_auc": found.report["mean_corrupted_auc"],
    }
