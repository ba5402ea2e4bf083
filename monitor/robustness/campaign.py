"""One stress test of one model: clean, noise grid, attacks by level, certificate, audit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput, NotEnoughData
from monitor.robustness import scoring
from monitor.robustness.bank import Bank, NoBank
from monitor.robustness.doubts import doubts
from monitor.robustness.fragile import fragile_features, fragile_slices
from monitor.robustness.gradient import attack
from monitor.robustness.level_attacks import Found, LevelAttacks
from monitor.robustness.level_results import area, half_broken, level_results, with_smoothed
from monitor.robustness.minimum import minimum_epsilon, summed_up
from monitor.robustness.noise import Surroundings
from monitor.robustness.noise_results import mean_corrupted_auc, noise_results, snr_at_loss
from monitor.robustness.plan import Plan, plan_named
from monitor.robustness.probes import converged
from monitor.robustness.report import CampaignReport, Cost, MinimumNorm
from monitor.robustness.shapes import flat_model, flat_rows
from monitor.robustness.square import square
from monitor.robustness.stressed import Stressed
from monitor.robustness.target import Model, Target, Task, task_of
from monitor.robustness.threat_model import Budget, ThreatModel
from monitor.schema import FloatArray, Schema

Progress = Callable[[float, str], None]

_GATE = "S2"  # the level that alerts and gates read
_SAMPLES = 8  # calls of a random model whose mean is one output


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
    flat = flat_model(model, shape)
    kind = Task(task) if task is not None else task_of(flat, targets, rows)
    if chosen.attackers != "both" and kind is not Task.BINARY:
        raise BadInput(f"expected two classes to attack the positives alone, got a {kind} model")
    _check_targets(targets, kind)
    started = clock() if clock else None
    threats = _levels(threat, chosen)
    of = _converged(_stressed(Target(flat, kind, device=device), rows, targets, chosen, seed), threats[-1])
    run = _Run(
        of=of,
        previous=None if previous is None else Target(flat_model(previous, shape), kind, device=device),
        schema=schema,
        surroundings=Surroundings.of(schema, rows if reference is None else reference) if schema else None,
        bank=NoBank() if bank is None else bank,
        tell=progress or (lambda share, sentence: None),
        seconds=lambda: clock() - started if clock and started is not None else None,
    )
    return run.report(threats, threshold, kept, shape)


def _stressed(target: Target, rows: FloatArray, y: FloatArray, plan: Plan, seed: int) -> Stressed:
    """The model on its rows: outputs must be finite; those of a random model are averaged."""
    clean = target.outputs(rows)
    if not np.isfinite(clean).all():
        raise BadInput("expected finite model outputs, got NaN or infinity: the model must handle missing values")
    if not np.array_equal(target.outputs(rows), clean):
        target.samples = _SAMPLES
        clean = target.outputs(rows)
    target.find_gradient(rows)
    if target.task is Task.MULTICLASS:
        _check_classes(y, clean.shape[1])
    return Stressed(target=target, rows=rows, y=y, clean=clean, plan=plan, seed=seed)


def _converged(of: Stressed, widest: ThreatModel) -> Stressed:
    """With as many steps as the search needs at the widest level; the plan's own without gradients or probes."""
    if not of.plan.probes or not of.target.white_box or of.task is Task.REGRESSION:
        return of
    search, gained = converged(of.target, of.rows, of.y, widest, of.plan.search, of.seed)
    return replace(of, plan=replace(of.plan, search=search), gained=gained)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A campaign under way."""

    of: Stressed
    previous: Target | None
    schema: Schema | None
    surroundings: Surroundings | None
    bank: Bank
    tell: Progress
    seconds: Callable[[], float | None]

    def report(
        self, threats: list[ThreatModel], threshold: float | None, kept: NDArray[np.int_], shape: tuple[int, ...]
    ) -> CampaignReport:
        """Noise, attacks by level, certificate, audit."""
        of, target, task = self.of, self.of.target, self.of.task
        clean_auc, matthews, ranked = of.auc(), of.matthews(), task is Task.BINARY
        if ranked and threshold is None:
            threshold = scoring.base_rate_threshold(of.clean, of.y)
        self.tell(0.0, "noise and faults")
        noise = noise_results(of, self.surroundings) if self.surroundings is not None else ()
        attacks = LevelAttacks(of=of, seconds=self.seconds, bank=self.bank)
        found = self._attacks(attacks, threats)
        self.tell(0.92, "certificates, audit and what is fragile")
        gate = next((one for one in found if one.threat.level == _GATE), found[-1])
        levels, smoothed = with_smoothed(of, level_results(of, attacks, found, clean_auc, threshold), found)
        corrupted = mean_corrupted_auc(noise) if clean_auc is not None else None
        flags = doubts(of, found, gate, noise, matthews=matthews)
        minimum, fragile = self._minimum(found), fragile_features(target, of.rows, of.y, gate.rows, gate.threat)
        slices = (
            fragile_slices(self.schema, of.rows, of.right(of.clean), of.right(gate.outputs))
            if self.schema is not None and task is not Task.REGRESSION
            else ()
        )
        self.tell(1.0, "done")
        return CampaignReport(
            plan=of.plan.name,
            task=task,
            metric="mean absolute error" if task is Task.REGRESSION else "accuracy",
            n_rows=len(of.rows),
            seed=of.seed,
            white_box=target.white_box,
            steps=of.plan.search.steps if target.white_box else 0,
            clean=of.quality(of.clean),
            clean_auc=clean_auc,
            matthews=matthews,
            positive_rate=float((of.clean > target.decision).mean()) if ranked else None,
            threshold=threshold if ranked else None,
            mean_corrupted_auc=corrupted,
            pooled_auc_loss=clean_auc - corrupted if clean_auc is not None and corrupted is not None else None,
            levels=levels,
            noise=noise,
            audit=tuple(flags),
            cost=Cost(seconds=self.seconds(), gradient_rows=target.gradients, queries=target.queries),
            smoothed_accuracy=smoothed,
            half_broken=None if task is Task.REGRESSION else half_broken(levels),
            area=None if task is Task.REGRESSION else area(levels),
            minimum=minimum,
            fragile_features=fragile,
            fragile_slices=slices,
            snr_at_loss=snr_at_loss(noise, clean_auc),
            rows=tuple(int(i) for i in kept),
            y=of.y,
            outputs=of.clean,
            adversarial=tuple(one.rows.reshape(len(one.rows), *shape) for one in found),
            worst_outputs=tuple(one.outputs for one in found),
        )

    def _attacks(self, attacks: LevelAttacks, threats: list[ThreatModel]) -> list[Found]:
        """Every level in rising order; what broke a row at a smaller budget counts at a wider one."""
        found: list[Found] = []
        for order, threat in enumerate(threats):
            self.tell(0.2 + 0.7 * order / len(threats), f"attack at {threat.level}")
            transfer = self._transfer(threat)
            last = order == len(threats) - 1
            found.append(attacks.run(threat, before=found[-1] if found else None, transfer=transfer, with_random=last))
        return found

    def _transfer(self, threat: ThreatModel) -> FloatArray | None:
        """What breaks the previous model, by its own gradient or by chance; None when there is none to try."""
        if self.previous is None or "transfer" not in self.of.plan.attacks:
            return None
        given, plan, seed = (self.previous, self.of.rows, self.of.y, threat), self.of.plan, self.of.seed
        if self.previous.find_gradient(self.of.rows):
            return attack(*given, replace(plan.search, restarts=0), seed=seed).rows
        return square(*given, queries=plan.queries, seed=seed).rows

    def _minimum(self, found: list[Found]) -> MinimumNorm | None:
        of = self.of
        if not of.plan.minimum or of.task is Task.REGRESSION:
            return None
        epsilon = minimum_epsilon(of.target, of.rows, of.y, [one.threat for one in found], [one.rows for one in found])
        return summed_up(epsilon, of.right(of.clean))


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


def _check_targets(y: FloatArray, task: Task) -> None:
    if not np.isfinite(y).all():
        raise BadInput("expected a target for every row, got missing ones: stress labelled rows only")
    if task is Task.BINARY and not set(np.unique(y)) <= {0.0, 1.0}:
        raise BadInput(f"expected binary targets 0 and 1, got {sorted(set(np.unique(y)))[:5]}")
