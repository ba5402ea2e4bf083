"""Many rows at once through COPY, on the connection and in the transaction of a session."""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from psycopg.copy import LibpqWriter
from sqlalchemy.orm import Session

_CHUNK = 1 << 20
_ROWS = 1_024  # encoded at once; the database takes them in while the next are encoded


def driver(session: Session) -> "psycopg.Connection[tuple[Any, ...]]":
    """The psycopg connection under a session, with what the session still held back written first."""
    session.flush()
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Rows as `copying` sends them."""

    columns: tuple[str, ...]
    parts: Iterable[bytes]

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        return cls(columns=tuple(table.column_names), parts=list(_parts(table)))


def copy_in(connection: "psycopg.Connection[Any]", into: sql.Composable, table: pa.Table) -> None:
    """Append a table to `into`, matching columns by name; nulls become NULL."""
    with copying(connection, into, Encoded(columns=tuple(table.column_names), parts=_parts(table))):
        pass


@contextmanager
def copying(connection: "psycopg.Connection[Any]", into: sql.Composable, rows: Encoded) -> Iterator[None]:
    """Append rows to `into`; the database works on them while the block runs.

    The block must not use the connection. What is wrong with a row is raised at its end at the latest.
    """
    with (
        connection.cursor() as cursor,
        cursor.copy(
            _copy_to(into.as_string(connection), rows.columns), writer=LibpqWriter(cursor, flush_threshold=0)
        ) as copy,
    ):
        for part in rows.parts:
            copy.write(part)
        yield


@lru_cache(maxsize=256)
def _copy_to(into: str, columns: tuple[str, ...]) -> bytes:
    """Remembered: to write the names of a hundred columns takes as long as some of the rows."""
    named = sql.SQL(", ").join(map(sql.Identifier, columns))
    return f"COPY {into} ({named.as_string()}) FROM STDIN (FORMAT binary)".encode()


def _parts(table: pa.Table) -> Iterator[bytes]:
    encoder = ArrowToPostgresBinaryEncoder(table.schema)
    yield encoder.write_header()
    for batch in table.to_batches(max_chunksize=_ROWS):
        yield encoder.write_batch(batch)
    yield encoder.finish()


def copy_out(
    connection: "psycopg.Connection[Any]", query: sql.Composable, values: Mapping[str, Any], types: pa.Schema
) -> pa.Table:
    """The rows of a query whose columns have `types`, in the query's order."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(query)
    received = io.BytesIO()
    with connection.cursor() as cursor, cursor.copy(statement, values) as copy:
        for data in copy:
            received.write(data)
    if received.tell() == 0:
        return types.empty_table()
    received.seek(0)
    return arrow_csv.read_csv(
        received,
        read_options=arrow_csv.ReadOptions(
            column_names=types.names, block_size=max(_CHUNK, received.getbuffer().nbytes)
        ),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=types, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Numbers as float64 with NaN, times as UTC timestamps, text as objects with None."""
    return pd.DataFrame({name: _to_series(table.column(name)) for name in table.column_names})


def _to_series(column: pa.ChunkedArray) -> "pd.Series[Any]":
    if pa.types.is_string(column.type):
        return pd.Series(column.to_numpy(), dtype=object)
    return pd.Series(column.to_pandas())
