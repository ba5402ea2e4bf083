"""What the detection benchmark and a peer hand to each other: two Parquet files in, one JSON file out.

Runs in every peer's environment, so it needs no more than NumPy and PyArrow.

python -m benchmarks.peer_detection.PEER IN_DIR OUT.json [--methods a,b] [--max-windows N]
"""

import argparse
import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MISSING = -1
SMALLEST_P = 1e-300


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows in time order: numeric features as floats (NaN is missing), categorical as codes (`MISSING` is missing)."""

    values: Mapping[str, np.ndarray]
    windows: tuple[slice, ...]

    def present(self, name: str, window: slice = slice(None)) -> np.ndarray:
        """The values that are not missing."""
        values = self.values[name][window]
        return values[~np.isnan(values)] if values.dtype.kind == "f" else values[values != MISSING]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A reference and the windows that follow it; `levels` name the codes, those seen only after the reference last."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    levels: Mapping[str, tuple[str, ...]]
    reference: Part
    monitored: Part

    @property
    def features(self) -> tuple[str, ...]:
        return self.numeric + self.categorical

    def labels(self, part: Part, name: str) -> np.ndarray:
        """A categorical feature as strings, None where it is missing."""
        return np.array([*self.levels[name], None], dtype=object)[part.values[name]]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What one method said of each monitored window: a higher score is more drift; `top` may be None (no feature)."""

    settings: dict[str, Any]
    default_alarm: list[bool]
    score: list[float]
    culprits: list[list[str]]
    top: list[str | None]
    seconds: float


Runner = Callable[[Stream], Mapping[str, Trace]]


def load(folder: Path, *, max_windows: int | None = None) -> Stream:
    """Read what the benchmark wrote, at most the first `max_windows` monitored windows."""
    columns = json.loads((folder / "columns.json").read_text())
    reference, monitored = (pq.read_table(folder / f"{part}.parquet") for part in ("reference", "monitored"))
    windows = _windows(monitored)[:max_windows]
    monitored = monitored.slice(0, windows[-1].stop)
    levels, codes = {}, {}
    for name in columns["categorical"]:
        both = pa.chunked_array([chunk for part in (reference, monitored) for chunk in part[name].chunks])
        encoded = both.cast(pa.string()).combine_chunks().dictionary_encode()
        levels[name] = tuple(encoded.dictionary.to_pylist())
        codes[name] = np.split(encoded.indices.fill_null(MISSING).to_numpy(), [len(reference)])
    parts = [
        {name: part[name].cast(pa.float64()).to_numpy() for name in columns["numeric"]}
        | {name: codes[name][index] for name in columns["categorical"]}
        for index, part in enumerate((reference, monitored))
    ]
    return Stream(
        numeric=tuple(columns["numeric"]),
        categorical=tuple(columns["categorical"]),
        levels=levels,
        reference=Part(values=parts[0], windows=_windows(reference)),
        monitored=Part(values=parts[1], windows=windows),
    )


def _windows(table: pa.Table) -> tuple[slice, ...]:
    numbers = table["window"].to_numpy()
    steps = np.diff(numbers)
    if (steps < 0).any():
        raise ValueError("expected rows in the order of their windows, got a window that goes back: sort by `window`")
    edges = [0, *(np.flatnonzero(steps) + 1).tolist(), len(numbers)]
    return tuple(slice(start, stop) for start, stop in pairwise(edges))


def surprise(p_values: np.ndarray) -> np.ndarray:
    """−log10 of p-values, finite; a test that could not be computed (NaN) surprises nobody."""
    return -np.log10(np.clip(np.nan_to_num(p_values, nan=1.0), SMALLEST_P, 1.0))


def trace(
    features: Sequence[str],
    scores: np.ndarray,
    flags: np.ndarray,
    *,
    settings: dict[str, Any],
    seconds: float,
    alarm: np.ndarray | None = None,
    score: np.ndarray | None = None,
) -> Trace:
    """From scores and flags by (window, feature); by default any flag is an alarm and the largest score counts."""
    scores = np.nan_to_num(scores, nan=0.0, posinf=1e300, neginf=-1e300)
    return Trace(
        settings=settings,
        default_alarm=[bool(fired) for fired in (flags.any(axis=1) if alarm is None else alarm)],
        score=[float(value) for value in (scores.max(axis=1) if score is None else score)],
        culprits=[[features[index] for index in np.flatnonzero(row)] for row in flags],
        top=[features[row.argmax()] if row.max() > 0 else None for row in scores],
        seconds=seconds,
    )


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """A function that tells the wall seconds since the start."""
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def answer(peer: str, version: str, runners: Mapping[tuple[str, ...], Runner]) -> None:
    """Run the chosen methods on the stream named by the command line and write the JSON, failed methods included."""
    known = [name for names in runners for name in names]
    parser = argparse.ArgumentParser(description=f"Run {peer} on a stream of windows.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=known, help=f"of: {', '.join(known)}")
    parser.add_argument("--max-windows", type=int, help="look at the first monitored windows only")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.methods if name not in known]
    if unknown:
        parser.error(f"expected methods among {', '.join(known)}, got {', '.join(unknown)}")
    stream = load(chosen.folder, max_windows=chosen.max_windows)
    methods, failed = {}, {}
    for names, runner in runners.items():
        wanted = [name for name in names if name in chosen.methods]
        try:
            traces = runner(stream) if wanted else {}
        except Exception as error:  # one method's failure must not cost the others
            traceback.print_exc()
            failed |= dict.fromkeys(wanted, f"{type(error).__name__}: {error}")
            continue
        methods |= {name: asdict(traces[name]) for name in wanted if name in traces}
    said = {"peer": peer, "version": version, "methods": methods, "failed": failed}
    chosen.out.write_text(json.dumps(said, allow_nan=False))
