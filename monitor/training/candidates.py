"""The candidates of a retraining: as hardened as the clean rows allow, and one that knows noise alone.

The ladder: hardened, then half as many attacked and disturbed rows, then noise alone. A rung is left when it costs more
than half a point of clean AUC on the validation rows, against the standard training on the same rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from monitor.robustness.threat_model import ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training.curriculum import Recipe, recipe_named
from monitor.training.loop import Progress, at_level
from monitor.training.trainer import Trained, train

CLEAN_LOSS = 0.005  # of AUC; of a regression's loss, relative
SECOND = "noise"  # noise alone gives much of the gain, where attacks cost too much on clean rows
RUNGS: Mapping[str, Sequence[str]] = {"hardened": ("hardened_light", SECOND), "hardened_light": (SECOND,)}
MOST_TRAININGS = 4  # standard, noise, hardened, hardened_light


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a listener hears: which training runs, its number from 0 of at most so many, and its epoch."""

    recipe: str
    order: int
    of: int
    epoch: Progress


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """What the ladder ended in.

    `first` is the candidate to prefer and `second` the noise-only one, the same training where the ladder ended there.
    `fallback` is a sentence, empty where nothing was given up. `losses` are the clean losses against `reference`, the
    standard training, by recipe; `trainings` how many were run in all.
    """

    first: Trained
    second: Trained
    reference: Trained | None
    fallback: str
    losses: Mapping[str, float]
    trainings: int

    @property
    def distinct(self) -> tuple[Trained, ...]:
        """The candidates, each once."""
        return (self.first,) if self.first is self.second else (self.first, self.second)


def train_candidates(
    X: FloatArray,
    y: NDArray[Any],
    schema: Schema,
    *,
    recipe: Recipe | str = "hardened",
    threat: ThreatModel | None = None,
    progress: Callable[[Step], None] | None = None,
    **settings: Any,
) -> Candidates:
    """Train the recipe, what it falls back to, and always the noise-only candidate, on the same split.

    The standard training is the reference and no candidate; recipes off the ladder have none and are trained as they
    are. Where nothing can be attacked, the noise-only candidate is the first. `settings` are those of `train`.
    """
    asked = recipe_named(recipe)
    on_ladder = asked.name in RUNGS
    run = _Run(X, y, schema, threat, progress or (lambda _: None), settings, MOST_TRAININGS if on_ladder else 2)
    if on_ladder and at_level(threat, asked.level) is None:
        only = run.trained(SECOND)
        return run.ended(only, only, None, f"nothing is declared mutable, so {asked.name} has nothing to attack", {})
    if not on_ladder:
        first = run.trained(asked)
        return run.ended(first, first if asked.name == SECOND else run.trained(SECOND), None, "", {})
    reference, second = run.trained("standard"), run.trained(SECOND)
    losses: dict[str, float] = {}
    rungs: list[Recipe | str] = [asked, *RUNGS[asked.name]]
    for rung in rungs:
        candidate = second if rung == SECOND else run.trained(rung)
        losses[candidate.recipe.name] = candidate.quality.loss_against(reference.quality)
        if losses[candidate.recipe.name] <= CLEAN_LOSS + 1e-9 or rung == SECOND:
            return run.ended(candidate, second, reference, _sentence(losses, reference), losses)
    raise AssertionError("the last rung is always taken")


@dataclass
class _Run:
    """Trainings on the same rows, counted."""

    X: FloatArray
    y: NDArray[Any]
    schema: Schema
    threat: ThreatModel | None
    tell: Callable[[Step], None]
    settings: Mapping[str, Any]
    most: int
    done: int = 0

    def trained(self, recipe: Recipe | str) -> Trained:
        chosen, order = recipe_named(recipe), self.done
        self.done += 1
        return train(
            self.X, self.y, self.schema, recipe=chosen, threat=self.threat, **self.settings,
            progress=lambda epoch: self.tell(Step(recipe=chosen.name, order=order, of=self.most, epoch=epoch)),
        )  # fmt: skip

    def ended(
        self, first: Trained, second: Trained, reference: Trained | None, fallback: str, losses: Mapping[str, float]
    ) -> Candidates:
        told = replace(first, provenance=replace(first.provenance, fallback=fallback)) if fallback else first
        return Candidates(
            first=told, second=told if first is second else second, reference=reference, fallback=fallback,
            losses=losses, trainings=self.done,
        )  # fmt: skip


def _sentence(losses: Mapping[str, float], reference: Trained) -> str:
    """What was given up and why; empty when the first rung held."""
    *left, taken = losses
    if not left:
        return ""
    cost = " and ".join(f"{name} cost {_size(losses[name], reference)}" for name in left)
    rows = reference.quality.rows
    return (
        f"{cost} on {rows:,} validation rows against the standard training, more than "
        f"{_size(CLEAN_LOSS, reference)}: fell back to {taken}"
    )


def _size(loss: float, reference: Trained) -> str:
    return (
        f"{100 * loss:.2f} points of clean AUC" if reference.quality.metric == "auroc" else f"{100 * loss:.2f} % loss"
    )
