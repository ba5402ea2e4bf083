"""Images and other rows of more than one axis: they are attacked as flat rows, and the model sees their own shape."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.robustness.target import Model, Task
from monitor.schema import FloatArray


class _Shaped(nn.Module):
    """A module behind a reshape of flat rows."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.module, self.shape = module, shape
        task = getattr(module, "task", None)
        if task is not None:
            self.task = Task(str(task))
        dtype = getattr(module, "input_dtype", None)
        if isinstance(dtype, torch.dtype):
            self.input_dtype = dtype

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.module(rows.reshape(len(rows), *self.shape))
        return outputs


def flat_rows(X: NDArray[Any]) -> FloatArray:
    """(n, …) → (n, d)."""
    rows = np.asarray(X, dtype=np.float64)
    return rows.reshape(len(rows), -1) if rows.ndim > 2 else rows


def flat_model(model: Model, shape: tuple[int, ...]) -> Model:
    """The model for flat rows, given the shape of one row as it takes them."""
    if len(shape) < 2:
        return model
    if not isinstance(model, nn.Module):
        return _ShapedBlackBox(model, shape)
    return _Shaped(model, shape).train(model.training)


class _ShapedBlackBox:
    """A black box behind a reshape of flat rows."""

    def __init__(self, model: Any, shape: tuple[int, ...]) -> None:
        self._model, self._shape = model, shape
        if hasattr(model, "predict_proba"):
            self.predict_proba = lambda rows: model.predict_proba(rows.reshape(len(rows), *shape))

    def predict(self, rows: FloatArray, /) -> Any:
        return self._model.predict(rows.reshape(len(rows), *self._shape))
