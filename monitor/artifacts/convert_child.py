"""Run as a script in a limited child process: unpickle a scikit-learn model once, predict, write it as skops.

It imports nothing of Holdfast, so that starting it is cheap and it has nothing to give away.
"""

import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

GIB = 2**30
CPU_SECONDS, MEMORY, FILE = 120, 8 * GIB, 2 * GIB


def limit() -> None:
    """Bounds on time, memory and files, before anything is unpickled."""
    limits = [
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_CORE, 0),
    ]
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)


def scores(model: Any, frame: Any) -> Any:
    """What the model says about the sample, as it will be asked later."""
    values = frame if hasattr(model, "feature_names_in_") else frame.to_numpy()
    if hasattr(model, "feature_names_in_"):
        values = frame[list(model.feature_names_in_)]
    return model.predict_proba(values) if hasattr(model, "predict_proba") else model.predict(values)


def main(folder: Path) -> None:
    """Read `model` and `sample.parquet` in the folder; write `model.skops` and `scores.npy`."""
    limit()
    import numpy as np
    import pandas as pd
    import skops.io

    joblib = import_module("joblib")  # it comes with scikit-learn
    frame = pd.read_parquet(folder / "sample.parquet")
    model = joblib.load(folder / "model")
    np.save(folder / "scores.npy", np.asarray(scores(model, frame), dtype=np.float64))
    skops.io.dump(model, folder / "model.skops")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
