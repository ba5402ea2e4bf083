"""The one exception to "no pickles": the user's own scikit-learn file, unpickled once in a limited child process.

The child gets no environment of ours (no database address, no settings), a folder of its own, and bounds on time,
memory and files. It runs as the same user: convert only a file that you made. Nothing pickled is stored.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from monitor.artifacts import convert_child
from monitor.artifacts.estimator import TRUSTED, estimator_scores, sklearn_estimator
from monitor.errors import BadInput
from monitor.robustness.target import Task

SECONDS = 180


@dataclass(frozen=True, kw_only=True)
class ConvertedArtefact:
    """A skops file that predicts as the pickle did, on `rows` sample rows."""

    name: str
    data: bytes
    task: Task
    rows: int


def convert_sklearn(
    path: Path | str, sample: pd.DataFrame, *, trusted: Iterable[str] = TRUSTED, seconds: float = SECONDS
) -> ConvertedArtefact:
    """Convert a pickled or joblib scikit-learn model to skops; `sample` are rows as `schema.conform` gives them.

    Raises BadInput when the child fails or the converted model predicts otherwise, UnsafeArtefact when it holds types
    that are not trusted.
    """
    if sample.empty:
        raise BadInput("expected sample rows to compare predictions on, got none")
    source = Path(path)
    if not source.is_file():
        raise BadInput(f"expected a model file, got {source}, which is not there")
    with tempfile.TemporaryDirectory(prefix="holdfast-convert-") as name:
        folder = Path(name)
        shutil.copyfile(source, folder / "model")
        sample.reset_index(drop=True).to_parquet(folder / "sample.parquet")
        _run_child(folder, source.name, seconds)
        data = (folder / "model.skops").read_bytes()
        expected = np.load(folder / "scores.npy", allow_pickle=False)
    fitted = sklearn_estimator(data, trusted)
    task = _task(fitted, expected)
    found = estimator_scores(fitted, sample, task)
    if found.shape != expected.shape or not np.allclose(found, expected, rtol=0, atol=1e-12, equal_nan=True):
        raise BadInput(f"the converted {source.name} predicts otherwise than the original: export it to ONNX instead")
    return ConvertedArtefact(name=f"{source.stem}.skops", data=data, task=task, rows=len(sample))


def _run_child(folder: Path, name: str, seconds: float) -> None:
    environment = {"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", convert_child.__file__, str(folder)],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadInput(f"converting {name} took more than {seconds:g} s and was stopped: export it to ONNX") from None
    if done.returncode != 0 or not (folder / "model.skops").is_file():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise BadInput(
            f"expected a scikit-learn model in {name}, got: {last[0]}. A model that needs code of its own, or another "
            "version of scikit-learn, must be exported to ONNX where it was made"
        )


def _task(fitted: object, expected: np.ndarray) -> Task:
    if not hasattr(fitted, "predict_proba"):
        return Task.REGRESSION
    return Task.BINARY if expected.shape[1] == 2 else Task.MULTICLASS
