"""Frames as the batches that are stored."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from monitor.batch import Batch
from monitor.db import traces
from monitor.db.registry import FeatureSchema, Model, schema_of
from monitor.intake.validate import validate
from monitor.schema import Schema


def batch_of(frame: pd.DataFrame, schema: Schema) -> Batch:
    """The rows of a frame, each of which must be good."""
    found = validate(frame, schema, oldest=None, latest=datetime(2200, 1, 1, tzinfo=UTC), version="v1")
    assert not found.bad
    return found.good


def append(session: Session, model: Model, row: FeatureSchema, frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Enter the rows of a frame and store those that its column `kept` chooses, with its `weight`."""
    schema = schema_of(row)
    with traces.storing(
        session, model, schema, row.columns, batch_of(frame, schema), kept=frame["kept"].to_numpy(np.bool_),
        weight=frame["weight"].to_numpy(np.float64),
    ) as new:  # fmt: skip
        return new
