"""Train the candidates of a proposal, from files to files: given.json and rows.parquet in, weights and facts out."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from monitor.jobs.child import OnProgress
from monitor.robustness import ThreatModel
from monitor.schema import FloatArray, Schema
from monitor.training import Progress, train, weights_bytes

WORK = "monitor.jobs.train_child:run"
TARGET = "target of the training"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What a training left in the folder: weights, and what built and made them."""

    recipe: str
    weights: Path
    factory: str
    settings: dict[str, Any]
    provenance: dict[str, Any]


def write_work(
    folder: Path, rows: FloatArray, y: FloatArray, *, schema: Schema, task: str, recipes: Sequence[str], seed: int,
    inputs: dict[str, str],
) -> None:  # fmt: skip
    """What the child reads: encoded rows (n, d), targets (n,) and what to do with them."""
    frame = pd.DataFrame(rows, columns=list(schema.names))
    frame.assign(**{TARGET: y}).to_parquet(folder / "rows.parquet")
    given = {"schema": schema.to_document(), "task": task, "recipes": list(recipes), "seed": seed, "inputs": inputs}
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")


def read_candidates(folder: Path, recipes: Sequence[str]) -> list[Candidate]:
    """What the child wrote, in the order of the recipes."""
    return [
        Candidate(
            recipe=recipe, weights=_weights(folder, recipe), **json.loads(_facts(folder, recipe).read_text("utf-8"))
        )
        for recipe in recipes
    ]


def run(folder: Path, on_progress: OnProgress) -> None:
    """Train one candidate a recipe on the same rows; epochs are counted through."""
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    schema = Schema.from_document(given["schema"])
    frame = pd.read_parquet(folder / "rows.parquet")
    y = frame.pop(TARGET).to_numpy(np.float64)
    rows = frame.to_numpy(np.float64)
    with one_thread():
        for order, recipe in enumerate(given["recipes"]):
            trained = train(
                rows, y, schema, task=given["task"], recipe=recipe, threat=ThreatModel.from_schema(schema, rows),
                seed=given["seed"], inputs=given["inputs"],
                progress=_teller(on_progress, recipe, order, len(given["recipes"])),
            )  # fmt: skip
            facts = {
                "factory": trained.factory,
                "settings": dict(trained.settings),
                "provenance": trained.provenance.to_document(),
            }
            _weights(folder, recipe).write_bytes(weights_bytes(trained.model))
            _facts(folder, recipe).write_text(json.dumps(facts), encoding="utf-8")


@contextmanager
def one_thread() -> Iterator[None]:
    """A worker shares its machine with others, and the number of threads decides how sums round."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _teller(on_progress: OnProgress, recipe: str, order: int, recipes: int) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        on_progress(
            {
                "done": order * 100 + round(100 * progress.epoch / progress.epochs),
                "total": recipes * 100,
                "sentence": f"training the {recipe} candidate, epoch {progress.epoch} of {progress.epochs}",
                "epoch": order * progress.epochs + progress.epoch,
                "loss": progress.loss,
                "clean": progress.clean_loss,
                "robust": progress.robust_loss,
            }
        )

    return tell


def _weights(folder: Path, recipe: str) -> Path:
    return folder / f"{recipe}.safetensors"


def _facts(folder: Path, recipe: str) -> Path:
    return folder / f"{recipe}.json"
