"""One stress test of one model: clean, noise grid, attacks by level, certificate, audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput, HoldfastError, NotEnoughData
from monitor.robustness import audit, scoring
from monitor.robustness.bank import Bank
from monitor.robustness.certify import certified
from monitor.robustness.feasibility import feasible
from monitor.robustness.gradient import Attack, attack
from monitor.robustness.noise import FAMILIES, Surroundings, corrupt
from monitor.robustness.plan import Plan, plan_named
from monitor.robustness.report import CampaignReport, Cost, Flag, LevelResult, NoiseResult
from monitor.robustness.square import square
from monitor.robustness.target import Model, Target, Task, is_right, margin, predicted, task_of
from monitor.robustness.threat_model import Budget, ThreatModel
from monitor.schema import FloatArray, Schema

Progress = Callable[[float, str], None]


def run_campaign(
    model: Model,
    X: FloatArray,
    y: NDArray[Any],
    threat: ThreatModel | Sequence[ThreatModel],
    *,
    plan: str | Plan = "tick",
    seed: int = 0,
    schema: Schema | None = None,
    reference: FloatArray | None = None,
    task: Task | str | None = None,
    threshold: float | None = None,
    device: str | None = None,
    previous: Model | None = None,
    bank: Bank | None = None,
    clock: Callable[[], float] | None = None,
    progress: Progress | None = None,
) -> CampaignReport:
    """Stress a model on rows X (n, d) in raw units, as `schema.encode` gives, with targets y (n,).

    `model` is a torch module from raw rows to logits (n,) or (n, k), or to values, or a black box with `predict_proba`
    or `predict`. A `threat` from a schema is run at the plan's levels; a list of threats, or a plain box, as it is.
    The noise grid needs `schema`; `reference` rows give its spread, else X does. `threshold` is the operating one, in
    the model's own outputs (logits of a module); by default alerts equal the base rate. What breaks `previous`, such as
    the champion before this one, is tried on this model too. With a `bank` a campaign that was cut off goes on where it
    was when it is called again with equal arguments. Seconds are counted with `clock`. torch's threads are the
    caller's to set.
    """
    chosen = plan_named(plan)
    rows, targets, kept = _sampled(X, y, chosen.rows, seed)
    kind = Task(task) if task is not None else task_of(model, targets, rows)
    _check_targets(targets, kind)
    run = _Run(
        target=Target(model, kind, device=device),
        rows=rows,
        y=targets,
        plan=chosen,
        seed=seed,
        tell=progress or (lambda share, sentence: None),
    )
    started = clock() if clock else None
    return run.report(
        _levels(threat, chosen),
        Surroundings.of(schema, rows if reference is None else reference) if schema is not None else None,
        threshold,
        kept,
        lambda: clock() - started if clock and started is not None else None,
    )


@dataclass
class _Found:
    """What the attacks left at one level: outputs at the worst rows, and what each attack left by itself."""

    threat: ThreatModel
    rows: FloatArray
    outputs: FloatArray
    alone: float
    one_step: float | None
    attack: Attack
    infeasible: int
    random: float | None = None


@dataclass
class _Run:
    target: Target
    rows: FloatArray
    y: FloatArray
    plan: Plan
    seed: int
    tell: Progress
    clean: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.clean = self.target.outputs(self.rows)
        if not np.isfinite(self.clean).all():
            raise BadInput("expected finite model outputs, got NaN or infinity: the model must handle missing values")

    def report(
        self,
        threats: list[ThreatModel],
        around: Surroundings | None,
        threshold: float | None,
        kept: NDArray[np.int_],
        seconds: Callable[[], float | None],
    ) -> CampaignReport:
        task, binary = self.target.task, self.target.task is Task.BINARY
        if binary and threshold is None:
            threshold = scoring.base_rate_threshold(self.clean, self.y)
        self.tell(0.05, "noise and faults")
        noise = self._noise(around) if around is not None else ()
        found = self._attacks(threats)
        matthews = None if task is Task.REGRESSION else self._matthews()
        flags = audit.audit_model(self.target, self.rows, self.clean, matthews) + self._doubts(found)
        flags += audit.audit_noise(max((cell.unanswered for cell in noise), default=0.0))
        clean_auc = scoring.auc(self.clean, self.y) if binary else None
        mean_corrupted = _mean_corrupted_auc(noise) if clean_auc is not None else None
        self.tell(1.0, "done")
        return CampaignReport(
            plan=self.plan.name,
            task=task,
            metric="mean absolute error" if task is Task.REGRESSION else "accuracy",
            n_rows=len(self.rows),
            seed=self.seed,
            white_box=self.target.white_box,
            clean=self._quality(self.clean),
            clean_auc=clean_auc,
            matthews=matthews,
            positive_rate=float((self.clean > self.target.decision).mean()) if binary else None,
            threshold=threshold if binary else None,
            mean_corrupted_auc=mean_corrupted,
            pooled_auc_loss=clean_auc - mean_corrupted
            if clean_auc is not None and mean_corrupted is not None
            else None,
            levels=tuple(self._level(one, clean_auc, threshold) for one in found),
            noise=noise,
            audit=tuple(flags),
            cost=Cost(seconds=seconds(), gradient_rows=self.target.gradients, queries=self.target.queries),
            rows=tuple(int(i) for i in kept),
            y=self.y,
            outputs=self.clean,
            adversarial=tuple(one.rows for one in found),
            worst_outputs=tuple(one.outputs for one in found),
        )

    def _quality(self, outputs: FloatArray) -> float:
        return scoring.quality(outputs, self.y, self.target.task, decision=self.target.decision)

    def _matthews(self) -> float:
        return scoring.matthews(self.clean, self.y, self.target.task, decision=self.target.decision)

    def _margin(self, outputs: FloatArray) -> FloatArray:
        return margin(outputs, self.y, self.target.task, decision=self.target.decision)

    def _noise(self, around: Surroundings) -> tuple[NoiseResult, ...]:
        cells = [(f, s) for f in self.plan.families for s in self.plan.severities if _applies(f, around)]
        return tuple(self._noise_cell(family, severity, around) for family, severity in cells)

    def _noise_cell(self, family: str, severity: int, around: Surroundings) -> NoiseResult:
        rng = np.random.default_rng([self.seed, list(FAMILIES).index(family), severity])
        outputs = self.target.outputs(corrupt(family, self.rows, severity, around, rng))
        task, decision = self.target.task, self.target.decision
        flipped = predicted(outputs, task, decision=decision) != predicted(self.clean, task, decision=decision)
        return NoiseResult(
            family=family,
            severity=severity,
            strength=FAMILIES[family].strengths[severity - 1],
            unit=FAMILIES[family].unit,
            quality=self._quality(outputs),
            auc=scoring.auc(outputs, self.y) if task is Task.BINARY else None,
            flip_rate=float(flipped.mean()),
            unanswered=float(np.isnan(outputs.reshape(len(outputs), -1)).any(axis=1).mean()),
        )

    def _attacks(self, threats: list[ThreatModel]) -> list[_Found]:
        """Every level in rising order; what broke a row at a smaller budget counts at a wider one."""
        found: list[_Found] = []
        for order, threat in enumerate(threats):
            self.tell(0.2 + 0.75 * order / len(threats), f"attack at {threat.level}")
            previous = found[-1] if found else None
            found.append(self._attack(threat, previous, last=order == len(threats) - 1))
        return found

    def _attack(self, threat: ThreatModel, previous: _Found | None, *, last: bool) -> _Found:
        one_step: float | None = None
        if self.target.white_box:
            many = attack(self.target, self.rows, self.y, threat, self.plan.search, seed=self.seed)
            single = attack(self.target, self.rows, self.y, threat, replace(self.plan.search, steps=1, restarts=0))
            one_step = self._quality(self.target.outputs(single.rows))
            others = [single.rows]
        else:
            many = square(self.target, self.rows, self.y, threat, queries=self.plan.queries, seed=self.seed)
            others = []
        random = None
        if last and self.target.white_box and self.plan.audit_queries:
            chance = square(self.target, self.rows, self.y, threat, queries=self.plan.audit_queries, seed=self.seed)
            random = self._quality(self.target.outputs(chance.rows))
            others.append(chance.rows)
        rows, outputs = self._worst(threat, [many.rows, *others, *([previous.rows] if previous else [])])
        infeasible = int((~feasible(self.rows, many.rows, threat)).sum())
        alone = self._quality(self.target.outputs(many.rows))
        return _Found(threat, rows, outputs, alone, one_step, many, infeasible, random)

    def _worst(self, threat: ThreatModel, candidates: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Per row the worst candidate that an independent check allows, scored again outside the attack."""
        rows, outputs = self.rows.copy(), self.clean.copy()
        lowest = self._margin(outputs)
        for candidate in candidates:
            allowed = feasible(self.rows, candidate, threat)
            scored = self.target.outputs(candidate)
            found = self._margin(scored)
            worse = allowed & (found < lowest)
            rows[worse], outputs[worse], lowest[worse] = candidate[worse], scored[worse], found[worse]
        return rows, outputs

    def _doubts(self, found: list[_Found]) -> list[Flag]:
        last = found[-1]
        flags = audit.audit_rows(
            infeasible=sum(one.infeasible for one in found), movable=any(one.threat.movable.any() for one in found)
        )
        if self.target.white_box:
            flags += audit.audit_gradients(zero=last.attack.zero_gradients, nan=last.attack.nan_gradients)
        if self.target.task is not Task.REGRESSION:
            flags += audit.audit_curve([one.alone for one in found], [one.one_step for one in found], last.random)
        return flags

    def _level(self, found: _Found, clean_auc: float | None, threshold: float | None) -> LevelResult:
        task, decision = self.target.task, self.target.decision
        recall, precision = None, None
        if task is Task.BINARY and threshold is not None:
            recall, precision = scoring.recall_and_precision(found.outputs, self.y, threshold)
        before, after = (predicted(o, task, decision=decision) for o in (self.clean, found.outputs))
        return LevelResult(
            level=found.threat.level,
            epsilon=found.threat.epsilon,
            clean=self._quality(self.clean),
            attacked=self._quality(found.outputs),
            certified=self._certified(found),
            interval=scoring.quality_interval(found.outputs, self.y, task, decision=decision),
            constant=scoring.constant_quality(self.y, task),
            flip_rate=float((before != after).mean()),
            clean_auc=clean_auc,
            robust_auc=scoring.auc(found.outputs, self.y) if task is Task.BINARY else None,
            worst_recall=recall,
            worst_precision=precision,
            one_step=found.one_step,
            raw_budget=found.threat.raw_budget(),
            frozen=found.threat.frozen,
            beyond_reality=found.threat.beyond_reality,
        )

    def _certified(self, found: _Found) -> float | None:
        sure = certified(self.target, self.rows, self.y, found.threat)
        if sure is None:
            return None
        broken = ~is_right(found.outputs, self.y, self.target.task, decision=self.target.decision)
        if bool((sure & broken).any()):
            raise HoldfastError(
                "a row was both certified and broken: the certificate or the attack is wrong, report it"
            )
        return float(sure.mean())


def _levels(threat: ThreatModel | Sequence[ThreatModel], plan: Plan) -> list[ThreatModel]:
    if not isinstance(threat, ThreatModel):
        threats = list(threat)
    elif threat.budget is Budget.RAW:
        threats = [threat]
    else:
        threats = [threat.at(level) for level in plan.levels]
    if not threats:
        raise BadInput("expected at least one threat model, got none")
    return sorted(threats, key=lambda one: one.epsilon)


def _sampled(X: FloatArray, y: NDArray[Any], most: int, seed: int) -> tuple[FloatArray, FloatArray, NDArray[np.int_]]:
    """At most `most` rows, drawn without replacement, in their order."""
    rows, targets = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if rows.ndim != 2 or targets.shape != (len(rows),):
        raise BadInput(f"expected rows (n, d) and targets (n,), got {rows.shape} and {targets.shape}")
    if len(rows) < 2:
        raise NotEnoughData(f"expected at least 2 labelled rows to stress a model, got {len(rows)}")
    kept = np.arange(len(rows))
    if len(rows) > most:
        kept = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    return rows[kept], targets[kept], kept


def _check_targets(y: FloatArray, task: Task) -> None:
    if not np.isfinite(y).all():
        raise BadInput("expected a target for every row, got missing ones: stress labelled rows only")
    if task is Task.BINARY and not set(np.unique(y)) <= {0.0, 1.0}:
        raise BadInput(f"expected binary targets 0 and 1, got {sorted(set(np.unique(y)))[:5]}")


def _mean_corrupted_auc(noise: Sequence[NoiseResult]) -> float | None:
    """Over all cells; one in which the model left rows unanswered ranks nothing, and counts as chance."""
    return float(np.mean([0.5 if cell.auc is None else cell.auc for cell in noise])) if noise else None


def _applies(family: str, around: Surroundings) -> bool:
    """Category noise needs categories; noise of numbers needs numbers."""
    if family == "category_swap":
        return bool((around.levels > 1).any())
    if family == "unseen_level":
        return bool(around.categorical.any())
    return family in ("missing", "stale") or bool(around.numeric.any())
