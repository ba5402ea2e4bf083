"""What the attack benchmark and a peer hand to each other: a saved case, questions by line, rows as .npy files.

Runs in every peer's environment, so it needs no more than NumPy and torch. A peer stays up and answers one question a
line, so that ours and theirs can take turns without the cost of a start:

python -m benchmarks.peer_attack.PEER < questions > answers
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

CASE = "case.npz"


class Standardised(nn.Module):
    """Raw rows (n, d) → (rows − centre) / scale as float32 → the network's logits (n, k)."""

    input_dtype = torch.float64

    def __init__(self, centre: Tensor, scale: Tensor, network: nn.Sequential) -> None:
        super().__init__()
        self.register_buffer("centre", centre.double())
        self.register_buffer("scale", scale.double())
        self.network = network

    def forward(self, rows: Tensor) -> Tensor:
        return self.network(((rows.double() - self.centre) / self.scale).float())


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A model, the rows (n, d) to attack and their labels (n,); every feature lies in [lower, upper]."""

    model: nn.Module
    x: np.ndarray
    y: np.ndarray
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One attack to run: `steps` are gradient calls a row, `batch_size` 0 is all rows at once."""

    case: Case
    method: str
    epsilon: float
    steps: int
    seed: int
    batch_size: int
    extra: Mapping[str, Any]


class Counted(nn.Module):
    """Counts the rows that went through: those that will have a gradient, and the others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.gradient_rows = 0
        self.forward_rows = 0

    def forward(self, rows: Tensor) -> Tensor:
        if rows.requires_grad and torch.is_grad_enabled():
            self.gradient_rows += len(rows)
        else:
            self.forward_rows += len(rows)
        return self.model(rows)


Runner = Callable[[Question, Counted], np.ndarray]


def save(folder: Path, model: nn.Module, x: np.ndarray, y: np.ndarray, *, lower: float, upper: float) -> None:
    """Write a network of linear layers and ReLUs, alone or behind `Standardised`, and its rows."""
    network = model.network if isinstance(model, Standardised) else model
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    arrays = {f"weight{i}": layer.weight.detach().numpy() for i, layer in enumerate(linear)}
    arrays |= {f"bias{i}": layer.bias.detach().numpy() for i, layer in enumerate(linear)}
    if isinstance(model, Standardised):
        arrays |= {"centre": model.centre.numpy(), "scale": model.scale.numpy()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / CASE, x=x, y=y, bounds=np.array([lower, upper]), **arrays)


def load(folder: Path) -> Case:
    """Read what `save` wrote; the model comes frozen and in evaluation mode."""
    arrays = dict(np.load(folder / CASE))
    layers: list[nn.Module] = []
    for i in count():
        if f"weight{i}" not in arrays:
            break
        weight, bias = (torch.from_numpy(arrays[f"{part}{i}"]) for part in ("weight", "bias"))
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
        layer.weight.data, layer.bias.data = weight, bias
        layers += [layer, nn.ReLU()]
    model: nn.Module = nn.Sequential(*layers[:-1])
    if "centre" in arrays:
        model = Standardised(torch.from_numpy(arrays["centre"]), torch.from_numpy(arrays["scale"]), model)
    lower, upper = arrays["bounds"].tolist()
    return Case(model=model.eval().requires_grad_(False), x=arrays["x"], y=arrays["y"], lower=lower, upper=upper)


def serve(peer: str, version: str, methods: Mapping[str, Runner]) -> None:
    """Answer questions from standard input until it closes; a failed attack is an answer that says so."""
    torch.set_num_threads(1)
    answers = sys.stdout
    print(json.dumps({"peer": peer, "version": version, "methods": list(methods)}), file=answers, flush=True)
    for line in sys.stdin:
        with redirect_stdout(sys.stderr):
            try:
                said = _answer(json.loads(line), methods)
            except Exception as error:  # the next question must not suffer
                traceback.print_exc()
                said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=answers, flush=True)


def _answer(asked: Mapping[str, Any], methods: Mapping[str, Runner]) -> dict[str, Any]:
    case = load(Path(asked["folder"]))
    counted = Counted(case.model)
    question = Question(
        case=case,
        method=asked["method"],
        epsilon=asked["epsilon"],
        steps=asked["steps"],
        seed=asked["seed"],
        batch_size=asked.get("batch_size", 0) or len(case.x),
        extra=asked.get("extra", {}),
    )
    torch.manual_seed(question.seed)
    np.random.seed(question.seed)  # ART and torchattacks draw from it
    started, worked = time.perf_counter(), time.process_time()
    found = methods[question.method](question, counted)
    taken = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - worked}
    np.save(asked["out"], found)
    return taken | {"gradient_rows": counted.gradient_rows, "forward_rows": counted.forward_rows}
