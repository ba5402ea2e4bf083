"""The ledger of a model: the id and event time of every row that was ever accepted, so that a repeat counts once.

Rows are new nearly always, so they are written by COPY, which takes half the time of INSERT … ON CONFLICT. The key of
the table refuses a repeat; the rows then go in by the other way, which says which they were. Both write in the order
of the key: two batches with rows in common wait for each other and cannot deadlock.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection, adapters, errors, sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from monitor.batch import Keys
from monitor.db.bulk import Encoded, copying

_RECORD = np.dtype([("fields", ">i2"), ("of_time", ">i4"), ("time", ">i8"), ("of_id", ">i4"), ("id", "V16")])
_BEGIN, _END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_EPOCH = np.datetime64("2000-01-01", "us")  # PostgreSQL's
_TIMESTAMPTZ, _UUID = 1184, 2950
_PROBED = 8  # rows that are looked up first: a batch that is sent again is known by them without an error in the log
# OFFSET 0: each row is looked up by the key, whatever the planner believes of a day that has just begun
_LOOK = (
    "SELECT 1 FROM unnest(%s, %s) AS b (event_time, id), LATERAL (SELECT FROM {} AS l "
    "WHERE l.event_time = b.event_time AND l.id = b.id OFFSET 0) AS seen LIMIT 1"
)
_ENTER = (
    "WITH batch AS MATERIALIZED (SELECT * FROM unnest(%s, %s) WITH ORDINALITY AS b (event_time, id, position)), "
    "entered AS (INSERT INTO {} (event_time, id) SELECT event_time, id FROM batch ON CONFLICT DO NOTHING "
    "RETURNING event_time, id) SELECT position - 1 FROM batch JOIN entered USING (event_time, id)"
)


@dataclass
class Entry:
    """Which rows of a batch were new, shape (n,): of a row that is repeated within the batch the first."""

    new: NDArray[np.bool_]


@contextmanager
def entering(
    connection: "Connection[Any]", ledger: sql.Composable, times: NDArray[np.datetime64], keys: Keys
) -> Iterator[Entry]:
    """Write rows into the ledger, whatever a producer repeats; the database works on them while the block runs.

    The block must not use the connection. Which rows were new is known at its end.

    Args:
        times: event times in UTC at microseconds, shape (n,).
        keys: see `monitor.batch.keys_of`.
    """
    entry, order = Entry(np.zeros(len(times), dtype=np.bool_)), _in_order(times, keys)
    moments, ids = times[order], keys[order]
    if _seen(connection, ledger, moments, ids):
        yield entry
        order = order[_entered(connection, ledger, moments, ids)]
    else:
        try:
            with connection.transaction(), copying(connection, ledger, _encoded(moments, ids)):
                yield entry
        except errors.UniqueViolation:
            order = order[_entered(connection, ledger, moments, ids)]
    entry.new[order] = True


def _in_order(times: NDArray[np.datetime64], keys: Keys) -> NDArray[np.intp]:
    """The positions of the distinct rows by key; of equal ones the first."""
    halves = np.ascontiguousarray(keys).view(">u8")
    order = np.lexsort((halves[:, 1], halves[:, 0], times))
    moments, ids = times[order], halves[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (moments[1:] != moments[:-1]) | (ids[1:] != ids[:-1]).any(axis=1)
    return order[first]


def _seen(connection: "Connection[Any]", ledger: sql.Composable, times: NDArray[np.datetime64], keys: Keys) -> bool:
    """Whether a few rows of the batch show that it was sent before."""
    some = np.unique(np.linspace(0, len(times) - 1, _PROBED).astype(np.intp))
    found = connection.execute(sql.SQL(_LOOK).format(ledger), [_Times(times[some]), _Uuids(keys[some])])
    return found.fetchone() is not None


def _encoded(times: NDArray[np.datetime64], keys: Keys) -> Encoded:
    records = np.empty(len(times), dtype=_RECORD)
    records["fields"], records["of_time"], records["of_id"] = 2, 8, 16
    records["time"] = (times - _EPOCH).astype(np.int64)
    records["id"] = np.ascontiguousarray(keys).view("V16")[:, 0]
    return Encoded(columns=("event_time", "id"), parts=[_BEGIN + records.tobytes() + _END])


def _entered(
    connection: "Connection[Any]", ledger: sql.Composable, times: NDArray[np.datetime64], keys: Keys
) -> NDArray[np.intp]:
    """Write the rows that are new; their positions."""
    entered = connection.execute(sql.SQL(_ENTER).format(ledger), [_Times(times), _Uuids(keys)])
    return np.array([position for (position,) in entered.fetchall()], dtype=np.intp)


class _Times:
    """Moments as the array that PostgreSQL reads without parsing."""

    def __init__(self, times: NDArray[np.datetime64]) -> None:
        elements = (times - _EPOCH).astype(">i8").view(np.uint8).reshape(-1, 8)
        self.encoded = _array(elements, _TIMESTAMPTZ)


class _Uuids:
    """Keys likewise."""

    def __init__(self, keys: Keys) -> None:
        self.encoded = _array(keys, _UUID)


def _array(elements: NDArray[np.uint8], oid: int) -> bytes:
    count, width = elements.shape
    with_lengths = np.empty((count, 4 + width), np.uint8)
    with_lengths[:, :4] = np.frombuffer(struct.pack("!i", width), np.uint8)
    with_lengths[:, 4:] = elements
    return struct.pack("!iiIii", 1, 0, oid, count, 1) + with_lengths.tobytes()


class _TimesDumper(Dumper):
    format, oid = Format.BINARY, 1185

    def dump(self, obj: _Times) -> bytes:
        return obj.encoded


class _UuidsDumper(Dumper):
    format, oid = Format.BINARY, 2951

    def dump(self, obj: _Uuids) -> bytes:
        return obj.encoded


adapters.register_dumper(_Times, _TimesDumper)
adapters.register_dumper(_Uuids, _UuidsDumper)
