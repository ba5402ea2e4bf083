"""What training lowers, by task."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from monitor.errors import BadInput
from monitor.robustness.target import Task
from monitor.schema import FloatArray


def task_loss(outputs: Tensor, y: Tensor, task: Task, *, scale: Tensor | None = None) -> Tensor:
    """Mean log loss of logits (n,) or (n, k); for regression the smooth L1 loss of errors in units of `scale`.

    >>> float(task_loss(torch.tensor([0.0]), torch.tensor([1.0]), Task.BINARY))  # doctest: +ELLIPSIS
    0.693...
    """
    return TrainingLoss(task=task, scale=scale)(outputs, y)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingLoss:
    """The task's loss with class weights and label smoothing.

    With `weights` (k,), 1 on average over the rows, the loss sees logits + log w and rows weigh w: what is learned are
    then the calibrated logits themselves, as after a prior correction, while rare classes count as much as others.
    """

    task: Task
    scale: Tensor | None = None
    weights: Tensor | None = None
    smoothing: float = 0.0

    def __call__(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The mean over rows of outputs (n,) or (n, k) against targets y (n,)."""
        if self.task is Task.BINARY:
            return self._binary(outputs, y)
        if self.task is Task.MULTICLASS:
            weights = None if self.weights is None else self.weights.to(outputs.dtype)
            shifted = outputs if weights is None else outputs + weights.log()
            return functional.cross_entropy(shifted, y.long(), weight=weights, label_smoothing=self.smoothing)
        unit = torch.ones(()) if self.scale is None else self.scale
        return functional.smooth_l1_loss(outputs / unit, (y / unit).to(outputs.dtype))

    def distance(self, clean: Tensor, moved: Tensor) -> Tensor:
        """How far outputs moved: the mean Kullback–Leibler divergence of the class probabilities, as TRADES has it.

        For regression half the squared move in units of `scale`.
        """
        if self.task is Task.BINARY:
            p, log_p = torch.sigmoid(clean), functional.logsigmoid
            positive = p * (log_p(clean) - log_p(moved))
            return (positive + (1 - p) * (log_p(-clean) - log_p(-moved))).mean()
        if self.task is Task.MULTICLASS:
            logs = functional.log_softmax(moved, dim=1)
            return functional.kl_div(logs, functional.log_softmax(clean, dim=1), log_target=True, reduction="batchmean")
        unit = torch.ones(()) if self.scale is None else self.scale
        return (((moved - clean) / unit) ** 2).mean() / 2

    def _binary(self, outputs: Tensor, y: Tensor) -> Tensor:
        wanted = y.to(outputs.dtype)
        smooth = wanted * (1 - self.smoothing) + self.smoothing / 2
        if self.weights is None:
            return functional.binary_cross_entropy_with_logits(outputs, smooth)
        weights = self.weights.to(outputs.dtype)
        shift = (weights[1] / weights[0]).log()
        return functional.binary_cross_entropy_with_logits(outputs + shift, smooth, weight=weights[wanted.long()])


def class_weights(y: FloatArray, task: Task) -> Tensor:
    """n / (k · n_c) for each class c of y (n,): every class weighs the same in sum, and rows weigh 1 on average.

    >>> class_weights(np.array([0.0, 0.0, 0.0, 1.0]), Task.BINARY)
    tensor([0.6667, 2.0000])
    """
    if task is Task.REGRESSION:
        raise BadInput("expected classes to balance, got a regression: leave balance out of the recipe")
    counts = np.bincount(y.astype(int))
    return torch.from_numpy(len(y) / (len(counts) * np.maximum(counts, 1))).float()
