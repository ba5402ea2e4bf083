"""The networks for tables, and the one factory that builds them from a schema and settings.

A manifest names a factory of this allow-list and never an import: loading a model cannot run code of the file's choice.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from monitor.errors import BadInput, NotFound
from monitor.robustness.target import Task
from monitor.schema import Schema
from monitor.training.preprocess import Preprocess

TABULAR = "holdfast.tabular"
Factory = Callable[[Mapping[str, Any], Task, Mapping[str, Any]], nn.Module]


class NetworkSettings(BaseModel):
    """The shape of a network, as a manifest stores it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: Literal["linear", "mlp"] = "mlp"
    hidden: tuple[int, ...] = Field(default=(128, 128), max_length=8)
    classes: int = Field(default=2, ge=2, le=1_000)


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
        outputs: Tensor = self.network(self.preprocess(rows))
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
    hidden = () if shape.network == "linear" else shape.hidden
    return Predictor(preprocess, _layers(preprocess.width, hidden, outputs), Task(task))


FACTORIES: Mapping[str, Factory] = {TABULAR: build}


def factory(name: str, factories: Mapping[str, Factory] = FACTORIES) -> Factory:
    """The factory of that name in the allow-list."""
    if name not in factories:
        raise NotFound(f"no model factory {name!r}; allowed are {', '.join(sorted(factories))}")
    return factories[name]


def _layers(width: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (width, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
