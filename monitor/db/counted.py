"""Rows that a producer counted itself: every one into the ledger, and of the kept ones what was sent of them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from monitor.batch import Batch, BoolArray, Keys
from monitor.db.bulk import copy_in, driver
from monitor.db.ledger import entering
from monitor.db.registry import Model
from monitor.db.trace_tables import ensure_entities, ensure_partitions, tables_of, trace_table
from monitor.db.traces import as_table
from monitor.schema import Schema


def enter_rows(session: Session, model: Model, times: NDArray[np.datetime64], keys: Keys) -> BoolArray:
    """Which rows were new to the ledger, shape (n,); they are in it now."""
    days = np.unique(times.astype("datetime64[D]")).tolist()
    ensure_partitions(session, model, days)
    _, ledger = tables_of(model, days)
    with entering(driver(session), ledger, times, keys) as entry:
        pass
    return entry.new


def store_sample(
    session: Session, model: Model, schema: Schema, columns: Mapping[str, str], rows: Batch,
    weight: NDArray[np.float64],
) -> None:  # fmt: skip
    """Store kept rows whose ids are in the ledger, each with 1 / its probability."""
    if not len(rows):
        return
    if rows.entity is not None:
        ensure_entities(session, model)
    copy_in(driver(session), trace_table(model), as_table(rows, schema, columns, weight))
