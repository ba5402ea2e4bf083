"""Does a campaign doubt what deserves doubt: models that mask their weakness on purpose, and honest ones."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.attack_cost.accuracy import Subject, box
from benchmarks.attack_cost.models import trained
from benchmarks.attack_cost.scoring import task_of
from benchmarks.attack_cost.worlds import World
from monitor.robustness import run_campaign

Wrapped = Callable[[nn.Module, Tensor], Tensor]
SHAPES = ((128, 128), (64,), (32, 32, 32))


class _Backward(torch.autograd.Function):
    """Rows as they are; the gradient of them is what a function makes of the true one."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return rows.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradient), None


def _changed(change: Callable[[Tensor], Tensor]) -> Wrapped:
    return lambda model, rows: _logit(model, _Backward.apply(rows, change))


def _logit(model: nn.Module, rows: Tensor) -> Tensor:
    logits = model(rows)
    return logits[:, 1] - logits[:, 0]


def _first_half(gradient: Tensor) -> Tensor:
    """Zero where the gradient is largest, as if the best features went through a part without gradients."""
    order = gradient.abs().mean(dim=0).argsort(descending=True)
    kept = gradient.clone()
    kept[:, order[: (len(order) + 1) // 2]] = 0
    return kept


DEFECTS: dict[str, Wrapped] = {
    "rounded outputs": lambda model, rows: torch.round(_logit(model, rows) * 2) / 2,
    "detached inputs": lambda model, rows: _logit(model, rows.detach()) + 0 * rows.sum(1),
    "NaN gradients": lambda model, rows: _logit(model, rows) + torch.sqrt((0 * rows).sum(1)),
    "probabilities": lambda model, rows: torch.sigmoid(_logit(model, rows)),
    "random outputs": lambda model, rows: _logit(model, rows) + torch.randn(len(rows)),
    "random inputs": lambda model, rows: _logit(model, rows + 0.3 * torch.randn(rows.shape)),
    "constant predictor": lambda model, rows: 0 * _logit(model, rows) - 1,
    "saturated outputs": lambda model, rows: torch.tanh(1e4 * _logit(model, rows)),
    "quantised inputs": lambda model, rows: _logit(model, torch.round(rows * 20) / 20),
    "votes of thresholds": lambda model, rows: (_logit(model, rows) > 0).float() - 0.5 + 0 * rows.sum(1),
    "flipped gradients": _changed(torch.neg),
    "gradients of half of the features": _changed(_first_half),
    "gradients of other rows": _changed(lambda gradient: gradient.roll(1, 0).roll(1, 1)),
    "rough inputs": lambda model, rows: _logit(model, rows + 0.02 * torch.sin(2_000 * rows)),
}


class Masked(nn.Module):
    """A network behind one of the defects."""

    def __init__(self, model: nn.Module, defect: Wrapped) -> None:
        super().__init__()
        self.model, self.defect = model, defect

    def forward(self, rows: Tensor) -> Tensor:
        return self.defect(self.model, rows)


def flags(model: nn.Module, of: World) -> list[str]:
    """Names of the flags that a tick raises on the three smallest ε of a world."""
    threats = [box(of, epsilon) for epsilon in of.epsilons[:3]]
    try:
        report = run_campaign(model, of.x, of.y, threats, plan="tick", task=task_of(of.classes))
    except RuntimeError as error:  # a campaign that fails has doubted nothing
        print(f"campaign failed: {error}", file=sys.stderr)
        return []
    return [flag.name for flag in report.audit]


def planted(subject: Subject) -> dict[str, list[str]]:
    """By defect, the flags that it raised; a model in training mode is one more."""
    found = {name: flags(Masked(subject.model, defect).eval(), subject.world) for name, defect in DEFECTS.items()}
    dropping = nn.Sequential(nn.Dropout(0.5), subject.model)
    return found | {"training mode": flags(dropping.train(), subject.world)}


def honest(worlds: Sequence[World], *, count: int) -> dict[str, list[str]]:
    """By model, the flags that it raised though nothing is wrong with it."""
    found = {}
    for number in range(count):
        of, shape = worlds[number % len(worlds)], SHAPES[number // len(worlds) % len(SHAPES)]
        kind = "hardened" if number % 5 == 4 else "standard"
        found[f"{of.name}, {kind}, {shape}, {number}"] = flags(trained(of, kind, number, hidden=shape), of)
    return found


def figures(subject: Subject, worlds: Sequence[World], *, quick: bool) -> dict[str, Any]:
    """What was planted, what was caught, and how many honest models were doubted."""
    made = planted(subject)
    fair = honest(worlds, count=4 if quick else 50)
    return {
        "planted defects": made,
        "planted": float(len(made)),
        "missed": [name for name, raised in made.items() if not raised],
        "honest": float(len(fair)),
        "doubted": {name: raised for name, raised in fair.items() if raised},
    }
