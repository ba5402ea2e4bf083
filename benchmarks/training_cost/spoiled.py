"""Candidates that must never serve, each of a kind that some figure alone would let pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from monitor.robustness import Task, ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training import RECIPES, Recipe, train

STEPS = 150


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What a candidate may learn from: rows (n, d) with labels, and the champion that it would replace."""

    schema: Schema
    rows: FloatArray
    y: FloatArray
    threat: ThreatModel
    champion: nn.Module
    rng: np.random.Generator

    def learned(self, recipe: Recipe | str = "standard", *, rows: FloatArray | None = None, y: FloatArray | None = None,
                network: Mapping[str, object] | None = None) -> nn.Module:  # fmt: skip
        """A network trained on the rows, or on what became of them."""
        chosen = RECIPES[recipe] if isinstance(recipe, str) else recipe
        return train(
            self.rows if rows is None else rows, self.y if y is None else y, self.schema, task=Task.BINARY,
            recipe=replace(chosen, epochs=4, min_steps=STEPS, max_steps=STEPS), threat=self.threat,
            seed=int(self.rng.integers(1_000_000)), network=network or {"hidden": (32, 32)},
            allow_leaks=self.schema.names,
        ).model  # fmt: skip


class Altered(nn.Module):
    """The champion's logits, changed row by row."""

    input_dtype = torch.float64
    task = Task.BINARY

    def __init__(self, inner: nn.Module, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner = inner
        self.change = change

    def forward(self, rows: Tensor) -> Tensor:
        return self.change(self.inner(rows), rows)


def constant(of: Lesson) -> nn.Module:
    """The base rate for every row."""
    logit = float(np.log(of.y.mean() / (1 - of.y.mean())))
    return Altered(of.champion, lambda out, rows: 0 * out + logit)


def near_constant(of: Lesson) -> nn.Module:
    """The champion where it is surest, and (almost) the majority's answer everywhere else."""
    share, slope = of.rng.uniform(0.005, 0.05), float(of.rng.choice([0.0, 1e-3]))
    with torch.inference_mode():
        outputs = of.champion(torch.from_numpy(of.rows))
        cut, rest = float(torch.quantile(outputs, 1 - share)), float(outputs.mean())
    return Altered(of.champion, lambda out, rows: rest + slope * (out - rest) + torch.relu(out - cut))


def lumped(of: Lesson) -> nn.Module:
    """The champion's logits in two or three lumps."""
    steps = int(of.rng.integers(1, 3))
    with torch.inference_mode():
        outputs = of.champion(torch.from_numpy(of.rows))
        cuts = torch.quantile(outputs, torch.from_numpy(of.rng.uniform(0.05, 0.95, steps)).float())
    return Altered(of.champion, lambda out, rows: sum((torch.sigmoid(50 * (out - cut)) for cut in cuts), 0 * out) - 1)


def flipped(of: Lesson) -> nn.Module:
    """The wrong way round."""
    return Altered(of.champion, lambda out, rows: -out)


def blurred(of: Lesson) -> nn.Module:
    """The champion plus what looks like noise, but is the same whenever the same row comes."""
    size = of.rng.uniform(0.5, 3.0)
    weights = torch.from_numpy(of.rng.normal(0, 1, of.rows.shape[1]))

    def change(out: Tensor, rows: Tensor) -> Tensor:
        return out + size * torch.sin(37.0 * (torch.nan_to_num(rows) @ weights)).to(out.dtype)

    return Altered(of.champion, change)


def over_robust(of: Lesson) -> nn.Module:
    """Every row attacked as far as S4 or S5: safe from all that moves, and shrunk towards the majority."""
    level = str(of.rng.choice(["S4", "S5"]))
    recipe = replace(RECIPES["pgd"], attacked=1.0, level=level, inner_steps=4, validation_level=level)
    return of.learned(recipe)


def immovable(of: Lesson) -> nn.Module:
    """Learned from what no attack can move, alone: perfect robustness."""
    return of.learned(rows=_permuted(of, of.threat.mutable))


def one_feature(of: Lesson) -> nn.Module:
    """Learned from one feature alone."""
    others = np.ones(of.rows.shape[1], dtype=bool)
    others[of.rng.integers(of.rows.shape[1])] = False
    return of.learned(rows=_permuted(of, others))


def label_noise(of: Lesson) -> nn.Module:
    """A third to a half of the labels flipped."""
    hit = of.rng.random(len(of.y)) < of.rng.uniform(0.35, 0.5)
    return of.learned("hardened", y=np.where(hit, 1 - of.y, of.y))


def shuffled_labels(of: Lesson) -> nn.Module:
    """Labels that belong to other rows."""
    return of.learned("hardened", y=of.rng.permutation(of.y))


def few_rows(of: Lesson) -> nn.Module:
    """A hundred and twenty rows, as after a filter gone wrong."""
    positives, negatives = (of.rng.permutation(np.flatnonzero(of.y == c)) for c in (1, 0))
    chosen = np.concatenate([positives[:40], negatives[:80]])
    return of.learned(rows=of.rows[chosen], y=of.y[chosen])


def honest(of: Lesson) -> nn.Module:
    """The default recipe on all rows: no spoiled candidate, but what should be promoted."""
    return of.learned("hardened")


def _permuted(of: Lesson, columns: np.ndarray) -> FloatArray:
    rows = of.rows.copy()
    for j in np.flatnonzero(columns):
        rows[:, j] = of.rng.permutation(rows[:, j])
    return rows


KINDS: Mapping[str, Callable[[Lesson], nn.Module]] = {
    "constant": constant,
    "near constant": near_constant,
    "lumped": lumped,
    "sign flipped": flipped,
    "blurred": blurred,
    "over-robust": over_robust,
    "immovable features only": immovable,
    "one feature": one_feature,
    "label noise": label_noise,
    "shuffled labels": shuffled_labels,
    "few rows": few_rows,
}
