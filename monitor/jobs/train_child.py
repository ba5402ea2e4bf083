"""Train the candidates of a proposal, from files to files: given.json and rows.parquet in, weights and facts out."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from monitor.jobs.child import OnProgress
from monitor.jobs.stress_child import factories_named
from monitor.robustness import ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training import Step, Trained, train_candidates, weights_bytes

WORK = "monitor.jobs.train_child:run"
TARGET = "target of the training"
_FACTS = "candidates.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a training left in the folder: weights, and what built and made them."""

    recipe: str
    weights: Path
    factory: str
    settings: dict[str, Any]
    provenance: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to train besides the rows: `network` names the factory and its settings, `families` weigh the noise."""

    task: str
    recipe: str
    seed: int
    inputs: dict[str, str]
    network: dict[str, Any] = field(default_factory=dict)
    factories: tuple[str, ...] = ()
    families: dict[str, float] | None = None
    allow_leaks: tuple[str, ...] = ()


def write_work(folder: Path, rows: FloatArray, y: FloatArray, *, schema: Schema, order: Order) -> None:
    """What the child reads: encoded rows (n, d), targets (n,) and what to do with them."""
    frame = pd.DataFrame(rows, columns=list(schema.names))
    frame.assign(**{TARGET: y}).to_parquet(folder / "rows.parquet")
    given = {"schema": schema.to_document(), "order": asdict(order)}
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")


def read_candidates(folder: Path) -> list[Candidate]:
    """What the child wrote, the one to prefer first."""
    facts: list[dict[str, Any]] = json.loads((folder / _FACTS).read_text("utf-8"))
    return [Candidate(**{**fact, "weights": folder / fact["weights"]}) for fact in facts]


def run(folder: Path, on_progress: OnProgress) -> None:
    """Train the candidates on the same rows; epochs are counted through. Files are written when all are trained."""
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    schema, order = Schema.from_document(given["schema"]), given["order"]
    frame = pd.read_parquet(folder / "rows.parquet")
    y = frame.pop(TARGET).to_numpy(np.float64)
    rows = frame.to_numpy(np.float64)
    with one_thread():
        found = train_candidates(
            rows, y, schema, task=order["task"], recipe=order["recipe"], threat=ThreatModel.from_schema(schema, rows),
            seed=order["seed"], inputs=order["inputs"], network=order["network"], families=order["families"],
            factories=factories_named(order["factories"]), allow_leaks=tuple(order["allow_leaks"]),
            progress=_teller(on_progress),
        )  # fmt: skip
    _write(folder, found.distinct)


def _write(folder: Path, trainings: Sequence[Trained]) -> None:
    """Weights first; the facts that name them appear at once and last, so that nobody reads half of it."""
    facts = []
    for trained in trainings:
        name = f"{trained.recipe.name}.safetensors"
        (folder / name).write_bytes(weights_bytes(trained.model))
        facts.append(
            {
                "recipe": trained.recipe.name,
                "weights": name,
                "factory": trained.factory,
                "settings": dict(trained.settings),
                "provenance": trained.provenance.to_document(),
            }
        )
    whole = folder / f"{_FACTS}.part"
    whole.write_text(json.dumps(facts), encoding="utf-8")
    whole.replace(folder / _FACTS)


@contextmanager
def one_thread() -> Iterator[None]:
    """A worker shares its machine with others, and the number of threads decides how sums round."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _teller(on_progress: OnProgress) -> Callable[[Step], None]:
    def tell(step: Step) -> None:
        progress = step.epoch
        on_progress(
            {
                "done": step.order * 100 + round(100 * progress.epoch / progress.epochs),
                "total": step.of * 100,
                "sentence": f"training {step.order + 1} of at most {step.of}, {step.recipe}: epoch {progress.epoch} of "
                f"{progress.epochs}",
                "epoch": step.order * progress.epochs + progress.epoch,
                "loss": progress.loss,
                "clean": progress.clean_loss,
                "robust": progress.robust_loss,
            }
        )

    return tell
