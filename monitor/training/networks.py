"""The networks for tables, and the one factory that builds them from a schema and settings.

A manifest names a factory of this allow-list and never an import: loading a model cannot run code of the file's choice.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from monitor.errors import BadInput, HoldfastError, NotFound
from monitor.robustness.target import Task, as_outputs, input_dtype
from monitor.schema import FloatArray, Schema
from monitor.training.preprocess import Preprocess

TABULAR = "holdfast.tabular"
Factory = Callable[[Mapping[str, Any], Task, Mapping[str, Any]], nn.Module]


class NetworkSettings(BaseModel):
    """The shape of a network, as a manifest stores it.

    `hidden` are the widths of an MLP's layers, or inside each block of a ResNet; `width` and `dropout` are of a ResNet.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Literal["linear", "mlp", "resnet"] = "mlp"
    hidden: tuple[int, ...] = Field(default=(128, 128), max_length=8)
    width: int = Field(default=128, ge=1, le=4_096)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    classes: int = Field(default=2, ge=2, le=1_000)


class Block(nn.Module):
    """x + linear(dropout(relu(linear(norm(x)))))."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.narrow(self.dropout(torch.relu(self.widen(self.norm(inputs)))))
        return inputs + outputs


class ResNet(nn.Module):
    """A residual network for tables (Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959): (n, width) → (n, k).

    It normalises each row and not each batch: averaged weights then need no statistics of their own, and what a row is
    answered does not depend on the rows beside it.
    """

    def __init__(self, inputs: int, outputs: int, shape: NetworkSettings) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, shape.width)
        self.blocks = nn.ModuleList(Block(shape.width, hidden, shape.dropout) for hidden in shape.hidden)
        self.norm = nn.LayerNorm(shape.width)
        self.last = nn.Linear(shape.width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        inside = self.first(inputs)
        for block in self.blocks:
            inside = block(inside)
        outputs: Tensor = self.last(torch.relu(self.norm(inside)))
        return outputs


class Predictor(nn.Module):
    """Raw rows (n, d) → logits (n,) or (n, k), or values (n,).

    A regression network learns standardised values; `target_centre` and `target_scale` bring them back to raw units.
    """

    input_dtype = torch.float64  # raw amounts can need more digits than float32 has
    target_centre: Tensor
    target_scale: Tensor

    def __init__(self, preprocess: Preprocess, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.network = network
        self.task = task
        self.register_buffer("target_centre", torch.tensor(0.0))
        self.register_buffer("target_scale", torch.tensor(1.0))

    def forward(self, rows: Tensor) -> Tensor:
        return self.answers(self.preprocess(rows))

    def answers(self, inputs: Tensor) -> Tensor:
        """The same for network inputs (n, width)."""
        outputs: Tensor = self.network(inputs)
        if self.task is Task.MULTICLASS:
            return outputs
        if self.task is Task.REGRESSION:
            return outputs[:, 0] * self.target_scale + self.target_centre
        return outputs[:, 0]


def build(schema_document: Mapping[str, Any], task: Task, settings: Mapping[str, Any]) -> Predictor:
    """An untrained predictor of the right shape, to be fitted or to receive saved weights."""
    try:
        shape = NetworkSettings(**settings)
    except ValidationError as error:
        raise BadInput(
            f"expected network settings such as network: mlp, hidden: [128, 128], got {settings}: {error}"
        ) from None
    preprocess = Preprocess(Schema.from_document(schema_document))
    outputs = shape.classes if task is Task.MULTICLASS else 1
    if shape.network == "resnet":
        return Predictor(preprocess, ResNet(preprocess.width, outputs, shape), Task(task))
    hidden = () if shape.network == "linear" else shape.hidden
    return Predictor(preprocess, _layers(preprocess.width, hidden, outputs), Task(task))


FACTORIES: Mapping[str, Factory] = {TABULAR: build}


def factory(name: str, factories: Mapping[str, Factory] = FACTORIES) -> Factory:
    """The factory of that name in the allow-list."""
    if name not in factories:
        raise NotFound(f"no model factory {name!r}; allowed are {', '.join(sorted(factories))}")
    return factories[name]


def built(
    name: str, factories: Mapping[str, Factory], schema: Schema, task: Task, settings: Mapping[str, Any]
) -> nn.Module:
    """An untrained module of an allowed factory; whatever else the factory gives or raises is refused in a sentence."""
    make = factory(name, factories)
    try:
        module: object = make(schema.to_document(), task, settings)
    except HoldfastError:
        raise
    except Exception as error:
        raise BadInput(f"factory {name} failed on the settings {dict(settings)}: {error!r}") from error
    if not isinstance(module, nn.Module):
        raise BadInput(f"expected a torch module from factory {name}, got {type(module).__name__}")
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise BadInput(f"expected parameters to train, got none in the module of factory {name}")
    return module


def check_outputs(module: nn.Module, rows: FloatArray, task: Task, classes: int, name: str) -> None:
    """Refuse a module whose answers to a few raw rows (n, d) cannot be those of the task."""
    given = torch.from_numpy(rows).to(input_dtype(module))
    module.eval()
    try:
        with torch.no_grad():
            outputs = as_outputs(module(given), len(rows), task)
    except BadInput as error:
        raise BadInput(f"{error}: the module of factory {name} must take raw rows (n, d) and return those") from None
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise BadInput(
            f"expected a module that takes raw rows of shape {tuple(rows.shape)}, but that of factory {name} raised "
            f"{error!r}"
        ) from error
    if task is Task.MULTICLASS and outputs.shape[1] != classes:
        raise BadInput(f"expected {classes} outputs of the module of factory {name}, got {outputs.shape[1]}")


def answers_missing(module: nn.Module, rows: FloatArray) -> bool:
    """Whether every output stays finite when a cell of raw rows (n, d) is missing."""
    holed = np.repeat(rows[:1], rows.shape[1], axis=0)
    np.fill_diagonal(holed, np.nan)
    module.eval()
    try:
        with torch.no_grad():
            return bool(torch.isfinite(module(torch.from_numpy(holed).to(input_dtype(module)))).all())
    except (RuntimeError, IndexError, ValueError):
        return False


def _layers(width: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (width, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
