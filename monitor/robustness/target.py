"""The model under attack: one face for torch modules and for black boxes."""

import copy
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.errors import BadInput
from monitor.robustness.threat_model import BoolArray
from monitor.schema import FloatArray


class Task(StrEnum):
    """What the model predicts. `Task("classification")`, the registry's word, is binary."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"

    @classmethod
    def _missing_(cls, value: object) -> "Task | None":
        return cls.BINARY if value == "classification" else None


@runtime_checkable
class HasProbabilities(Protocol):
    """A black box that gives class probabilities, (n,) or (n, k), for rows (n, d)."""

    def predict_proba(self, rows: FloatArray, /) -> Any: ...


@runtime_checkable
class HasPrediction(Protocol):
    """A black box that gives one value a row."""

    def predict(self, rows: FloatArray, /) -> Any: ...


Model = nn.Module | HasProbabilities | HasPrediction


class Target:
    """A frozen copy of a model with one question: the outputs for rows in raw units.

    Outputs are (n,) for binary and regression and (n, k) for multi-class: logits of a torch module, probabilities of a
    black box. `decision` is the output above which a binary row is called positive. `queries` and `gradients` count
    rows.
    """

    def __init__(self, model: Model, task: Task, *, device: str | None = None) -> None:
        self.task = task
        self.module = _frozen(model, device) if isinstance(model, nn.Module) else None
        self._black_box = None if isinstance(model, nn.Module) else _black_box(model, task)
        self.was_training = isinstance(model, nn.Module) and any(part.training for part in model.modules())
        self.queries = 0
        self.gradients = 0

    @property
    def white_box(self) -> bool:
        return self.module is not None

    @property
    def decision(self) -> float:
        return 0.0 if self.white_box else 0.5

    @property
    def device(self) -> torch.device:
        tensor = next(_tensors(self.module), None) if self.module is not None else None
        return torch.device("cpu") if tensor is None else tensor.device

    def outputs(self, rows: FloatArray, *, batch_size: int = 8_192) -> FloatArray:
        """(n,) or (n, k) for rows (n, d)."""
        self.queries += len(rows)
        parts = [self._outputs(rows[i : i + batch_size]) for i in range(0, len(rows), batch_size)]
        return np.concatenate(parts)

    def torch_outputs(self, rows: Tensor) -> Tensor:
        """The same inside the graph, so that gradients flow to the raw rows."""
        if self.module is None:
            raise BadInput("expected a torch module for a gradient attack, got a black box: use the random search")
        return _squeeze(self.module(rows.to(self._dtype)), self.task)

    def _outputs(self, rows: FloatArray) -> FloatArray:
        if self._black_box is not None:
            return self._black_box(rows)
        with torch.inference_mode():
            return np.asarray(self.torch_outputs(torch.as_tensor(rows, device=self.device)).double().cpu().numpy())

    @property
    def _dtype(self) -> torch.dtype:
        """Raw rows keep float64 where the module says so (`input_dtype`), and else take the dtype of its weights."""
        declared = getattr(self.module, "input_dtype", None)
        if isinstance(declared, torch.dtype):
            return declared
        tensor = next(_tensors(self.module), None) if self.module is not None else None
        return torch.float64 if tensor is None else tensor.dtype


def margin(outputs: FloatArray, y: FloatArray, task: Task, *, decision: float = 0.0) -> FloatArray:
    """How firmly each row is right, (n,): lower is worse, negative is wrong; for regression minus the absolute error.

    >>> margin(np.array([2.0, -1.0]), np.array([1.0, 1.0]), Task.BINARY)
    array([ 2., -1.])
    """
    if task is Task.REGRESSION:
        return np.asarray(-np.abs(outputs - y))
    if task is Task.BINARY:
        return np.asarray(np.where(y > 0, 1.0, -1.0) * (outputs - decision))
    labels = y.astype(int)
    own = np.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    others = outputs.copy()
    others[np.arange(len(others)), labels] = -np.inf
    return np.asarray(own - others.max(axis=1))


def is_right(outputs: FloatArray, y: FloatArray, task: Task, *, decision: float = 0.0) -> BoolArray:
    """Which rows are classified rightly, (n,)."""
    return np.asarray(predicted(outputs, task, decision=decision) == y)


def predicted(outputs: FloatArray, task: Task, *, decision: float = 0.0) -> FloatArray:
    """The predicted class or value, (n,)."""
    if task is Task.REGRESSION:
        return outputs
    if task is Task.BINARY:
        return (outputs > decision).astype(np.float64)
    return np.asarray(outputs.argmax(axis=1), dtype=np.float64)


def task_of(model: Model, y: NDArray[Any], rows: FloatArray) -> Task:
    """The task that a model declares (`model.task`), else what its outputs and the targets look like."""
    declared = getattr(model, "task", None)
    if declared is not None:
        return Task(str(declared))
    if set(np.unique(y)) <= {0, 1}:
        return Task.BINARY
    if isinstance(model, nn.Module):
        wide = np.ndim(Target(model, Task.MULTICLASS).outputs(rows[:2])) == 2
        return Task.MULTICLASS if wide else Task.REGRESSION
    return Task.MULTICLASS if isinstance(model, HasProbabilities) else Task.REGRESSION


def _frozen(module: nn.Module, device: str | None) -> nn.Module:
    frozen = copy.deepcopy(module).eval().requires_grad_(False)
    return frozen if device is None else frozen.to(device)


def _tensors(module: nn.Module | None) -> Any:
    if module is not None:
        yield from (p for p in module.parameters() if p.is_floating_point())
        yield from (b for b in module.buffers() if b.is_floating_point())


def _squeeze(outputs: Tensor, task: Task) -> Tensor:
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        return outputs[:, 0]
    if task is Task.BINARY and outputs.ndim == 2:
        return outputs[:, 1] - outputs[:, 0]
    return outputs


def _black_box(model: Model, task: Task) -> Callable[[FloatArray], FloatArray]:
    if task is not Task.REGRESSION and isinstance(model, HasProbabilities):
        return lambda rows: _probabilities(np.asarray(model.predict_proba(rows), dtype=np.float64), task)
    if task is not Task.MULTICLASS and isinstance(model, HasPrediction):
        return lambda rows: np.asarray(model.predict(rows), dtype=np.float64).reshape(len(rows))
    raise BadInput(f"expected a torch module or an object with predict_proba or predict, got {type(model).__name__}")


def _probabilities(found: FloatArray, task: Task) -> FloatArray:
    if task is Task.BINARY and found.ndim == 2:
        return found[:, -1]
    return found
