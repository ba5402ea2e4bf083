"""What training lowers, by task."""

import torch
from torch import Tensor
from torch.nn import functional

from monitor.robustness.target import Task


def task_loss(outputs: Tensor, y: Tensor, task: Task, *, scale: Tensor | None = None) -> Tensor:
    """Mean log loss of logits (n,) or (n, k); for regression the smooth L1 loss of errors in units of `scale`.

    >>> float(task_loss(torch.tensor([0.0]), torch.tensor([1.0]), Task.BINARY))  # doctest: +ELLIPSIS
    0.693...
    """
    if task is Task.BINARY:
        return functional.binary_cross_entropy_with_logits(outputs, y.to(outputs.dtype))
    if task is Task.MULTICLASS:
        return functional.cross_entropy(outputs, y.long())
    unit = torch.ones(()) if scale is None else scale
    return functional.smooth_l1_loss(outputs / unit, (y / unit).to(outputs.dtype))
