"""Peers of the detection benchmark, each run on the same windows in its own environment, and the fair rules to compare
by.

`run_peer` hands a stream to a peer's own python and reads what it said of each window. `incidents`, `matched_threshold`
and `poisson_interval` are used for ours and theirs alike.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks import peers

ROOT = Path(__file__).resolve().parent.parent
WINDOWS_A_YEAR = 365
SAME_WITHIN = 7

# Name as in `make peers` → module of `benchmarks.peer_detection`.
MODULES = {
    "evidently": "evidently",
    "nannyml": "nannyml",
    "river": "river",
    "frouros": "frouros",
    "alibi-detect": "alibi_detect",
    "scipy-loop": "scipy_loop",
}
OWN_ENVIRONMENT = {"scipy-loop"}  # SciPy is the product's own dependency


class PeerUnavailable(Exception):
    """A peer has no environment or failed; the benchmark goes on without it."""


@dataclass(frozen=True, kw_only=True)
class PeerTrace:
    """What one method of a peer said of each monitored window, in order.

    `default_alarm` is its verdict out of the box, `score` what a matched threshold is set on (more is more drift),
    `culprits` the features that it flagged, `top` the one with the highest score (None from a multivariate method),
    `seconds` the wall time of fitting and of all windows.
    """

    peer: str
    version: str
    method: str
    settings: dict[str, Any]
    default_alarm: tuple[bool, ...]
    score: tuple[float, ...]
    culprits: tuple[tuple[str, ...], ...]
    top: tuple[str | None, ...]
    seconds: float


def run_peer(
    name: str,
    reference: pd.DataFrame,
    monitored: pd.DataFrame,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
    methods: Sequence[str] | None = None,
    max_windows: int | None = None,
    timeout: float = 1800.0,
) -> dict[str, PeerTrace]:
    """Run a peer over a stream; its traces by method. A method that fails is left out and said on stderr.

    Args:
        name: a key of `MODULES`.
        reference, monitored: the features and an integer column `window`, rows in the order of their windows.
        methods: some of the peer's methods; all of them unless given.
        max_windows: look at the first monitored windows only, for peers that are too slow for a year.
        timeout: seconds of wall time.

    Raises:
        PeerUnavailable: there is no environment, it failed, or it took too long; the message says what to do.
    """
    command = [str(_python(name)), "-m", f"benchmarks.peer_detection.{MODULES[name]}"]
    with tempfile.TemporaryDirectory(prefix="holdfast-peer-") as scratch:
        folder = Path(scratch)
        _write(folder, reference, monitored, numeric=numeric, categorical=categorical)
        command += [str(folder), str(folder / "out.json")]
        command += ["--methods", ",".join(methods)] if methods is not None else []
        command += ["--max-windows", str(max_windows)] if max_windows is not None else []
        _run(name, command, timeout=timeout)
        answer = json.loads((folder / "out.json").read_text())
    for method, error in answer["failed"].items():
        print(f"{name}: {method} failed: {error}", file=sys.stderr)
    return _traces(answer)


def _python(name: str) -> Path:
    if name not in MODULES:
        raise PeerUnavailable(f"expected a peer among {', '.join(MODULES)}, got {name!r}")
    if name in OWN_ENVIRONMENT:
        return Path(sys.executable)
    if not peers.installed(name):
        raise PeerUnavailable(f"{name} has no environment with the pinned versions: run `make peers ARGS={name}`")
    return peers.python(name)


def _write(
    folder: Path,
    reference: pd.DataFrame,
    monitored: pd.DataFrame,
    *,
    numeric: Sequence[str],
    categorical: Sequence[str],
) -> None:
    columns = [*numeric, *categorical, "window"]
    reference[columns].to_parquet(folder / "reference.parquet", index=False)
    monitored[columns].to_parquet(folder / "monitored.parquet", index=False)
    described = {
        "numeric": list(numeric),
        "categorical": list(categorical),
        "rows_per_window": float(monitored.groupby("window").size().median()),
    }
    (folder / "columns.json").write_text(json.dumps(described))


def _run(name: str, command: list[str], *, timeout: float) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
    try:
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{name} took more than {timeout:.0f} s: give it fewer windows or methods") from error
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise PeerUnavailable(f"{name} failed: {said[-1] if said else error}") from error


def _traces(answer: dict[str, Any]) -> dict[str, PeerTrace]:
    return {
        method: PeerTrace(
            peer=answer["peer"],
            version=answer["version"],
            method=method,
            settings=said["settings"],
            default_alarm=tuple(said["default_alarm"]),
            score=tuple(said["score"]),
            culprits=tuple(tuple(features) for features in said["culprits"]),
            top=tuple(said["top"]),
            seconds=said["seconds"],
        )
        for method, said in answer["methods"].items()
    }


def incidents(alarm: Sequence[bool], same_within: int = SAME_WITHIN) -> list[int]:
    """Windows in which an incident starts; an alarm at most `same_within` windows after the last one continues it.

    >>> incidents([True, False, True, False, False, True], same_within=2)
    [0, 5]
    """
    alarms = np.flatnonzero(np.asarray(alarm, dtype=bool))
    starts = np.diff(alarms, prepend=-same_within - 1) > same_within
    return [int(window) for window in alarms[starts]]


def matched_threshold(
    scores_on_nulls: Sequence[Sequence[float]],
    incidents_per_year: float,
    *,
    same_within: int = SAME_WITHIN,
    windows_per_year: int = WINDOWS_A_YEAR,
) -> float:
    """The lowest threshold, come to from above, that keeps the incident rate over null streams within a target.

    An alarm is a score above the threshold. The search goes down through the scores and stops where the rate first
    exceeds the target: further down alarms merge into fewer, endless incidents, which would match the rate and be of no
    use.

    Raises:
        ValueError: there is no score, or one that is not a finite number.
    """
    streams = [np.asarray(scores, dtype=float) for scores in scores_on_nulls]
    if not streams or not all(scores.size and np.isfinite(scores).all() for scores in streams):
        raise ValueError("expected null streams of at least one finite score each, got an empty one or NaN or infinity")
    allowed = incidents_per_year * sum(map(len, streams)) / windows_per_year
    threshold, *lower = np.unique(np.concatenate(streams))[::-1].tolist()
    for candidate in lower:
        count = sum(len(incidents((scores > candidate).tolist(), same_within)) for scores in streams)
        if count > allowed:
            break
        threshold = candidate
    return float(threshold)


def poisson_interval(count: int, exposure: float, level: float = 0.95) -> tuple[float, float]:
    """The exact (Garwood) interval of a rate from a count of events over an exposure, in events per unit of exposure.

    >>> tuple(round(bound, 3) for bound in poisson_interval(0, 10.0))
    (0.0, 0.369)
    """
    if count < 0 or exposure <= 0 or not 0 < level < 1:
        raise ValueError(f"expected count ≥ 0, exposure > 0, 0 < level < 1, got {count}, {exposure}, {level}")
    tail = (1 - level) / 2
    lower = float(stats.chi2.ppf(tail, 2 * count)) / 2 if count else 0.0
    upper = float(stats.chi2.ppf(1 - tail, 2 * count + 2)) / 2
    return lower / exposure, upper / exposure
