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


TILE = 8  # matrix products of this many rows round alike in any batch: results do not depend on its size

Model = nn.Module | HasProbabilities | HasPrediction


class Target:
    """A frozen copy of a model with one question: the outputs for rows in raw units.

    Outputs are (n,) for binary and regression and (n, k) for multi-class: logits of a torch module, probabilities of a
    black box. `decision` is the output above which a binary row is called positive. `queries` and `gradients` count
    rows. Of a random model outputs are means of `samples` calls (expectation over transformations).
    """

    def __init__(self, model: Model, task: Task, *, device: str | None = None) -> None:
        self.task = task
        self.samples = 1
        self.differentiable = True
        self.module = _frozen(model, device) if isinstance(model, nn.Module) else None
        self._black_box = None if isinstance(model, nn.Module) else _black_box(model, task)
        self.was_training = isinstance(model, nn.Module) and any(part.training for part in model.modules())
        self.queries = 0
        self.gradients = 0

    @property
    def white_box(self) -> bool:
        """Whether gradients can be asked for."""
        return self.module is not None and self.differentiable

    @property
    def decision(self) -> float:
        return 0.5 if self.module is None else 0.0

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
        count = len(rows)
        short = -count % TILE
        if short and count:
            rows = torch.cat([rows, rows[-1:].expand(short, *rows.shape[1:])])
        given = rows.to(self.dtype)
        outputs = _checked(self.module(given), len(given), self.task)
        for _ in range(self.samples - 1):
            outputs = outputs + _checked(self.module(given), len(given), self.task)
        outputs = outputs if self.samples == 1 else outputs / self.samples
        return _squeeze(outputs, self.task)[:count]

    def find_gradient(self, rows: FloatArray) -> bool:
        """Whether outputs depend on rows inside the graph; where not, the model is searched without gradients."""
        if self.module is None:
            return False
        given = torch.as_tensor(rows[:2], device=self.device, dtype=self.dtype).requires_grad_(True)
        try:
            torch.autograd.grad(self.torch_outputs(given).sum(), given)
        except (RuntimeError, NotImplementedError):
            self.differentiable = False
        return self.differentiable

    def _outputs(self, rows: FloatArray) -> FloatArray:
        if self._black_box is not None:
            asked = [self._black_box(rows) for _ in range(self.samples)]
            return asked[0] if self.samples == 1 else np.asarray(np.mean(asked, axis=0))
        with torch.inference_mode():
            return np.asarray(self.torch_outputs(torch.as_tensor(rows, device=self.device)).double().cpu().numpy())

    @property
    def dtype(self) -> torch.dtype:
        """Raw rows keep float64 where the module says so (`input_dtype`), and else take the dtype of its weights."""
        return input_dtype(self.module)


def input_dtype(module: nn.Module | None) -> torch.dtype:
    """What raw rows are cast to before a module sees them: its `input_dtype`, else the dtype of its weights."""
    declared = getattr(module, "input_dtype", None)
    if isinstance(declared, torch.dtype):
        return declared
    tensor: Tensor | None = next(_tensors(module), None)
    return torch.float64 if tensor is None else tensor.dtype


def as_outputs(outputs: Tensor, count: int, task: Task) -> Tensor:
    """What a module said of `count` rows as logits or values (n,), or logits (n, k) of several classes.

    Raises BadInput on a shape that the task cannot have.
    """
    return _squeeze(_checked(outputs, count, task), task)


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
    width = _width(model, rows) if isinstance(model, nn.Module) else None
    if width is not None and width > 2:
        return Task.MULTICLASS
    if set(np.unique(y)) <= {0, 1}:
        return Task.BINARY
    if width is not None:
        return Task.MULTICLASS if width == 2 else Task.REGRESSION
    return Task.MULTICLASS if isinstance(model, HasProbabilities) else Task.REGRESSION


def _width(module: nn.Module, rows: FloatArray) -> int:
    """How many outputs a row has; 1 where they have no such axis."""
    frozen = Target(module, Task.REGRESSION)
    with torch.inference_mode():
        outputs = frozen.module(torch.as_tensor(rows[:2], device=frozen.device, dtype=frozen.dtype))  # type: ignore[misc]
    return outputs.shape[1] if isinstance(outputs, Tensor) and outputs.ndim == 2 else 1


def _frozen(module: nn.Module, device: str | None) -> nn.Module:
    frozen = copy.deepcopy(module).eval().requires_grad_(False)
    return frozen if device is None else frozen.to(device)


def _tensors(module: nn.Module | None) -> Any:
    if module is not None:
        yield from (p for p in module.parameters() if p.is_floating_point())
        yield from (b for b in module.buffers() if b.is_floating_point())


_EXPECTED = {
    Task.BINARY: "logits (n,), (n, 1) or (n, 2)",
    Task.MULTICLASS: "logits (n, k) with k > 1",
    Task.REGRESSION: "values (n,) or (n, 1)",
}


def _checked(outputs: Tensor, count: int, task: Task) -> Tensor:
    """Outputs of a shape that the task can have; anything else would be read wrongly without a word."""
    if isinstance(outputs, Tensor) and outputs.ndim in (1, 2) and len(outputs) == count:
        width = 1 if outputs.ndim == 1 else outputs.shape[1]
        if width > 1 if task is Task.MULTICLASS else width == 1 or (width == 2 and task is Task.BINARY):
            return outputs
    got = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    raise BadInput(f"expected {_EXPECTED[task]} of a {task} model, got {got} for n = {count}")


def _squeeze(outputs: Tensor, task: Task) -> Tensor:
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        return outputs[:, 0]
    if task is Task.BINARY and outputs.ndim == 2:
        return outputs @ outputs.new_tensor([-1.0, 1.0])
    return outputs


def _black_box(model: Model, task: Task) -> Callable[[FloatArray], FloatArray]:
    if task is not Task.REGRESSION and isinstance(model, HasProbabilities):
        return lambda rows: _probabilities(np.asarray(model.predict_proba(rows), dtype=np.float64), len(rows), task)
    if task is not Task.MULTICLASS and isinstance(model, HasPrediction):
        return lambda rows: np.asarray(model.predict(rows), dtype=np.float64).reshape(len(rows))
    raise BadInput(f"expected a torch module or an object with predict_proba or predict, got {type(model).__name__}")


def _probabilities(found: FloatArray, count: int, task: Task) -> FloatArray:
    wide = found.ndim == 2 and found.shape[1] > 1
    fits = found.ndim in (1, 2) and len(found) == count and wide | (task is Task.BINARY)
    if not fits or (task is Task.BINARY and found.ndim == 2 and found.shape[1] > 2):
        raise BadInput(f"expected probabilities (n,) or (n, k) for {count} rows of a {task} model, got {found.shape}")
    if task is Task.BINARY and found.ndim == 2:
        return found[:, -1]
    return found
