"""Whether a degenerate candidate is ever promoted: random small tables cut from real ones, judged by the real gates.

A candidate is degenerate when, on thousands of rows that neither the training nor the gates saw, its Matthews
correlation is below .8 of the champion's or its AUC lower by more than two points. The trigger counts as cleared: no
gate may lean on it.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.special import expit
from torch import nn

from benchmarks.output import Goal
from benchmarks.training_cost.spoiled import KINDS, Lesson, honest
from benchmarks.training_cost.tables import MUTABLE, NAMES, Split, split
from monitor.errors import BadInput
from monitor.governance import CandidateFigures, GateResult, judge_gates
from monitor.jobs.gating import calibration_error
from monitor.performance import measure, paired_difference
from monitor.performance.metrics import auroc, mcc, precision, recall
from monitor.robustness import Plan, Search, Task, ThreatModel, reality_cap, run_campaign
from monitor.robustness.target import Target
from monitor.schema import FloatArray, Schema

RUNS_A_SEED = 40
CANDIDATES_A_TABLE = 4
HONEST = "honest"
HONEST_SHARE = 0.2
LEVEL = "S2"
PLAN = Plan(
    name="gates", rows=400, levels=(LEVEL,), search=Search(steps=10), attacks=("one step",), certified_rows=8,
    certify_effort=0.0, probes=False, audit_queries=0,
)  # fmt: skip
_NOTHING_MOVABLE = "nothing_movable"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A small table: rows learned from, rows held out for the gates, and many rows that tell the truth."""

    schema: Schema
    learned: tuple[FloatArray, FloatArray]
    held: tuple[FloatArray, FloatArray]
    truth: tuple[FloatArray, FloatArray]
    threat: ThreatModel
    champion: nn.Module


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One version on the held-out rows and on those that tell the truth; classes are cut where alerts = base rate."""

    figures: CandidateFigures
    held: FloatArray
    classes: FloatArray
    true_auc: float
    true_mcc: float
    comparable: bool


@dataclass(kw_only=True)
class Tally:
    """What was tried, by kind: how many were degenerate, how many promoted, and which gates stopped degenerate ones."""

    tried: Counter[str] = field(default_factory=Counter)
    degenerate: Counter[str] = field(default_factory=Counter)
    promoted: Counter[str] = field(default_factory=Counter)
    stopped: Counter[str] = field(default_factory=Counter)
    wrong: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, champion: Side, judged: tuple[Side, tuple[GateResult, ...]] | None, held: int) -> None:
        """One candidate; None where the training itself refused it."""
        self.tried[kind] += 1
        if judged is None:
            self.degenerate[kind] += 1
            self.stopped["refused after training"] += 1
            return
        candidate, gates = judged
        bad = is_degenerate(champion, candidate)
        failed = [gate.name for gate in gates if not gate.passed]
        self.degenerate[kind] += bad
        self.promoted[kind] += not failed
        if bad:
            self.stopped.update(failed)
        if bad and not failed:
            self.wrong.append(_told(kind, champion, candidate, held))

    def to_document(self) -> dict[str, Any]:
        """As figures of the benchmark."""
        return {
            "runs": self.tried.total(),
            "by kind": {
                kind: {"tried": n, "degenerate": self.degenerate[kind], "promoted": self.promoted[kind]}
                for kind, n in sorted(self.tried.items())
            },
            "degenerate": self.degenerate.total(),
            "degenerate and promoted": len(self.wrong),
            "promoted wrongly": self.wrong,
            "gates that stopped degenerate ones": dict(self.stopped.most_common()),
        }


def figures(runs: int, *, seed: int, tell: Callable[[str], None] = print) -> dict[str, Any]:
    """That many candidates, in parts of forty with a seed each."""
    tally = Tally()
    for part in range(-(-runs // RUNS_A_SEED)):
        _try(tally, min(runs, (part + 1) * RUNS_A_SEED), np.random.default_rng(seed + part))
        tell(
            f"{tally.tried.total():>5} candidates, {tally.degenerate.total()} degenerate, "
            f"{len(tally.wrong)} of these promoted; honest {tally.promoted[HONEST]} of {tally.tried[HONEST]} promoted"
        )
    return tally.to_document()


def _try(tally: Tally, until: int, rng: np.random.Generator) -> None:
    """Candidates on random tables until so many were tried in all."""
    while tally.tried.total() < until:
        trial = _trial(rng)
        if trial is None:
            continue
        champion = _side(trial, trial.champion, None)
        for _ in range(min(CANDIDATES_A_TABLE, until - tally.tried.total())):
            kind = HONEST if rng.random() < HONEST_SHARE else str(rng.choice(list(KINDS)))
            tally.add(kind, champion, _judged(trial, champion, kind, rng), len(trial.held[1]))


def goals(found: dict[str, Any]) -> list[Goal]:
    """0 degenerate candidates promoted."""
    name = f"degenerate candidates promoted in {found['runs']:,} random runs ({found['degenerate']:,} were degenerate)"
    value = float(found["degenerate and promoted"])
    return [Goal(name=name, target="0", value=value, met=value == 0)]


def is_degenerate(champion: Side, candidate: Side) -> bool:
    """By the rows that tell the truth."""
    return candidate.true_mcc < 0.8 * champion.true_mcc or candidate.true_auc < champion.true_auc - 0.02


def _trial(rng: np.random.Generator) -> Trial | None:
    """Features and rows of a real table, and a champion that learned from the older half; None if it is useless."""
    of = split(str(rng.choice(NAMES)), int(rng.integers(1_000_000)), trained_on=4_000, tested_on=6_000)
    of = _some_features(of, rng)
    learned, held = int(rng.integers(400, 3_000)), int(rng.integers(200, 1_000))
    rows, y = of.x_train[:learned], of.y_train[:learned]
    gate = of.x_train[learned : learned + held], of.y_train[learned : learned + held]
    threat = ThreatModel.from_schema(of.schema, rows, reality_cap=reality_cap(of.schema, rows, y))
    older = slice(0, learned // 2)
    lesson = Lesson(schema=of.schema, rows=rows[older], y=y[older], threat=threat, champion=nn.Identity(), rng=rng)
    try:
        model = lesson.learned(str(rng.choice(["standard", "noise", "hardened"])))
    except BadInput:
        return None
    trial = Trial(
        schema=of.schema, learned=(rows, y), held=gate, truth=(of.x_test, of.y_test), threat=threat, champion=model
    )
    outputs = Target(model, Task.BINARY).outputs(of.x_test)
    return trial if auroc(of.y_test, outputs) > 0.6 else None


def _some_features(of: Split, rng: np.random.Generator) -> Split:
    """Three to all of the features, at least one of them mutable."""
    names = np.array(of.schema.names)
    count = int(rng.integers(3, len(names) + 1))
    chosen = np.sort(rng.choice(len(names), count, replace=False))
    if not set(names[chosen]) & set(MUTABLE[of.name]):
        chosen = np.sort(np.append(chosen, np.flatnonzero(np.isin(names, MUTABLE[of.name]))[0]))
    schema = Schema(tuple(of.schema.features[j] for j in chosen))
    return replace(of, schema=schema, x_train=of.x_train[:, chosen], x_test=of.x_test[:, chosen])


def _judged(
    trial: Trial, champion: Side, kind: str, rng: np.random.Generator
) -> tuple[Side, tuple[GateResult, ...]] | None:
    rows, y = trial.learned
    lesson = Lesson(schema=trial.schema, rows=rows, y=y, threat=trial.threat, champion=trial.champion, rng=rng)
    try:
        model = honest(lesson) if kind == HONEST else KINDS[kind](lesson)
    except BadInput:
        return None
    candidate = _side(trial, model, champion)
    difference = paired_difference(trial.held[1], champion.held, candidate.held, "auroc", resamples=20)
    gates = judge_gates(
        champion.figures, candidate.figures, clean_difference=difference, trigger_cleared=True, trigger_sentence="–"
    )
    if not (champion.comparable and candidate.comparable):  # as the product: such a level is shown and does not gate
        gates = tuple(gate for gate in gates if gate.name != "robust_auc_s2")
    return candidate, gates


def _side(trial: Trial, model: nn.Module, champion: Side | None) -> Side:
    target = Target(model, Task.BINARY)
    (rows, y_before), (x, y), (x_true, y_true) = trial.learned, trial.held, trial.truth
    before, held, true = (np.asarray(expit(target.outputs(part))) for part in (rows, x, x_true))
    threshold = float(np.quantile(before, 1 - y_before.mean()))
    classes = (held > threshold).astype(np.float64)
    report = run_campaign(model, x, y, trial.threat, plan=PLAN, schema=trial.schema, reference=rows, task=Task.BINARY)
    flags = report.audit
    (level,) = report.levels
    comparable = not level.beyond_reality and all(flag.name != _NOTHING_MOVABLE for flag in flags)
    wanted = recall(y, classes if champion is None else champion.classes)
    ordered = np.sort(held[y == 1])[::-1]
    at_recall = held >= ordered[min(max(int(np.ceil(wanted * ordered.size)) - 1, 0), ordered.size - 1)]
    found = CandidateFigures(
        clean=measure("classification", y, score=held, metric="auroc"),
        robust_auc=level.robust_auc if comparable else None,
        worst_recall=level.worst_recall if comparable else None,
        corrupted_auc=report.mean_corrupted_auc,
        precision_at_champion_recall=precision(y, at_recall.astype(np.float64)),
        ece=calibration_error(y, held),
        positive_rate=float(classes.mean()),
        mcc=mcc(y, classes),
        audit_flags=tuple(flag.sentence for flag in flags if flag.name != _NOTHING_MOVABLE),
    )
    return Side(
        figures=found, held=held, classes=classes, true_auc=auroc(y_true, true),
        true_mcc=mcc(y_true, (true > threshold).astype(np.float64)), comparable=comparable,
    )  # fmt: skip


def _told(kind: str, champion: Side, candidate: Side, held: int) -> dict[str, Any]:
    return {
        "kind": kind,
        "held_out": held,
        "auc": [champion.true_auc, candidate.true_auc],
        "mcc": [champion.true_mcc, candidate.true_mcc],
        "held_out_auc": [champion.figures.clean.value, candidate.figures.clean.value],
        "held_out_mcc": [champion.figures.mcc, candidate.figures.mcc],
        "robust_auc": [champion.figures.robust_auc, candidate.figures.robust_auc],
    }
