"""What counting a value costs, in batches from 100 rows to 100,000, beside what NumPy alone would take.

python -m benchmarks.profile [--quick] [--peers]

Every batch is new to the processor's caches and branch predictor. Times are processor time, the median over batches.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.output import Goal, report
from benchmarks.peers import installed, python
from monitor.drift import Binning, Profile

FEATURES = 20
CATEGORIES = 5
GOALS = {1_000: 30.0, 100_000: 6.0}  # ns a value


def made(rows: int, seed: int) -> pd.DataFrame:
    """Fifteen numbers with 1 % missing, and five categories."""
    rng = np.random.default_rng(seed)
    numbers = {f"x{j}": rng.normal(size=rows) for j in range(FEATURES - CATEGORIES)}
    for values in numbers.values():
        values[rng.random(rows) < 0.01] = np.nan
    levels = {f"c{j}": rng.choice([f"level{k}" for k in range(3 + 4 * j)], rows) for j in range(CATEGORIES)}
    return pd.DataFrame(numbers | levels)


def nanoseconds(work: Callable[[Any], Any], batches: Sequence[Any], values: int) -> float:
    """Processor time of `work` on each batch, a value."""
    taken = []
    for batch in batches:
        started = time.process_time_ns()
        work(batch)
        taken.append(time.process_time_ns() - started)
    return median(taken) / values


def peers(columns: Sequence[np.ndarray], binning: Binning) -> dict[str, float]:
    """The two ways to count one numeric column with NumPy."""
    edges = np.array(binning["x0"].edges)

    def search(values: np.ndarray) -> None:
        np.bincount(np.searchsorted(edges, values), minlength=edges.size + 1)

    def sort(values: np.ndarray) -> None:
        np.diff(np.searchsorted(np.sort(values), edges, side="right"))

    size = columns[0].size
    return {
        "searchsorted + bincount": nanoseconds(search, columns, size),
        "sort + searchsorted": nanoseconds(sort, columns, size),
    }


def kll(rows: int, batches: int, seed: int) -> Any:
    """A KLL sketch a feature, by its own library in its own environment; a sentence where that is not made."""
    if not installed("datasketches"):
        return "not made: make peers ARGS=datasketches"
    arguments = [str(number) for number in (rows, batches, FEATURES, seed)]
    command = [str(python("datasketches")), "-m", "benchmarks.peer_profile.datasketches", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer batches")
    parser.add_argument(
        "--peers", action="store_true", help="beside NumPy, which runs always, KLL sketches of datasketches"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    binning = Binning.fit(made(50_000, options.seed))
    figures: dict[str, Any] = {}
    others: dict[str, Any] = {}
    sketches: dict[str, Any] = {}
    for rows, batches in ((100, 200), (1_000, 100), (10_000, 30), (100_000, 12)):
        count = max(batches // 4, 3) if options.quick else batches
        frames = [made(rows, options.seed + 1 + k) for k in range(count)]
        encoded = [binning.schema.encode(frame) for frame in frames]
        values = rows * FEATURES
        figures[f"{rows} rows, ns a value"] = nanoseconds(lambda batch: Profile.of(batch, binning), encoded, values)
        figures[f"{rows} rows as a frame, ns a value"] = nanoseconds(
            lambda batch: Profile.of(batch, binning), frames, values
        )
        others[f"{rows} rows, ns a value"] = peers([frame["x0"].to_numpy() for frame in frames], binning)
        if options.peers:
            sketches[f"{rows} rows"] = kll(rows, count, options.seed)
    profile = Profile.of(encoded[0], binning)
    figures["merge, µs"] = nanoseconds(lambda _: profile + profile, range(200), 1) / 1_000
    figures["stored, bytes"] = len(profile.to_bytes())
    figures["held, bytes"] = profile.counts.nbytes + profile.faults.nbytes + profile.moments.nbytes
    goals = [
        Goal(name=f"profile of {rows:,}-row batches, ns a value", target=f"≤ {most:g}", value=value, met=value <= most)
        for rows, most in GOALS.items()
        for value in [figures[f"{rows} rows, ns a value"]]
    ]
    report("profile", figures, goals=goals, peers={"numpy": others} | ({"datasketches": sketches} if sketches else {}))


if __name__ == "__main__":
    main()
