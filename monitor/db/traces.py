"""Traces in and out: every id to the ledger, the kept rows to the model's table, labels with their revisions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy.orm import Session

from monitor.batch import Batch, BoolArray, Keys, keys_of
from monitor.db.bulk import Encoded, copy_in, copy_out, copying, driver, to_frame
from monitor.db.ledger import entering
from monitor.db.registry import Model, feature_schema, schema_of
from monitor.db.trace_tables import (
    ENTITY,
    FIXED,
    column_type,
    columns_for,
    create_trace_tables,
    drop_before,
    ensure_entities,
    ensure_partitions,
    has_entities,
    label_table,
    tables_of,
    trace_table,
    view_name,
)
from monitor.schema import Schema
from monitor.windows import Window

__all__ = [
    "append_labels",
    "columns_for",
    "create_trace_tables",
    "drop_before",
    "erase",
    "has_labels",
    "label_coverage",
    "label_revisions",
    "read_traces",
    "span",
    "storing",
    "versions_seen",
    "view_name",
]

_TIME = pa.timestamp("us", "UTC")
_ARROW = {"text": pa.string(), "double precision": pa.float64(), "timestamptz": _TIME}
_FIXED_TYPES = {name: _ARROW[kind.removesuffix(" NOT NULL")] for name, kind in FIXED.items()}
_WITHIN = (
    "t.event_time >= %(start)s AND t.event_time < %(end)s AND (%(version)s::text IS NULL OR t.version = %(version)s)"
)
# a chance of its own: neither the one that kept the row nor the order of `limit`
_THINNED = "AND ('x' || substr(md5(t.trace_id), 17, 8))::bit(32)::bigint / 4294967296.0 < t.weight / %(heaviest)s"
_LABELS = "{labels} l ON l.trace_id = t.trace_id AND l.superseded_at IS NULL"


@contextmanager
def storing(
    session: Session,
    model: Model,
    schema: Schema,
    columns: Mapping[str, str],
    rows: Batch,
    *,
    keys: Keys | None = None,
    kept: BoolArray | None = None,
    weight: NDArray[np.float64] | None = None,
) -> Iterator[BoolArray]:
    """Enter rows once, whatever a producer repeats, and store those that are `kept` (all by default).

    The block runs while the database stores them, with which rows were new, shape (n,); it must not use the session.
    A repeat has the id and event time of a row that came before it.

    Args:
        columns: the trace column of each feature.
        keys: `monitor.batch.keys_of` the ids, where they are known already.
        kept: which rows the sampling chose, shape (n,).
        weight: 1 / the probability with which each was, shape (n,); 1 by default.
    """
    if not len(rows):
        yield np.zeros(0, dtype=np.bool_)
        return
    connection = driver(session)
    days = np.unique(rows.event_time.astype("datetime64[D]")).tolist()
    ensure_partitions(session, model, days)
    traces, ledger = tables_of(model, days)
    if rows.entity is not None:
        ensure_entities(session, model)
    known = keys_of(rows.trace_id.to_pylist()) if keys is None else keys
    wanted = np.ones(len(rows), dtype=np.bool_) if kept is None else kept
    weights = np.ones(len(rows)) if weight is None else weight

    def encoded(chosen: BoolArray) -> Encoded:
        return Encoded.of(as_table(rows.where(chosen), schema, columns, weights[chosen]))

    with entering(connection, ledger, rows.event_time, known) as entry:
        told = encoded(wanted)  # nearly always no row is a repeat
    new = entry.new
    if (wanted & ~new).any():
        told = encoded(new & wanted)
    with copying(connection, traces, told) if (new & wanted).any() else nullcontext():
        yield new


def as_table(rows: Batch, schema: Schema, columns: Mapping[str, str], weight: NDArray[np.float64]) -> pa.Table:
    """The rows as the model's table has them."""
    fixed = {
        "trace_id": rows.trace_id, "event_time": rows.event_time, "version": rows.version, "score": rows.score,
        "prediction": rows.prediction, "weight": weight,
    }  # fmt: skip
    arrays = {name: pa.array(column, from_pandas=True) for name, column in fixed.items() if name != "event_time"}
    arrays["event_time"] = pa.array(rows.event_time).cast(_TIME)
    if rows.entity is not None:
        arrays[ENTITY] = pa.array(entity_keys(rows.entity.to_pylist()), pa.string())
    for feature in schema.features:
        column, kind = rows.features.get(feature.name), _ARROW[column_type(feature.kind)]
        arrays[columns[feature.name]] = (
            pa.nulls(len(rows), kind) if column is None else pa.array(column, from_pandas=True)
        )
    for vector in schema.vectors:
        came = rows.vectors.get(vector.name)
        arrays[columns[vector.name]] = pa.nulls(len(rows), pa.list_(pa.float32())) if came is None else came
    return pa.table(arrays)


def entity_keys(entities: Sequence[str | None]) -> list[str | None]:
    """What the table holds in place of a person's name or number: a hash, by which their rows are found."""
    return [None if entity is None else keys_of([entity]).tobytes().hex() for entity in entities]


def erase(session: Session, model: Model, entity: str) -> tuple[int, int]:
    """Delete the rows about somebody, and their labels; how many of each.

    The ledger keeps the hashes of the rows' ids, so that they do not come in again; counts keep that they were there.
    """
    if not has_entities(session, model):
        return 0, 0
    connection = driver(session)
    gone = connection.execute(
        sql.SQL("DELETE FROM {} WHERE {} = %s RETURNING trace_id").format(trace_table(model), sql.Identifier(ENTITY)),
        entity_keys([entity]),
    ).fetchall()
    labels = connection.execute(
        sql.SQL("DELETE FROM {} WHERE trace_id = ANY(%s)").format(label_table(model)), [[row[0] for row in gone]]
    )
    return len(gone), labels.rowcount


def read_traces(
    session: Session,
    model: Model,
    window: Window,
    *,
    version: str | None = None,
    labelled: bool = False,
    limit: int | None = None,
    every: bool = False,
) -> pd.DataFrame:
    """Rows of a window by (event_time, trace_id): the columns of `storing`, and label and label_time.

    Rows that were kept with different probabilities are thinned to one probability, the least that there was, so that
    what is computed from them holds for all rows that came; their weight is 1 / that probability. With `every` all that
    were kept come, each with its own weight. With `limit`, the same random choice of rows each time, spread over the
    window. With `labelled`, rows without a label are left out.
    """
    features = feature_schema(session, model)
    schema = schema_of(features)
    types = dict(_FIXED_TYPES)
    types |= {features.columns[feature.name]: _ARROW[column_type(feature.kind)] for feature in schema.features}
    columns = [sql.SQL("t.{}").format(sql.Identifier(name)) for name in types] + [sql.SQL("l.label, l.label_time")]
    heaviest = None if every else _uneven(session, model, window, version)
    chosen = sql.SQL("SELECT {} FROM {} t {} JOIN " + _LABELS + " WHERE " + _WITHIN + " {}").format(
        sql.SQL(", ").join(columns),
        trace_table(model),
        sql.SQL("" if labelled else "LEFT"),
        sql.SQL("" if heaviest is None else _THINNED),
        labels=label_table(model),
    )
    if limit is not None:
        chosen = sql.SQL('{} ORDER BY md5(t.trace_id), t.trace_id COLLATE "C", t.event_time LIMIT {}').format(
            chosen, limit
        )
    ordered = sql.SQL('SELECT * FROM ({}) rows ORDER BY event_time, trace_id COLLATE "C"').format(chosen)
    arrow_types = pa.schema([*types.items(), ("label", pa.string()), ("label_time", _TIME)])
    table = copy_out(driver(session), ordered, _values(window, version) | {"heaviest": heaviest}, arrow_types)
    names = {column: name for name, column in features.columns.items()}
    frame = to_frame(table.rename_columns([names.get(column, column) for column in table.column_names]))
    return frame if heaviest is None else frame.assign(weight=heaviest)


def _uneven(session: Session, model: Model, window: Window, version: str | None) -> float | None:
    """The largest weight of a window's rows, None where all have the same."""
    weights = sql.SQL("SELECT min(t.weight), max(t.weight) FROM {} t WHERE " + _WITHIN).format(trace_table(model))
    row = driver(session).execute(weights, _values(window, version)).fetchone()
    return None if row is None or row[0] == row[1] else float(row[1])


def append_labels(session: Session, model: Model, frame: pd.DataFrame) -> int:
    """Store labels (trace_id, label as text, label_time); a changed one is a revision, the earlier stays on record.

    Returns how many were new or changed. A repeat, or an older label that comes late, changes nothing.
    """
    present = frame[frame["label"].notna()].sort_values("label_time", kind="stable")
    newest = present.drop_duplicates("trace_id", keep="last")
    if newest.empty:
        return 0
    connection, labels = driver(session), label_table(model)
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS batch_labels (trace_id text, label text, label_time timestamptz) "
        "ON COMMIT DELETE ROWS"
    )
    connection.execute("TRUNCATE batch_labels")
    table = {name: pa.array(newest[name], pa.string()) for name in ("trace_id", "label")}
    table["label_time"] = pa.array(newest["label_time"].dt.as_unit("us"), _TIME)
    copy_in(connection, sql.SQL("batch_labels"), pa.table(table))
    connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(labels))  # one revision at a time
    connection.execute(
        sql.SQL(
            "UPDATE {} l SET superseded_at = now() FROM batch_labels b WHERE l.trace_id = b.trace_id "
            "AND l.superseded_at IS NULL AND l.label <> b.label AND l.label_time <= b.label_time"
        ).format(labels)
    )
    added = connection.execute(
        sql.SQL(
            "INSERT INTO {labels} (trace_id, revision, label, label_time) SELECT trace_id, 1 + "
            "coalesce((SELECT max(revision) FROM {labels} l WHERE l.trace_id = b.trace_id), 0), label, label_time "
            "FROM batch_labels b WHERE NOT EXISTS "
            "(SELECT 1 FROM {labels} l WHERE l.trace_id = b.trace_id AND l.superseded_at IS NULL)"
        ).format(labels=labels)
    )
    return added.rowcount


def has_labels(session: Session, model: Model) -> bool:
    """Whether the truth of any row was ever told."""
    found = driver(session).execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(label_table(model))).fetchone()
    return found is not None


def label_coverage(session: Session, model: Model, window: Window, version: str | None = None) -> tuple[int, int]:
    """How many rows of a window are kept, and how many of those have a label."""
    kept, labelled, _ = _label_counts(session, model, window, version)
    return kept, labelled


def label_revisions(session: Session, model: Model, window: Window, version: str | None = None) -> int:
    """A number that grows with every label of the window that comes or changes."""
    return _label_counts(session, model, window, version)[2]


def _label_counts(session: Session, model: Model, window: Window, version: str | None) -> tuple[int, int, int]:
    counted = sql.SQL(
        "SELECT count(*), count(l.trace_id), coalesce(sum(l.revision), 0) FROM {} t LEFT JOIN "
        + _LABELS
        + " WHERE "
        + _WITHIN
    ).format(trace_table(model), labels=label_table(model))
    row = driver(session).execute(counted, _values(window, version)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def span(session: Session, model: Model) -> tuple[datetime, datetime] | None:
    """The event times of the oldest and the newest kept row; None without rows."""
    extent = sql.SQL("SELECT min(event_time), max(event_time) FROM {}").format(trace_table(model))
    row = driver(session).execute(extent).fetchone()
    return None if row is None or row[0] is None else (row[0], row[1])


def versions_seen(session: Session, model: Model, window: Window) -> dict[str, int]:
    """How many kept rows of a window each version reported: what production really runs."""
    counted = sql.SQL("SELECT version, count(*) FROM {} t WHERE " + _WITHIN + " GROUP BY 1 ORDER BY 1")
    rows = driver(session).execute(counted.format(trace_table(model)), _values(window, None)).fetchall()
    return {str(version): int(count) for version, count in rows}


def _values(window: Window, version: str | None) -> dict[str, Any]:
    return {"start": window.start, "end": window.end, "version": version}
