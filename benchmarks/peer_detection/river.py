"""River's streaming detectors, fed row by row, the reference first; an alarm is a detection inside a window.

Documented at riverml.xyz, "drift": ADWIN(delta=0.002), PageHinkley(delta=0.005, threshold=50), KSWIN(alpha=0.005,
window_size=100, stat_size=30). One detector a numeric feature, and one a level of a categorical feature (its indicator,
for the most frequent levels). Numeric values are standardised by the reference, because the two thresholds of
Page–Hinkley are in units of the data; missing values are not fed. ADWIN sees every row; the other two, in Python, see
the first rows of each window only.

ADWIN and Page–Hinkley say yes or no, so their score comes from a ladder of stricter and stricter settings, each a
detector with a memory of its own: the score of a window is the strictest rung that fired in it. A rung is climbed only
where the one below fired, because with the same memory a stricter detector cannot be the first to fire.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import river
from river import base, drift

from benchmarks.peer_detection.exchange import Stream, Trace, answer, stopwatch, surprise, trace

LEVELS_WATCHED = 8
ADWIN_DELTAS = (0.002, 1e-6, 1e-12, 1e-25, 1e-50, 1e-100, 1e-200)
PAGE_HINKLEY_THRESHOLDS = (50.0, 100.0, 200.0, 400.0, 800.0, 1600.0)
PAGE_HINKLEY_ROWS = 100
KSWIN_ROWS = 10
KSWIN_SEED = 1

Rung = tuple[float, Callable[[], base.DriftDetector]]


def adwin(stream: Stream) -> dict[str, Trace]:
    """Adaptive windowing over all rows; the score is −log10 of the strictest delta that fired."""
    ladder = [(-np.log10(delta), lambda delta=delta: drift.ADWIN(delta=delta)) for delta in ADWIN_DELTAS]
    settings = {"delta": ADWIN_DELTAS[0], "rows_a_window": "all", "ladder": list(ADWIN_DELTAS)}
    return {"ADWIN": _climb(stream, ladder, rows=None, settings=settings)}


def page_hinkley(stream: Stream) -> dict[str, Trace]:
    """Page–Hinkley, both sides; the score is the highest threshold that fired."""
    ladder = [(limit, lambda limit=limit: drift.PageHinkley(threshold=limit)) for limit in PAGE_HINKLEY_THRESHOLDS]
    settings = {
        "threshold": PAGE_HINKLEY_THRESHOLDS[0],
        "rows_a_window": PAGE_HINKLEY_ROWS,
        "ladder": list(PAGE_HINKLEY_THRESHOLDS),
    }
    return {"PageHinkley": _climb(stream, ladder, rows=PAGE_HINKLEY_ROWS, settings=settings)}


def kswin(stream: Stream) -> dict[str, Trace]:
    """KSWIN on numeric features; the score is −log10 of the smallest p-value in the window."""
    scores = np.zeros((len(stream.monitored.windows), len(stream.numeric)))
    flags = np.zeros(scores.shape, dtype=bool)
    with stopwatch() as elapsed:
        for column, name in enumerate(stream.numeric):
            detector = drift.KSWIN(seed=KSWIN_SEED)
            for row, values in _fed(stream, name, None, rows=KSWIN_ROWS):
                p_values, fired = [1.0], False
                for value in values:
                    detector.update(value)
                    fired |= detector.drift_detected
                    p_values.append(detector.p_value or 1.0)  # 0 before the first test
                if row >= 0:
                    scores[row, column], flags[row, column] = surprise(np.array(p_values)).max(), fired
        seconds = elapsed()
    settings = {"alpha": 0.005, "window_size": 100, "stat_size": 30, "rows_a_window": KSWIN_ROWS, "features": "numeric"}
    return {"KSWIN": trace(stream.numeric, scores, flags, settings=settings, seconds=seconds)}


def _climb(stream: Stream, ladder: list[Rung], *, rows: int | None, settings: dict[str, Any]) -> Trace:
    scores = np.zeros((len(stream.monitored.windows), len(stream.features)))
    flags = np.zeros(scores.shape, dtype=bool)
    with stopwatch() as elapsed:
        for column, name in enumerate(stream.features):
            for level in _watched(stream, name):
                fed = list(_fed(stream, name, level, rows=rows))
                for rung, (score, make) in enumerate(ladder):
                    ever, windows = _fired(make(), fed)
                    scores[windows, column] = np.maximum(scores[windows, column], score)
                    if rung == 0:
                        flags[windows, column] = True
                    if not ever:
                        break
        seconds = elapsed()
    return trace(
        stream.features, scores, flags, settings=settings | {"levels_watched": LEVELS_WATCHED}, seconds=seconds
    )


def _fired(detector: base.DriftDetector, fed: list[tuple[int, list[float]]]) -> tuple[bool, list[int]]:
    """Whether it ever fired, the reference included, and the monitored windows in which it did."""
    ever, windows = False, []
    for row, values in fed:
        fired = False
        for value in values:
            detector.update(value)
            if detector.drift_detected:
                fired = True
        ever |= fired
        if fired and row >= 0:
            windows.append(row)
    return ever, windows


def _watched(stream: Stream, name: str) -> list[int | None]:
    """A numeric feature is one series (None); a categorical one has a series for each of its most frequent levels."""
    if name in stream.numeric:
        return [None]
    counts = np.bincount(stream.reference.present(name), minlength=len(stream.levels[name]))
    return np.argsort(-counts, kind="stable")[:LEVELS_WATCHED].tolist()


def _fed(stream: Stream, name: str, level: int | None, *, rows: int | None) -> Iterator[tuple[int, list[float]]]:
    """(monitored window, or −1 for the reference; the values to feed), in time order."""
    pooled = stream.reference.present(name)
    mean, spread = (pooled.mean(), pooled.std() or 1.0) if level is None else (0.0, 1.0)
    for part in (stream.reference, stream.monitored):
        for index, window in enumerate(part.windows):
            values = part.present(name, slice(window.start, window.stop if rows is None else _end(window, rows)))
            series = (values - mean) / spread if level is None else (values == level).astype(float)
            yield (index if part is stream.monitored else -1), series.tolist()


def _end(window: slice, rows: int) -> int:
    return min(window.stop, window.start + rows)


if __name__ == "__main__":
    answer("river", river.__version__, {("ADWIN",): adwin, ("PageHinkley",): page_hinkley, ("KSWIN",): kswin})
