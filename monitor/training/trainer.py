"""Train a predictor on raw rows: hardened by noise and one-step attacks, reproducible, with visible progress.

The same inputs, seed, machine and number of torch threads give the same weights. Nothing here sets torch's threads:
callers do (`torch.set_num_threads(1)` in a worker), and the provenance records how many there were.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.errors import BadInput, HoldfastError, NotEnoughData
from monitor.robustness.gradient import Search, attack
from monitor.robustness.noise import Surroundings
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import Budget, ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training.curriculum import RECIPES, Reach, Recipe, attacked, disturbed
from monitor.training.losses import task_loss
from monitor.training.networks import TABULAR, Predictor, build
from monitor.training.provenance import Provenance, data_sha256, torch_runtime, weights_sha256

MIN_ROWS = 100
MOST_VALIDATION = 4_000
MOST_ATTACKED = 1_024
VALIDATION_LEVEL, TRAINING_LEVEL = "S3", "S4"


class Cancelled(HoldfastError):
    """The caller asked to stop; nothing was kept."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands after an epoch; losses are means, lower is better.

    `robust_loss` is under APGD-8 at S3 on held-out rows; None without a threat model in which anything can move.
    """

    epoch: int
    epochs: int
    loss: float
    clean_loss: float
    robust_loss: float | None
    kept: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained predictor in evaluation mode, how to build its like (`factory`, `settings`), and where it came from."""

    model: Predictor
    factory: str
    settings: Mapping[str, Any]
    recipe: Recipe
    history: tuple[Progress, ...]
    weights_sha256: str
    provenance: Provenance


def train(
    X: FloatArray,
    y: NDArray[Any],
    schema: Schema,
    *,
    task: Task | str,
    recipe: Recipe | str = "hardened",
    threat: ThreatModel | None = None,
    seed: int = 0,
    network: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train on raw rows X (n, d), as `schema.encode` gives, and targets y (n,): 0/1, class numbers or values.

    The recipe `hardened` needs a `threat`, of which only mutability, direction, bounds and scale are used. `network`
    are settings of the factory; `inputs` hashes and versions for the provenance. Raises BadInput on unusable data and
    Cancelled when `should_stop` said so.
    """
    kind, chosen = Task(task), _recipe(recipe, threat)
    rows, targets = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    check_data(rows, targets, schema, kind)
    settings = dict(network or {})
    if kind is Task.MULTICLASS:
        settings.setdefault("classes", int(targets.max()) + 1)
    run = _Training(rows, targets, schema, kind, chosen, threat, seed, settings)
    history = tuple(run.epochs(progress or (lambda _: None), should_stop or (lambda: False)))
    model = run.best
    fingerprint, (version, threads) = weights_sha256(model), torch_runtime()
    provenance = Provenance(
        recipe=chosen.to_document(),
        seed=seed,
        rows=len(rows),
        data_sha256=data_sha256(rows, targets),
        weights_sha256=fingerprint,
        torch_version=version,
        threads=threads,
        inputs=dict(inputs or {}),
    )
    return Trained(
        model=model,
        factory=TABULAR,
        settings=settings,
        recipe=chosen,
        history=history,
        weights_sha256=fingerprint,
        provenance=provenance,
    )


def check_data(rows: FloatArray, y: FloatArray, schema: Schema, task: Task) -> None:
    """Refuse what cannot be learned from, in a sentence."""
    if rows.ndim != 2 or rows.shape[1] != len(schema) or y.shape != (len(rows),):
        raise BadInput(f"expected rows (n, {len(schema)}) and targets (n,), got {rows.shape} and {y.shape}")
    if not np.isfinite(y).all():
        missing = int((~np.isfinite(y)).sum())
        raise BadInput(f"expected a target for every row, got {missing} missing ones: leave those rows out")
    if len(rows) < MIN_ROWS:
        raise NotEnoughData(f"expected at least {MIN_ROWS} labelled rows to train on, got {len(rows)}")
    values, counts = np.unique(y, return_counts=True)
    if len(values) < 2:
        raise BadInput(f"expected at least two different targets, got only {values[0]:g}: there is nothing to learn")
    if task is Task.BINARY and set(values) != {0.0, 1.0}:
        raise BadInput(f"expected binary targets 0 and 1, got {', '.join(f'{v:g}' for v in values[:5])}")
    if task is Task.MULTICLASS and not np.array_equal(values, np.arange(len(values))):
        raise BadInput(
            f"expected classes numbered 0 to {len(values) - 1}, got {', '.join(f'{v:g}' for v in values[:5])}"
        )
    if task is not Task.REGRESSION and counts.min() < 5:
        rare = values[int(counts.argmin())]
        raise NotEnoughData(f"expected at least 5 rows of every class, got {counts.min()} of class {rare:g}")


def _recipe(recipe: Recipe | str, threat: ThreatModel | None) -> Recipe:
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise BadInput(f"expected a recipe among {', '.join(RECIPES)}, got {recipe!r}")
        recipe = RECIPES[recipe]
    if recipe.attacked > 0 and threat is None:
        raise BadInput(f"the recipe {recipe.name!r} attacks its rows: hand in a threat model, or use 'noise'")
    return recipe


def _at(threat: ThreatModel | None, level: str) -> ThreatModel | None:
    """The threat at a level, or None when nothing can move there."""
    if threat is None:
        return None
    moved = threat if threat.budget is Budget.RAW else threat.at(level)
    return moved if moved.boxed.any() or moved.counts else None


@dataclass
class _Training:
    """One training: data, model, and the best weights so far."""

    rows: FloatArray
    y: FloatArray
    schema: Schema
    task: Task
    recipe: Recipe
    threat: ThreatModel | None
    seed: int
    settings: Mapping[str, Any]
    best: Predictor = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self._split()
        self.model = self._built()
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        self.around = Surroundings.of(self.schema, self.rows)
        self.check = _at(self.threat, VALIDATION_LEVEL)
        self.reach = self._reach(_at(self.threat, TRAINING_LEVEL))
        self.batch = min(self.recipe.batch_size, max(len(self.rows) // 8, 16))
        self.steps_an_epoch = -(-len(self.rows) // self.batch)
        steps = np.clip(self.recipe.epochs * self.steps_an_epoch, self.recipe.min_steps, self.recipe.max_steps)
        self.n_epochs = max(int(steps) // self.steps_an_epoch, 4)

    def epochs(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> list[Progress]:
        """Run them all, or until validation has stopped to improve after the ramp; leaves the best in `best`."""
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        total = self.n_epochs * self.steps_an_epoch
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.learning_rate, total_steps=total)
        history: list[Progress] = []
        lowest, since = np.inf, 0
        for epoch in range(self.n_epochs):
            ramped = epoch + 1 >= self.n_epochs / 2
            loss = self._epoch(optimizer, schedule, epoch, should_stop)
            clean, robust = self._validate()
            value = clean if robust is None or self.recipe.attacked == 0 else (clean + robust) / 2
            kept = ramped and value < lowest
            if kept:
                lowest, since = value, 0
                self.best = copy.deepcopy(self.average)
            elif ramped:
                since += 1
            history.append(
                Progress(
                    epoch=epoch + 1, epochs=self.n_epochs, loss=loss, clean_loss=clean, robust_loss=robust, kept=kept
                )
            )
            progress(history[-1])
            if since >= self.recipe.patience:
                break
        if not np.isfinite(lowest):
            raise BadInput("the training diverged: look for extreme values in the target or lower the learning rate")
        return history

    def _split(self) -> None:
        order = self.rng.permutation(len(self.rows))
        held = int(min(max(self.recipe.validation_share * len(order), 20), MOST_VALIDATION))
        self.validation, self.validation_y = self.rows[order[:held]], self.y[order[:held]]
        self.rows, self.y = self.rows[order[held:]], self.y[order[held:]]

    def _built(self) -> Predictor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = build(self.schema.to_document(), self.task, self.settings)
        model.preprocess.fit(self.rows)
        first = next(layer for layer in model.network.modules() if isinstance(layer, nn.Linear))
        with torch.no_grad():  # an input that never occurred must not add its random weight when it first does
            first.weight[:, ~model.preprocess.seen] = 0
        if self.task is Task.REGRESSION:
            model.target_centre.fill_(float(np.median(self.y)))
            model.target_scale.fill_(float(self.y.std()))
        return model

    def _reach(self, threat: ThreatModel | None) -> Reach | None:
        if threat is None or self.recipe.attacked == 0:
            return None
        lower, upper = threat.limits(self.rows)
        return Reach(reach=threat.reach(self.rows), lower=lower, upper=upper)

    def _loss(self, rows: Tensor, y: Tensor) -> Tensor:
        return task_loss(self.model(rows), y, self.task, scale=self.model.target_scale)

    def _epoch(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        epoch: int,
        should_stop: Callable[[], bool],
    ) -> float:
        """One pass over the rows; the mean loss."""
        self.model.train()
        order, losses = self.rng.permutation(len(self.rows)), []
        for step in range(self.steps_an_epoch):
            if should_stop():
                raise Cancelled(f"the training was stopped in epoch {epoch + 1} of {self.n_epochs}")
            done = (epoch * self.steps_an_epoch + step) / (self.n_epochs * self.steps_an_epoch)
            chosen = order[step * self.batch : (step + 1) * self.batch]
            rows, y = self._batch(chosen, ramp=min(2 * done, 1.0))
            loss = self._loss(rows, y)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            self._average()
            losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _batch(self, chosen: NDArray[np.int_], *, ramp: float) -> tuple[Tensor, Tensor]:
        """Clean, disturbed and attacked rows, in the recipe's shares."""
        n_noise, n_attacked = (int(share * len(chosen)) for share in (self.recipe.noise, self.recipe.attacked))
        rows, y = self.rows[chosen].copy(), torch.from_numpy(self.y[chosen])
        if n_noise:
            rows[:n_noise] = disturbed(rows[:n_noise], self.around, self.rng, ramp=ramp)
        tensor = torch.from_numpy(rows)
        if n_attacked and self.reach is not None:
            last = chosen[len(chosen) - n_attacked :]
            allowed = Reach(reach=self.reach.reach[last], lower=self.reach.lower[last], upper=self.reach.upper[last])
            tensor[-n_attacked:] = attacked(
                tensor[-n_attacked:], y[-n_attacked:], self._loss, allowed, self.rng, ramp=ramp
            )
        return tensor, y

    def _average(self) -> None:
        """Exponential moving average of the weights."""
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - self.recipe.ema)

    def _validate(self) -> tuple[float, float | None]:
        """Held-out loss of the averaged weights, clean and under attack."""
        clean = self._held_out_loss(self.validation, self.validation_y)
        if self.check is None:
            return clean, None
        rows, y = self.validation[:MOST_ATTACKED], self.validation_y[:MOST_ATTACKED]
        found = attack(Target(self.average, self.task), rows, y, self.check, Search(steps=8))
        return clean, self._held_out_loss(found.rows, y)

    def _held_out_loss(self, rows: FloatArray, y: FloatArray) -> float:
        with torch.inference_mode():
            outputs = self.average(torch.from_numpy(rows))
            return float(task_loss(outputs, torch.from_numpy(y), self.task, scale=self.average.target_scale))
