"""One training: batches, averaged weights, held-out losses, and the best weights so far."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.errors import BadInput, HoldfastError
from monitor.robustness.gradient import Search, attack
from monitor.robustness.noise import Surroundings
from monitor.robustness.target import Target, Task, as_outputs, input_dtype
from monitor.robustness.threat_model import Budget, ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training.curriculum import InnerAttack, Recipe
from monitor.training.families import disturbed, drawn_families
from monitor.training.inner import Reach, attacked, slope_of
from monitor.training.losses import TrainingLoss, class_weights, task_loss
from monitor.training.networks import Factory, answers_missing, built, check_outputs
from monitor.training.preprocess import Preprocess

MOST_VALIDATION = 4_000
MOST_ATTACKED = 1_024
_SHOWN = 4  # rows that a network is asked before it is trained


class Cancelled(HoldfastError):
    """The caller asked to stop; nothing was kept."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands after an epoch; losses are means, lower is better.

    `robust_loss` is under APGD-8 at the recipe's validation level on held-out rows; None without a threat model in
    which anything can move.
    """

    epoch: int
    epochs: int
    loss: float
    clean_loss: float
    robust_loss: float | None
    kept: bool


@dataclass
class Stopwatch:
    """Seconds by `clock` of what trains and of what validates under attack; nothing without a clock."""

    clock: Callable[[], float] | None
    training: float = 0.0
    validation: float = 0.0

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Add the time that passes to `training` or `validation`."""
        started = self.clock() if self.clock else 0.0
        yield
        if self.clock:
            setattr(self, name, getattr(self, name) + self.clock() - started)


@dataclass
class Training:
    """One training: data, model, and the best weights so far."""

    rows: FloatArray
    y: FloatArray
    schema: Schema
    task: Task
    recipe: Recipe
    threat: ThreatModel | None
    seed: int
    factory: str
    factories: Mapping[str, Factory]
    settings: Mapping[str, Any]
    families: Mapping[str, float] | None
    watch: Stopwatch
    best: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.steps_done = 0
        self._split()
        with repeatable(self.seed):
            self.model = self._built()
        self.dtype = input_dtype(self.model)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.average)
        self.around = Surroundings.of(self.schema, self.rows)
        answers = self.recipe.noise == 0 or answers_missing(self.model, self.rows)
        self.drawn = drawn_families(self.around, self.families, answers_missing=answers) if self.recipe.noise else {}
        self.check = at_level(self.threat, self.recipe.validation_level)
        self.reach = self._reach(at_level(self.threat, self.recipe.level))
        weights = class_weights(self.y, self.task) if self.recipe.balanced else None
        self.scale = torch.tensor(float(self.y.std())) if self.task is Task.REGRESSION else None
        self.loss = TrainingLoss(
            task=self.task, scale=self.scale, weights=weights, smoothing=self.recipe.label_smoothing
        )
        self.batch = min(self.recipe.batch_size, max(len(self.rows) // 8, 16))
        self.steps_an_epoch = -(-len(self.rows) // self.batch)
        steps = np.clip(self.recipe.epochs * self.steps_an_epoch, self.recipe.min_steps, self.recipe.max_steps)
        self.n_epochs = max(int(steps) // self.steps_an_epoch, 4)

    def epochs(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> list[Progress]:
        """Run them all, or until validation has stopped to improve after the ramp; leaves the best in `best`."""
        with repeatable(self.seed):
            return self._epochs(progress, should_stop)

    def _epochs(self, progress: Callable[[Progress], None], should_stop: Callable[[], bool]) -> list[Progress]:
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=self.recipe.learning_rate, weight_decay=self.recipe.weight_decay
        )
        total = self.n_epochs * self.steps_an_epoch
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.recipe.learning_rate, total_steps=total)
        history: list[Progress] = []
        lowest, since = np.inf, 0
        for epoch in range(self.n_epochs):
            ramped = epoch + 1 >= self.n_epochs / 2
            with self.watch.on("training"):
                loss = self._epoch(optimizer, schedule, epoch, should_stop)
                clean = self._held_out_loss(self.validation, self.validation_y)
            with self.watch.on("validation"):
                robust = self._robust_loss()
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

    def _built(self) -> nn.Module:
        """The untrained network, its preprocessing fitted where it has one."""
        model = built(self.factory, self.factories, self.schema, self.task, self.settings)
        fit = getattr(getattr(model, "preprocess", None), "fit", None)
        if callable(fit):
            fit(self.rows)
        check_outputs(model, self.rows[:_SHOWN], self.task, int(self.y.max()) + 1, self.factory)
        _forget_unseen(model)
        if self.task is Task.REGRESSION:
            for name, value in [("target_centre", float(np.median(self.y))), ("target_scale", float(self.y.std()))]:
                buffer = getattr(model, name, None)
                if isinstance(buffer, Tensor):
                    buffer.data.fill_(value)
        return model

    def _reach(self, threat: ThreatModel | None) -> Reach | None:
        return None if threat is None or self.recipe.attacked == 0 else Reach.of(threat, self.rows)

    def _outputs(self, rows: Tensor) -> Tensor:
        return as_outputs(self.model(rows.to(self.dtype)), len(rows), self.task)

    def _epoch(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        epoch: int,
        should_stop: Callable[[], bool],
    ) -> float:
        """One pass over the rows; the mean loss. Rows of a few batches are disturbed and attacked together."""
        order, losses, together = self.rng.permutation(len(self.rows)), [], self.batch * self.recipe.prepared
        for start in range(0, len(order), together):
            chosen = order[start : start + together]
            if len(chosen) < 2:  # a single row has no spread that batch normalisation could use
                continue
            done = (epoch * self.steps_an_epoch + start // self.batch) / (self.n_epochs * self.steps_an_epoch)
            clean, moved, y = self._prepared(chosen, ramp=min(2 * done, 1.0) if self.recipe.ramped else 1.0)
            batches = -(-len(chosen) // self.batch)
            for k in range(batches):  # every batch has its share of each kind
                if should_stop():
                    raise Cancelled(f"the training was stopped in epoch {epoch + 1} of {self.n_epochs}")
                loss = self._batch_loss(clean[k::batches], moved[k::batches], y[k::batches])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                self._average()
                losses.append(float(loss.detach()))
        return float(np.mean(losses))

    def _prepared(self, chosen: NDArray[np.int_], *, ramp: float) -> tuple[Tensor, Tensor, Tensor]:
        """Rows with noise in the recipe's share, the same with the last of them attacked, and their targets."""
        n_noise, n_attacked = (int(share * len(chosen)) for share in (self.recipe.noise, self.recipe.attacked))
        rows, y = self.rows[chosen], torch.from_numpy(self.y[chosen])
        if n_noise and self.drawn:
            rows[:n_noise] = disturbed(rows[:n_noise], self.around, self.rng, ramp=ramp, shares=self.drawn)
        if self.recipe.feature_dropout:
            rows[self.rng.random(rows.shape) < self.recipe.feature_dropout] = np.nan
        clean = torch.from_numpy(rows)
        if not n_attacked or self.reach is None:
            return clean, clean, y
        first = len(chosen) - n_attacked
        pushed = self._pushed(clean[first:], y[first:], self.reach.of_rows(chosen[first:]), ramp)
        return clean, torch.cat([clean[:first], pushed]), y

    def _batch_loss(self, clean: Tensor, moved: Tensor, y: Tensor) -> Tensor:
        self.model.train()
        if self.recipe.attack is not InnerAttack.TRADES:
            return self.loss(self._outputs(moved), y)
        outputs = self._outputs(clean)
        return self.loss(outputs, y) + self.recipe.beta * self.loss.distance(outputs, self._outputs(moved))

    def _pushed(self, rows: Tensor, y: Tensor, reach: Reach, ramp: float) -> Tensor:
        """The rows attacked. Evaluation mode: neither drop-out nor the batch's own statistics blur the gradient."""
        self.model.eval()

        def harm(outputs: Tensor) -> Tensor:
            said = as_outputs(outputs, len(rows), self.task)
            return self.loss(said, y) if clean is None else self.loss.distance(clean, said)

        clean = None
        if self.recipe.attack is InnerAttack.TRADES:
            with torch.no_grad():
                clean = self._outputs(rows)
        return attacked(rows, slope_of(self.model, harm), reach, self.recipe, self.rng, ramp=ramp)

    def _average(self) -> None:
        """Exponential moving average of the weights, and of the statistics that batch normalisation keeps.

        It forgets faster at first, so that a short training does not remember its random start.
        """
        self.steps_done += 1
        new = 1 - min(self.recipe.ema, (1 + self.steps_done) / (10 + self.steps_done))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, new)
            for (name, kept), buffer in zip(self.average.named_buffers(), self.model.buffers(), strict=True):
                if name.endswith(("running_mean", "running_var")):
                    kept.lerp_(buffer, new)
                elif name.endswith("num_batches_tracked"):
                    kept.copy_(buffer)

    def _robust_loss(self) -> float | None:
        """Held-out loss of the averaged weights under attack."""
        if self.check is None:
            return None
        rows, y = self.validation[:MOST_ATTACKED], self.validation_y[:MOST_ATTACKED]
        found = attack(Target(self.average, self.task), rows, y, self.check, Search(steps=8))
        return self._held_out_loss(found.rows, y)

    def _held_out_loss(self, rows: FloatArray, y: FloatArray) -> float:
        outputs = torch.from_numpy(held_out_outputs(self.average, rows, self.task))
        return float(task_loss(outputs, torch.from_numpy(y), self.task, scale=self.scale))


def held_out_outputs(module: nn.Module, rows: FloatArray, task: Task) -> FloatArray:
    """What a module in evaluation mode says of raw rows (n, d): (n,) or (n, k)."""
    with torch.inference_mode():
        given = torch.from_numpy(rows).to(input_dtype(module))
        return np.asarray(as_outputs(module(given), len(rows), task).double().numpy())


def at_level(threat: ThreatModel | None, level: str) -> ThreatModel | None:
    """The threat at a level, or None when nothing can move there."""
    if threat is None:
        return None
    moved = threat if threat.budget is Budget.RAW else threat.at(level)
    return moved if moved.boxed.any() or moved.counts else None


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """torch's randomness from the seed and its deterministic algorithms; both as they were afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def _forget_unseen(model: nn.Module) -> None:
    """An input that never occurred must not add its random weight when it first does."""
    preprocess, network = getattr(model, "preprocess", None), getattr(model, "network", None)
    if not isinstance(preprocess, Preprocess) or not isinstance(network, nn.Module):
        return
    first = next((layer for layer in network.modules() if isinstance(layer, nn.Linear)), None)
    if first is not None and first.in_features == len(preprocess.seen):
        with torch.no_grad():
            first.weight[:, ~preprocess.seen] = 0
