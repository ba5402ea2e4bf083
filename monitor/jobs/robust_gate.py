"""The gate of worst-case figures: robust AUC, of several classes robust accuracy, of values the worst-case error."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from monitor.governance import GateResult
from monitor.jobs.compare_child import Measurements
from monitor.jobs.stress_child import Headline
from monitor.performance.intervals import Interval
from monitor.robustness import Task

NOTHING_MOVABLE = "nothing_movable"
_NAMES = {Task.MULTICLASS: "robust_accuracy_s2", Task.REGRESSION: "robust_error_s2"}


def robust_gate(
    task: Task, gate: GateResult, champion: Measurements | None, candidate: Measurements,
    differences: Mapping[str, Interval],
) -> GateResult:  # fmt: skip
    """The robust gate where there is no pair of robust AUCs to compare: several classes, values, or one side only."""
    if gate.name != "robust_auc_s2":
        return gate
    now = candidate.headline
    name = _NAMES.get(task, gate.name)
    if champion is None:
        why = "the champion has no artefact, so there is nothing to compare it with"
    elif task is Task.REGRESSION:
        return _robust_figure(gate, name, champion.headline, now, differences)
    elif (found := why_not_comparable(candidate) or why_not_comparable(champion)) is not None:
        why = found
    elif task is Task.MULTICLASS:
        return _robust_figure(gate, name, champion.headline, now, differences)
    else:
        return gate if gate.low is not None else replace(gate, low=now.low, high=now.high)
    return replace(
        gate, name=name, value=now.value, limit=now.value, low=now.low, high=now.high, passed=True,
        sentence=f"{now.words[0].upper()}{now.words[1:]} at {now.level} is {now.value:.3g}; {why}.",
    )  # fmt: skip


def _robust_figure(
    gate: GateResult, name: str, before: Headline, now: Headline, differences: Mapping[str, Interval]
) -> GateResult:
    """Worst-case figures of both versions held against each other; the interval is of their paired difference."""
    apart = differences.get(name)
    edge = "at least" if now.higher_is_better else "at most"
    return replace(
        gate, name=name, value=now.value, limit=before.value, champion=before.value,
        low=now.low if apart is None else before.value + apart[0],
        high=now.high if apart is None else before.value + apart[1],
        passed=now.value >= before.value if now.higher_is_better else now.value <= before.value,
        sentence=f"{now.words[0].upper()}{now.words[1:]} at {now.level} {before.value:.3g} → {now.value:.3g} "
        f"({edge} {before.value:.3g}).",
    )  # fmt: skip


def at_level(found: Measurements) -> dict[str, Any]:
    level: dict[str, Any] = next(one for one in found.report["levels"] if one["level"] == found.headline.level)
    return level


def why_not_comparable(found: Measurements) -> str | None:
    """Why an attack at this level says nothing about these rows, if so."""
    if any(flag["name"] == NOTHING_MOVABLE for flag in found.report["audit"]):
        return "no feature is declared mutable, so no attack is possible"
    if at_level(found)["beyond_reality"]:
        return f"{found.headline.level} reaches real rows of another class, so it is shown and does not gate"
    return None
