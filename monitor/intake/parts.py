"""A batch cut into what is counted apart: each version in each bucket of time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.compute as pc

from monitor.batch import Batch

ORIGIN = np.datetime64("1970-01-05", "us")  # of the grid, as `monitor.windows.floor_to_grid` has it: a Monday


def parts(rows: Batch, width: timedelta) -> Iterator[tuple[str, datetime, Batch]]:
    """The rows of each version in each bucket of the model's ticks."""
    step = np.timedelta64(width)
    numbers = (rows.event_time - ORIGIN) // step
    for number in np.unique(numbers):
        within = rows.where(numbers == number)
        bucket = (ORIGIN + number * step).item().replace(tzinfo=UTC)
        for version in sorted(pc.unique(within.version).to_pylist()):
            yield version, bucket, within.where(np.asarray(pc.equal(within.version, version)))
