"""What an attack lowers, and the true margin that says whether a row is broken."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

from monitor.robustness.target import Task

_SHARP = 1.5  # logits over the margin: 1 to 3 do nearly as well


class Loss(StrEnum):
    """What descends for models of several classes: the margin itself, cross-entropy, or the ratio of differences (DLR).

    All of them are free of the scale of the logits. For two classes and for values the margin alone is used.
    """

    MARGIN = "margin"
    CROSS_ENTROPY = "ce"
    DLR = "dlr"


@dataclass(frozen=True, kw_only=True)
class Objective:
    """`side` pushes the value of a regression down (1) or up (−1)."""

    task: Task
    loss: Loss = Loss.MARGIN
    side: float = 1.0

    @property
    def is_margin(self) -> bool:
        """Whether what is lowered is the true margin."""
        return self.task is Task.BINARY or (self.task is Task.MULTICLASS and self.loss is Loss.MARGIN)

    def __call__(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The true margin and what is lowered, each (n,); outputs (n,) or (n, k)."""
        if self.task is Task.REGRESSION:
            return -(outputs - y).abs(), self.side * outputs
        if self.task is Task.BINARY:
            true = outputs * (2 * y - 1)
            return true, true
        true = class_margin(outputs, y)
        if self.loss is Loss.MARGIN:
            return true, true
        lowered = _dlr(outputs, true) if self.loss is Loss.DLR else -_cross_entropy(outputs, y, true)
        return true, lowered


def class_margin(outputs: Tensor, y: Tensor) -> Tensor:
    """z_y − max z_other of logits (n, k), (n,)."""
    labels = y.long()[:, None]
    others = outputs.scatter(1, labels, -torch.inf)
    return outputs.gather(1, labels)[:, 0] - others.amax(dim=1)


def _dlr(outputs: Tensor, true: Tensor) -> Tensor:
    """The margin over the gap between the largest and the third largest logit (Croce & Hein 2020)."""
    top = outputs.topk(min(3, outputs.shape[1]), dim=1).values
    gap = (top[:, 0] - top[:, -1]).clamp(min=torch.finfo(outputs.dtype).tiny)
    return true / gap


def _cross_entropy(outputs: Tensor, y: Tensor, true: Tensor) -> Tensor:
    """Log loss of logits in units of the row's own margin, so that neither confident nor faint ones make it vanish."""
    unit = true.detach().abs().clamp(min=torch.finfo(outputs.dtype).tiny)[:, None]
    return functional.cross_entropy(_SHARP * outputs / unit, y.long(), reduction="none")
