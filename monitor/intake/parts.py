"""A batch cut into what is counted apart: each version in each bucket of time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.batch import Batch

_ORIGIN = np.datetime64("1970-01-05", "us")  # of the grid, as `monitor.windows.floor_to_grid` has it: a Monday


def grid_starts(times: NDArray[np.datetime64], width: timedelta) -> NDArray[np.datetime64]:
    """`monitor.windows.floor_to_grid` of many moments, shape (n,)."""
    step = np.timedelta64(width)
    return _ORIGIN + (times - _ORIGIN) // step * step


def parts(rows: Batch, width: timedelta) -> Iterator[tuple[str, datetime, Batch]]:
    """The rows of each version in each bucket of the model's ticks."""
    starts = grid_starts(rows.event_time, width)
    for start in np.unique(starts):
        within = rows.where(starts == start)
        for version in sorted(pc.unique(within.version).to_pylist()):
            yield version, start.item().replace(tzinfo=UTC), within.where(np.asarray(pc.equal(within.version, version)))
