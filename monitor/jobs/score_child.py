"""Score the same rows with several versions, from files to files."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from monitor.artifacts import Manifest, Store
from monitor.artifacts.load import load_model
from monitor.errors import BadInput, HoldfastError
from monitor.jobs.child import OnProgress
from monitor.jobs.stress_child import factories_named
from monitor.jobs.train_child import one_thread
from monitor.schema import FloatArray

WORK = "monitor.jobs.score_child:run"


def write_work(
    folder: Path, frame: pd.DataFrame, *, manifests: Mapping[str, Manifest], store: Store, factories: Sequence[str]
) -> None:
    """What the child reads: raw features, which every version encodes by the schema of its own manifest."""
    given = {
        "manifests": {name: manifest.to_document() for name, manifest in manifests.items()},
        "store": str(store.root),
        "factories": list(factories),
    }
    frame.to_parquet(folder / "scored.parquet")
    (folder / "score.json").write_text(json.dumps(given), encoding="utf-8")


def read_scores(folder: Path, names: Sequence[str]) -> dict[str, FloatArray]:
    """The scores (n,), or probabilities (n, k) of several classes, of each version."""
    with np.load(folder / "scores.npz") as scores:
        return {name: scores[name] for name in names}


def run(folder: Path, on_progress: OnProgress) -> None:
    """score.json and scored.parquet → scores.npz."""
    given = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    frame = pd.read_parquet(folder / "scored.parquet")
    store, factories = Store(given["store"]), factories_named(given["factories"])
    scores = {}
    with one_thread():
        for name, document in given["manifests"].items():
            model = load_model(Manifest.from_document(document), store, factories)
            try:
                scores[name] = model.predict_score(model.schema.encode(frame))
            except HoldfastError:
                raise
            except Exception as error:  # of a model of somebody's own: it would raise it again
                raise BadInput(f"{name} could not score live rows: {type(error).__name__}: {error}") from error
    np.savez(folder / "scores.npz", allow_pickle=False, **scores)
