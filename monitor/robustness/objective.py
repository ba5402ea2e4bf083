"""What an attack lowers, and the true margin that says whether a row is broken."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

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

    def labels(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Targets (n,) as `__call__` takes them: signs, class numbers (n, 1), or values."""
        if self.task is Task.MULTICLASS:
            return y.long()[:, None]
        return (2 * y - 1 if self.task is Task.BINARY else y).to(dtype)

    def __call__(self, outputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The true margin and what is lowered, each (n,), and the slope of the latter by the outputs, (n,) or (n, k).

        Outputs are (n,) or (n, k), without a graph; slopes are right up to a positive factor a row.
        """
        if self.task is Task.REGRESSION:
            return -(outputs - labels).abs(), self.side * outputs, torch.full_like(outputs, self.side)
        if self.task is Task.BINARY:
            true = outputs * labels
            return true, true, labels
        rival, at = outputs.scatter(1, labels, -torch.inf).max(dim=1, keepdim=True)
        own = outputs.gather(1, labels)
        true = (own - rival)[:, 0]
        if self.loss is Loss.CROSS_ENTROPY:
            return true, *_log_probability(outputs, own, rival, labels)
        slope = torch.zeros_like(outputs).scatter_(1, labels, 1.0).scatter_(1, at, -1.0)
        return (true, true, slope) if self.loss is Loss.MARGIN else (true, *_dlr(outputs, true, slope))


def _log_probability(outputs: Tensor, own: Tensor, rival: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of the right class, with logits in units of the row's own margin: neither confident nor faint ones vanish."""
    unit = (own - rival).abs_().clamp_(min=torch.finfo(outputs.dtype).tiny) / _SHARP
    most = torch.maximum(own, rival)
    share = ((outputs - most) / unit).exp_()  # log_softmax is slower on few classes
    total = share.sum(dim=1, keepdim=True)
    log_p = ((own - most) / unit - total.log())[:, 0]
    return log_p, share.div_(-total).scatter_add_(1, labels, torch.ones_like(own))


def _dlr(outputs: Tensor, true: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The margin over the gap between the largest and the third largest logit (Croce & Hein 2020)."""
    top = outputs.topk(min(3, outputs.shape[1]), dim=1)
    gap = (top.values[:, 0] - top.values[:, -1]).clamp(min=torch.finfo(outputs.dtype).tiny)
    ratio = true / gap
    ends = torch.zeros_like(outputs).scatter_(1, top.indices[:, :1], 1.0).scatter_(1, top.indices[:, -1:], -1.0)
    return ratio, slope - ratio[:, None] * ends
