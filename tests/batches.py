"""Frames as the batches that are stored."""

from datetime import UTC, datetime

import pandas as pd

from monitor.batch import Batch
from monitor.intake.validate import validate
from monitor.schema import Schema


def batch_of(frame: pd.DataFrame, schema: Schema) -> Batch:
    """The rows of a frame, each of which must be good."""
    found = validate(frame, schema, oldest=None, latest=datetime(2200, 1, 1, tzinfo=UTC), version="v1")
    assert not found.bad
    return found.good
