"""Holdfast's tasks: `python -m benchmarks.drift_cost.ours TASK FOLDER`."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from benchmarks.drift_cost import frames  # noqa: E402
from benchmarks.drift_cost.measure import tell  # noqa: E402
from monitor.drift import Binning, Detector, Profile, Reference, compare  # noqa: E402
from monitor.schema import Schema  # noqa: E402
from monitor.windows import Window  # noqa: E402

IMPORTED = time.perf_counter() - STARTED
WINDOWS = 28
REPEATS = 40
BATCHES = (1_000, 100_000)
Pair = tuple[pd.DataFrame, pd.DataFrame]


def verdict(pair: Pair) -> dict[str, Any]:
    """Bins, both profiles and every score over counts, from raw rows."""
    report = compare(*pair, exact=False)
    return {"first": report.features[0].name}


def exact(pair: Pair) -> dict[str, Any]:
    """The verdict, and every exact score of the raw values besides."""
    report = compare(*pair)
    return {"first": report.features[0].name}


def detector(pair: Pair) -> dict[str, Any]:
    """The reference cut into 28 windows, what is normal in them, and the detector's verdict on the current frame."""
    reference, current = pair
    entries, window = _windows(reference)
    fitted = Reference.fit(entries, schema=Schema.infer(reference))
    report = Detector(fitted).update(window, current)
    return {"first": report.culprits[0] if report.culprits else None}


def from_profiles(pair: Pair) -> dict[str, Any]:
    """Seconds from a stored profile to the detector's verdict; the fastest of forty windows."""
    reference, current = pair
    entries, window = _windows(reference)
    fitted = Reference.fit(entries, schema=Schema.infer(reference))
    stored, watching = Profile.of(current, fitted.binning).to_bytes(), Detector(fitted)
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        watching.update(window, Profile.from_bytes(stored, fitted.binning))
        taken.append(time.perf_counter() - started)
        window = Window(window.end, window.end + (window.end - window.start))
    return {"window_s": min(taken), "stored_bytes": len(stored)}


def profile(pair: Pair) -> dict[str, Any]:
    """Nanoseconds of processor time a value of fresh encoded batches; the median."""
    reference, current = pair
    binning = Binning.fit(reference.head(100_000))
    encoded = binning.schema.encode(current)
    costs = {}
    for rows in (rows for rows in BATCHES if rows <= len(encoded)):
        batches = [encoded[i : i + rows] for i in range(0, len(encoded) - rows + 1, rows)][:50]
        taken = []
        for batch in batches * (1 + 10 // len(batches)):
            started = time.process_time()
            Profile.of(batch, binning)
            taken.append(time.process_time() - started)
        costs[f"ns_a_value_{rows}"] = float(np.median(taken)) / batches[0].size * 1e9
    one = Profile.of(encoded[:1_000], binning)
    started = time.perf_counter()
    for _ in range(100):
        one + one
    return {**costs, "merge_us": (time.perf_counter() - started) * 1e4}


def scipy_loop(pair: Pair) -> None:
    """The usual loop of `ks_2samp` over numeric columns."""
    from scipy.stats import ks_2samp

    reference, current = pair
    for name in reference.columns[reference.dtypes == np.float64]:
        ks_2samp(reference[name].dropna(), current[name].dropna(), method="asymp")


TASKS: dict[str, Callable[[Pair], Any]] = {
    "verdict": verdict,
    "exact": exact,
    "detector": detector,
    "from_profiles": from_profiles,
    "profile": profile,
    "scipy_loop": scipy_loop,
}


def _windows(reference: pd.DataFrame) -> tuple[list[tuple[Window, pd.DataFrame]], Window]:
    days = pd.date_range("2026-01-05", periods=WINDOWS + 2, tz="UTC")
    cuts = np.linspace(0, len(reference), WINDOWS + 1).astype(int)
    entries = [(Window(days[i], days[i + 1]), reference.iloc[cuts[i] : cuts[i + 1]]) for i in range(WINDOWS)]
    return entries, Window(days[WINDOWS], days[WINDOWS + 1])


def main() -> None:
    task, folder = sys.argv[1], Path(sys.argv[2])
    tell(
        imported_s=IMPORTED,
        load=lambda: (frames.load(folder, "reference"), frames.load(folder, "current")),
        work=TASKS[task],
    )


if __name__ == "__main__":
    main()
