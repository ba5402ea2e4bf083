"""One stress test of one model: clean, noise grid, attacks by level, certificate, audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput, HoldfastError, NotEnoughData
from monitor.robustness import audit, probes, scoring
from monitor.robustness.bank import Bank, NoBank
from monitor.robustness.certify import certified
from monitor.robustness.fragile import fragile_features, fragile_slices
from monitor.robustness.gradient import attack
from monitor.robustness.level_attacks import Found, LevelAttacks
from monitor.robustness.minimum import minimum_epsilon, summed_up
from monitor.robustness.noise import FAMILIES, Surroundings, corrupt
from monitor.robustness.plan import Plan, plan_named
from monitor.robustness.report import CampaignReport, Cost, Flag, FragileSlice, LevelResult, MinimumNorm, NoiseResult
from monitor.robustness.shapes import flat_model, flat_rows
from monitor.robustness.square import square
from monitor.robustness.target import Model, Target, Task, is_right, predicted, task_of
from monitor.robustness.threat_model import BoolArray, Budget, ThreatModel
from monitor.schema import FloatArray, Schema

Progress = Callable[[float, str], None]

_GATE = "S2"  # the level that alerts and gates read
_SAMPLES = 8  # calls of a random model whose mean is one output
_PROBED = 256  # rows on which twice the steps are tried
_STARTS = 16  # of a second look at rows that random search broke
_FOREIGN = ("lower level", "transfer")  # rows that were made for another threat or model


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

    X may be images (n, c, h, w) for a module that takes them; rows are then reported in that shape.

    `model` is a torch module from raw rows to logits (n,) or (n, k), or to values, or a black box with `predict_proba`
    or `predict`. A `threat` from a schema is run at the plan's levels; a list of threats, or a plain box, as it is.
    The noise grid needs `schema`; `reference` rows give its spread, else X does. `threshold` is the operating one, in
    the model's own outputs (logits of a module); by default alerts equal the base rate. What breaks `previous`, such as
    the champion before this one, is tried on this model too. With a `bank` a campaign that was cut off goes on where it
    was when it is called again with equal arguments. Seconds are counted with `clock`. torch's threads are the
    caller's to set.
    """
    chosen = plan_named(plan)
    shape = np.shape(X)[1:]
    rows, targets, kept = _sampled(flat_rows(X), y, chosen.rows, seed)
    flat, flat_previous = (one if one is None else flat_model(one, shape) for one in (model, previous))
    assert flat is not None
    kind = Task(task) if task is not None else task_of(flat, targets, rows)
    _check_targets(targets, kind)
    started = clock() if clock else None
    run = _Run(
        target=Target(flat, kind, device=device),
        previous=None if flat_previous is None else Target(flat_previous, kind, device=device),
        rows=rows,
        y=targets,
        plan=chosen,
        seed=seed,
        schema=schema,
        bank=bank or NoBank(),
        tell=progress or (lambda share, sentence: None),
        seconds=lambda: clock() - started if clock and started is not None else None,
    )
    around = Surroundings.of(schema, rows if reference is None else reference) if schema is not None else None
    return run.report(_levels(threat, chosen), around, threshold, kept, shape)


@dataclass(kw_only=True)
class _Run:
    target: Target
    previous: Target | None
    rows: FloatArray
    y: FloatArray
    plan: Plan
    seed: int
    schema: Schema | None
    bank: Bank
    tell: Progress
    seconds: Callable[[], float | None]
    clean: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.clean = self.target.outputs(self.rows)
        if not np.isfinite(self.clean).all():
            raise BadInput("expected finite model outputs, got NaN or infinity: the model must handle missing values")
        if not np.array_equal(self.target.outputs(self.rows), self.clean):
            self.target.samples = _SAMPLES
            self.clean = self.target.outputs(self.rows)
        self.target.find_gradient(self.rows)
        if self.target.task is Task.MULTICLASS:
            _check_classes(self.y, self.clean.shape[1])

    def report(
        self,
        threats: list[ThreatModel],
        around: Surroundings | None,
        threshold: float | None,
        kept: NDArray[np.int_],
        shape: tuple[int, ...],
    ) -> CampaignReport:
        """Noise, attacks by level, certificate, audit."""
        task, binary = self.target.task, self.target.task is Task.BINARY
        if binary and threshold is None:
            threshold = scoring.base_rate_threshold(self.clean, self.y)
        self.tell(0.0, "noise and faults")
        noise = self._noise(around) if around is not None else ()
        found = self._attacks(threats)
        self.tell(0.92, "certificates, audit and what is fragile")
        levels = self._levels(found, scoring.auc(self.clean, self.y) if binary else None, threshold)
        gate = next((one for one in found if one.threat.level == _GATE), found[-1])
        clean_auc = scoring.auc(self.clean, self.y) if binary else None
        mean_corrupted = _mean_corrupted_auc(noise) if clean_auc is not None else None
        matthews = None if task is Task.REGRESSION else self._matthews()
        flags = self._doubts(found, gate, noise, matthews)
        fragile = fragile_features(self.target, self.rows, self.y, gate.rows, gate.threat)
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
            levels=levels,
            noise=noise,
            audit=tuple(flags),
            cost=Cost(seconds=self.seconds(), gradient_rows=self.target.gradients, queries=self.target.queries),
            half_broken=None if task is Task.REGRESSION else _half_broken(levels),
            area=None if task is Task.REGRESSION else _area(levels),
            minimum=self._minimum(found),
            fragile_features=fragile,
            fragile_slices=self._slices(gate),
            rows=tuple(int(i) for i in kept),
            y=self.y,
            outputs=self.clean,
            adversarial=tuple(one.rows.reshape(len(one.rows), *shape) for one in found),
            worst_outputs=tuple(one.outputs for one in found),
        )

    def _quality(self, outputs: FloatArray) -> float:
        return scoring.quality(outputs, self.y, self.target.task, decision=self.target.decision)

    def _right(self, outputs: FloatArray) -> BoolArray:
        return is_right(outputs, self.y, self.target.task, decision=self.target.decision)

    def _matthews(self) -> float:
        return scoring.matthews(self.clean, self.y, self.target.task, decision=self.target.decision)

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

    def _attacks(self, threats: list[ThreatModel]) -> list[Found]:
        """Every level in rising order; what broke a row at a smaller budget counts at a wider one."""
        attacks, found = self._level_attacks(self.target), list[Found]()
        for order, threat in enumerate(threats):
            self.tell(0.2 + 0.7 * order / len(threats), f"attack at {threat.level}")
            transfer = self._transfer(threat) if self.previous is not None else None
            last = order == len(threats) - 1
            found.append(attacks.run(threat, before=found[-1] if found else None, transfer=transfer, with_random=last))
        return found

    def _level_attacks(self, target: Target) -> LevelAttacks:
        return LevelAttacks(
            target=target, rows=self.rows, y=self.y, clean=self.clean, plan=self.plan, seed=self.seed,
            seconds=self.seconds, bank=self.bank,
        )  # fmt: skip

    def _transfer(self, threat: ThreatModel) -> FloatArray:
        """What breaks the previous model, by its own gradient or by chance."""
        assert self.previous is not None
        if self.previous.find_gradient(self.rows):
            search = replace(self.plan.search, restarts=0)
            return attack(self.previous, self.rows, self.y, threat, search, seed=self.seed).rows
        return square(self.previous, self.rows, self.y, threat, queries=self.plan.queries, seed=self.seed).rows

    def _minimum(self, found: list[Found]) -> MinimumNorm | None:
        if not self.plan.minimum or self.target.task is Task.REGRESSION:
            return None
        epsilon = minimum_epsilon(
            self.target, self.rows, self.y, [one.threat for one in found], [one.rows for one in found]
        )
        return summed_up(epsilon, self._right(self.clean))

    def _slices(self, gate: Found) -> tuple[FragileSlice, ...]:
        if self.schema is None or self.target.task is Task.REGRESSION:
            return ()
        return fragile_slices(self.schema, self.rows, self._right(self.clean), self._right(gate.outputs))

    def _doubts(
        self, found: list[Found], gate: Found, noise: tuple[NoiseResult, ...], matthews: float | None
    ) -> list[Flag]:
        first = [one.tried[0] for one in found]
        alone = [self._quality(one.outputs) for one in first]
        flags = audit.audit_model(self.target, self.rows, self.clean, matthews)
        flags += audit.audit_rows(
            infeasible=sum(one.infeasible for level in found for one in level.tried if one.name not in _FOREIGN),
            movable=any(one.threat.movable.any() for one in found),
        )
        if gate.threat.links is not None:
            flags += audit.audit_relations(gate.threat.links.broken_share(self.rows))
        if self.target.white_box:
            flags += self._doubts_of_gradients(found, gate)
        if self.target.task is not Task.REGRESSION:
            flags += audit.audit_curve(alone, self._by_name(found, "one step"))
            flags += audit.audit_chance(missed=self._missed(found[-1]), rows=len(self.rows))
        return flags + audit.audit_noise(max((cell.unanswered for cell in noise), default=0.0))

    def _missed(self, found: Found) -> int:
        """How many more rows random search broke than gradients and swaps did, and that a second look does not find."""
        chance = found.by_name("random")
        if chance is None or not self.target.white_box:
            return 0
        informed = [one for name in ("gradient", "swaps") if (one := found.by_name(name)) is not None]
        broken = np.any([one.margin < 0 for one in informed], axis=0)
        left = np.flatnonzero((chance.margin < 0) & ~broken)
        ahead = int((chance.margin < 0).sum() - broken.sum())
        if ahead <= 0:
            return 0
        search = replace(self.plan.search, restarts=_STARTS, drop_broken=True)
        again = attack(self.target, self.rows[left], self.y[left], found.threat, search, seed=self.seed)
        return min(ahead, int((again.margin >= 0).sum()))

    def _by_name(self, found: list[Found], name: str) -> list[float | None]:
        tried = [one.by_name(name) for one in found]
        return [None if one is None else self._quality(one.outputs) for one in tried]

    def _doubts_of_gradients(self, found: list[Found], gate: Found) -> list[Flag]:
        last = found[-1].tried[0].attack
        given = (self.target, self.rows, self.y)
        wrong = probes.wrong_slopes(*given, found[-1].threat, self.seed) if self.plan.probes else 0.0
        flags = audit.audit_gradients(zero=last.zero_gradients, nan=last.nan_gradients, wrong=wrong)
        if self.target.task is Task.REGRESSION or not self.plan.probes:
            return flags
        few, search = slice(0, _PROBED), self.plan.search
        margin = gate.tried[0].margin[few]
        gained = probes.gained_by_doubling(
            self.target, self.rows[few], self.y[few], gate.threat, search, margin, self.seed
        )
        copies = probes.beaten_without_budget(*given, found[-1].threat, search, self.seed)
        return flags + audit.audit_search(gained=gained, rows=len(margin), copies=copies)

    def _levels(self, found: list[Found], clean_auc: float | None, threshold: float | None) -> tuple[LevelResult, ...]:
        attacks = self._level_attacks(self.target)
        return tuple(self._level(one, attacks, clean_auc, threshold) for one in found)

    def _level(
        self, found: Found, attacks: LevelAttacks, clean_auc: float | None, threshold: float | None
    ) -> LevelResult:
        task, decision = self.target.task, self.target.decision
        recall, precision = None, None
        if task is Task.BINARY and threshold is not None:
            recall, precision = scoring.recall_and_precision(found.outputs, self.y, threshold)
        before, after = (predicted(o, task, decision=decision) for o in (self.clean, found.outputs))
        single, attacked = found.by_name("one step"), self._quality(found.outputs)
        bracket, certified_rows = self._bracket(found)
        return LevelResult(
            level=found.threat.level,
            epsilon=found.threat.epsilon,
            clean=self._quality(self.clean),
            attacked=attacked,
            certified=None if bracket is None else max(attacked - bracket, 0.0),
            interval=scoring.quality_interval(found.outputs, self.y, task, decision=decision),
            constant=scoring.constant_quality(self.y, task),
            flip_rate=float((before != after).mean()),
            clean_auc=clean_auc,
            robust_auc=scoring.auc(found.outputs, self.y) if task is Task.BINARY else None,
            worst_recall=recall,
            worst_precision=precision,
            one_step=None if single is None else self._quality(single.outputs),
            raw_budget=found.threat.raw_budget(),
            frozen=found.threat.frozen,
            beyond_reality=found.threat.beyond_reality,
            attacks=attacks.results(found),
            swaps=int(found.threat.swaps) if found.threat.groups else 0,
            bracket=bracket,
            certified_rows=certified_rows,
        )

    def _bracket(self, found: Found) -> tuple[float | None, int]:
        """How far certified accuracy lies below the attacked one, over the rows that were certified, and how many."""
        if found.threat.links is not None and found.threat.links.derived:
            return None, 0  # a derived cell may leave the box
        if found.threat.groups and found.threat.swaps >= 1:
            return None, 0
        most = self.plan.certified_rows
        place = np.arange(len(self.rows))
        if most is not None and most < len(place):
            place = np.sort(np.random.default_rng(self.seed).choice(len(place), most, replace=False))
        sure = certified(self.target, self.rows[place], self.y[place], found.threat)
        if sure is None:
            return None, 0
        right = self._right(found.outputs)[place]
        if bool((sure & ~right).any()):
            raise HoldfastError(
                "a row was both certified and broken: the certificate or the attack is wrong, report it"
            )
        return float(right.mean() - sure.mean()), len(place)


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


def _check_classes(y: FloatArray, classes: int) -> None:
    if (y != np.round(y)).any() or (y < 0).any() or (y >= classes).any():
        raise BadInput(f"expected targets 0 to {classes - 1} for {classes} logits, got {np.unique(y)[:5].tolist()}")


def _half_broken(levels: Sequence[LevelResult]) -> float | None:
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


def _area(levels: Sequence[LevelResult]) -> float | None:
    """The mean accuracy over ε from 0 to the widest level, by trapezoids."""
    epsilon = [0.0, *(level.epsilon for level in levels)]
    if epsilon[-1] <= 0:
        return None
    return float(np.trapezoid([levels[0].clean, *(level.attacked for level in levels)], epsilon) / epsilon[-1])


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
