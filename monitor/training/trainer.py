"""Train a predictor on raw rows: hardened by noise and attacks, reproducible, with visible progress.

The same inputs, seed, machine and number of torch threads give the same weights. Nothing here sets torch's threads:
callers do (`torch.set_num_threads(1)` in a worker), and the provenance records how many there were.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from monitor.errors import BadInput
from monitor.robustness import scoring
from monitor.robustness.target import Task
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training.checks import check_data, degenerate
from monitor.training.curriculum import Recipe, recipe_named
from monitor.training.leaks import check_leaks
from monitor.training.loop import Cancelled, Progress, Stopwatch, Training, held_out_outputs
from monitor.training.losses import task_loss
from monitor.training.networks import FACTORIES, TABULAR, Factory
from monitor.training.provenance import Provenance, data_sha256, torch_runtime, weights_sha256

__all__ = ["Cancelled", "Progress", "Quality", "Trained", "check_data", "train"]


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good a network is on its clean validation rows.

    `metric` is auroc (of each class against the rest, the mean, for several classes), or for regression the loss that
    was lowered, where less is better.
    """

    metric: str
    value: float
    rows: int

    def loss_against(self, reference: "Quality") -> float:
        """How much worse this is: in units of AUC, or for a loss its relative growth."""
        if self.metric == "auroc":
            return reference.value - self.value
        return self.value / reference.value - 1 if reference.value > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingCost:
    """Seconds by the clock that was handed in; `validation` is the held-out attack alone, and not part of the other."""

    training: float
    validation: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """A trained predictor in evaluation mode, how to build its like (`factory`, `settings`), and where it came from."""

    model: nn.Module
    task: Task
    factory: str
    settings: Mapping[str, Any]
    recipe: Recipe
    history: tuple[Progress, ...]
    quality: Quality
    weights_sha256: str
    provenance: Provenance
    cost: TrainingCost | None = None


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
    factories: Mapping[str, Factory] = FACTORIES,
    families: Mapping[str, float] | None = None,
    allow_leaks: Collection[str] = (),
    inputs: Mapping[str, str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    clock: Callable[[], float] | None = None,
) -> Trained:
    """Train on raw rows X (n, d), as `schema.encode` gives, and targets y (n,): 0/1, class numbers or values.

    Args:
        threat: what may be changed, for recipes that attack their rows. For N-FGSM only mutability, direction, hard
            bounds and scale count; PGD and TRADES stay within its budget. Early stopping attacks held-out rows with it.
        network: settings of the factory; under `factory` its name, if it is not the built-in one. A module of yours
            takes raw rows and returns logits or values; one without a part `preprocess` that can be fitted is trained
            as it is.
        factories: the allow-list of factories by name.
        families: weights of noise families, as `family_weights` gives; equal by default.
        allow_leaks: features that may predict the target (almost) perfectly.
        inputs: hashes and versions for the provenance.

    Raises:
        BadInput: unusable data, a feature that looks like the target, or a network that learned nothing.
        Cancelled: `should_stop` said so.
    """
    kind, chosen = Task(task), recipe_named(recipe)
    if chosen.attacked > 0 and threat is None:
        raise BadInput(f"the recipe {chosen.name!r} attacks its rows: hand in a threat model, or use 'noise'")
    if chosen.label_smoothing and kind is Task.REGRESSION:
        raise BadInput("expected classes to smooth the labels of, got a regression: leave label_smoothing at 0")
    rows, targets = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    check_data(rows, targets, schema, kind)
    check_leaks(rows, targets, schema, kind, allow_leaks)
    settings = dict(network or {})
    name = str(settings.pop("factory", TABULAR))
    if kind is Task.MULTICLASS and name == TABULAR:
        settings.setdefault("classes", int(targets.max()) + 1)
    watch = Stopwatch(clock)
    run = Training(
        rows=rows, y=targets, schema=schema, task=kind, recipe=chosen, threat=threat, seed=seed, factory=name,
        factories=factories, settings=settings, families=families, watch=watch,
    )  # fmt: skip
    history = tuple(run.epochs(progress or (lambda _: None), should_stop or (lambda: False)))
    fingerprint, (version, threads) = weights_sha256(run.best), torch_runtime()
    provenance = Provenance(
        recipe=chosen.to_document(),
        seed=seed,
        rows=len(rows),
        data_sha256=data_sha256(rows, targets),
        weights_sha256=fingerprint,
        torch_version=version,
        threads=threads,
        inputs=dict(inputs or {}),
        families=dict(run.drawn),
        allow_leaks=tuple(sorted(allow_leaks)),
    )
    return Trained(
        model=run.best,
        task=kind,
        factory=name,
        settings=settings,
        recipe=chosen,
        history=history,
        quality=_quality(run),
        weights_sha256=fingerprint,
        provenance=provenance,
        cost=TrainingCost(training=watch.training, validation=watch.validation) if clock else None,
    )


def _quality(run: Training) -> Quality:
    """Of the weights that were kept; refuses those that learned nothing."""
    outputs, y = held_out_outputs(run.best, run.validation, run.task), run.validation_y
    if why := degenerate(outputs, y, run.task):
        raise BadInput(
            f"the {run.recipe.name} training ended in a network that learned nothing: {why}. Look for features that "
            "say something about the target, or use a milder recipe"
        )
    if run.task is Task.REGRESSION:
        given = torch.from_numpy(outputs), torch.from_numpy(y)
        return Quality(metric="loss", value=float(task_loss(*given, run.task, scale=run.scale)), rows=len(y))
    if run.task is Task.BINARY:
        found = [scoring.auc(outputs, y)]
    else:
        found = [scoring.auc(outputs[:, c], (y == c).astype(np.float64)) for c in range(outputs.shape[1])]
    known = [value for value in found if value is not None]
    return Quality(metric="auroc", value=float(np.mean(known)) if known else 0.5, rows=len(y))
