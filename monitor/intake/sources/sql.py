"""A table or query of any database as a source, read along a cursor column."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from monitor.db.base import Json
from monitor.db.engine import CONNECT_TIMEOUT_SECONDS
from monitor.errors import BadInput, Unavailable
from monitor.intake.columns import Columns
from monitor.intake.sources.addresses import check_address, resolved, without_secrets
from monitor.intake.sources.contract import LEAST_ROWS, Part, Secret, rows_of_a_part

MOST_TIES = 10_000  # rows with the newest cursor value that a bookmark remembers one by one
STATEMENT_SECONDS = 300
_SQLITE = "sqlite:///"
_AUTOCOMMIT = ("postgresql", "mysql", "mariadb", "sqlite", "mssql")
_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}
_AWAY = ("08", "53", "57")  # classes of SQLSTATE that say that the server cannot now, not that it will not


class Reading(BaseModel):
    """What is read: a table (`schema.name`) or a query, and the column along which it grows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: str
    table: str | None = None
    query: str | None = None


class SqlSource:
    """The rows of a table or query in the order of a cursor column, such as a number or the time of the last change.

    The cursor need not be unique: rows that arrive later with the value that was reached last are read too. Each look
    begins at that value (`>=`, not `>`) and drops the rows with it that the bookmark remembers by their id; within a
    look, rows go on by (cursor, id). Above 10,000 rows of one value the bookmark remembers none: they are read again,
    and intake knows them by their id and time, as it knows every repeated row. A row that is committed late with a
    cursor below the value that was reached is not seen, so a cursor must grow with the commits. A row without a
    cursor is never read. Nothing is written: transactions are read-only where the database has them.
    """

    def __init__(self, location: str, *, settings: Json, columns: Columns, secret: Secret) -> None:
        check_address(location)
        try:
            self._url = make_url(location)
            reading = Reading(**settings)
        except ArgumentError as error:
            raise BadInput("expected a database's address such as postgresql://user:${PASSWORD}@host/db") from error
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise BadInput(f"expected --cursor COLUMN with --table or --query, {name}: {first['msg']}") from error
        if self._url.password and not str(self._url.password).startswith("${"):
            raise BadInput(
                "expected the password in a variable, got it in clear: postgresql://user:${PASSWORD}@host/db"
            )
        if (reading.table is None) == (reading.query is None):
            raise BadInput("expected either --table NAME or --query 'SELECT …'")
        if columns.id is None:
            raise BadInput("expected --id COLUMN: the rows of a table have no numbers by which one could be told again")
        self._reading, self._id, self._location, self._secret = reading, columns.id, location, secret

    @staticmethod
    def remembered(location: str) -> str:
        prefix, path = location[: len(_SQLITE)], location[len(_SQLITE) :]
        is_relative = prefix == _SQLITE and path and not path.startswith(("/", "file:"))
        return f"{_SQLITE}{Path(path).absolute()}" if is_relative else location

    def pieces(self) -> "list[_Table]":
        """One piece: the table or the query."""
        return [_Table(source=self, name=self._reading.table or "query", key="rows")]

    @contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """A connection that cannot write; what goes wrong is told without a password."""
        engine = _engine(self._url, resolved(self._location, self._secret))
        try:
            with engine.connect() as connection:
                if engine.dialect.name in _AUTOCOMMIT:  # no transaction stands open while a part is stored
                    connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                yield connection
        except DBAPIError as error:
            raise self._told(error) from None  # the statement's values may be people's data
        except SQLAlchemyError as error:
            raise BadInput(f"{self._where}: {self._line(error)}") from error
        finally:
            engine.dispose()

    def columns(self, connection: sa.Connection) -> list[str]:
        """The columns there are; the cursor and the id must be among them."""
        there = list(connection.execute(self._select().limit(0)).keys())
        for name in (self._reading.cursor, self._id):
            if name not in there:
                raise BadInput(f"expected a column {name!r} in {self._where}, there are {', '.join(there[:40])}")
        return there

    def page(self, after: "_Place | None", *, rows: int) -> sa.Select[Any]:
        """The statement for the next rows."""
        cursor: sa.ColumnElement[Any] = sa.column(self._reading.cursor)
        identifier: sa.ColumnElement[Any] = sa.column(self._id)
        chosen = self._select().where(cursor.is_not(None)).order_by(cursor, identifier).limit(rows)
        if after is None:
            return chosen
        chosen = chosen.where(cursor >= _literal(after.cursor))
        if after.id is None:
            return chosen
        return chosen.where((cursor > _literal(after.cursor)) | (identifier > _literal(after.id)))

    def placed(self, row: "sa.Row[Any]", there: list[str]) -> "tuple[Any, Any]":
        return row[there.index(self._reading.cursor)], row[there.index(self._id)]

    def _select(self) -> sa.Select[Any]:
        if self._reading.table is not None:
            schema, _, name = self._reading.table.rpartition(".")
            return sa.select(sa.text("*")).select_from(sa.table(name, schema=schema or None))
        query = (self._reading.query or "").strip().rstrip(";").replace(":", "\\:")
        return sa.select(sa.text("*")).select_from(sa.text(f"(\n{query}\n) holdfast_query"))

    @property
    def _where(self) -> str:
        return f"{self._reading.table or 'the query'} at {self._url.host or self._url.database}"

    def _told(self, error: DBAPIError) -> BadInput | Unavailable:
        state = str(getattr(error.orig, "sqlstate", None) or "")
        away = error.connection_invalidated or error.statement is None or state[:2] in _AWAY
        if away:
            return Unavailable(f"expected an answer from {self._where}, got: {self._line(error)}")
        return BadInput(f"expected to read {self._where}, got: {self._line(error)}")

    def _line(self, error: SQLAlchemyError) -> str:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return without_secrets(cause, self._location, self._secret)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A cursor value, and the id after which to go on within it; without one, from the first row that has the value."""

    cursor: Any
    id: Any = None


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The rows of the source. Its mark holds the cursor value reached, and which rows with that value were taken."""

    source: SqlSource
    name: str
    key: str

    def parts(self, mark: Json | None) -> Iterator[Part]:
        """The rows after the mark; see the contract."""
        known = _value(mark["cursor"]) if mark else None
        taken = frozenset(mark["ties"] or ()) if mark else frozenset()  # of the rows with the value `known`
        place, ties = (_Place(cursor=known) if mark else None), _Ties(known, taken)
        with self.source.connected() as connection:
            there = self.source.columns(connection)
            most = min(LEAST_ROWS, rows_of_a_part(len(there)))  # until a row shows how much there is in one
            while rows := connection.execute(self.source.page(place, rows=most)).all():
                fresh = []
                for row in rows:
                    cursor, identifier = self.source.placed(row, there)
                    if cursor != known or _digest(identifier) not in taken:
                        fresh.append(row)
                    ties.add(cursor, identifier)
                    place = _Place(cursor=cursor, id=identifier)
                if fresh:
                    yield Part(frame=_frame(fresh, there), mark=ties.to_mark())
                if len(rows) < most:
                    return
                most = rows_of_a_part(sum(map(_values, rows[0])))


def _values(value: Any) -> int:
    """How many values there are in one: a list, also one that came as text, is as many as it has numbers."""
    if isinstance(value, str) and value.startswith("["):
        return value.count(",") + 1
    return len(value) if isinstance(value, list | tuple) else 1


class _Ties:
    """Which rows have the newest cursor value; above 10,000 of them it is forgotten which."""

    def __init__(self, cursor: Any, ids: "frozenset[str]") -> None:
        self._cursor, self._ids, self._many = cursor, set(ids), False

    def add(self, cursor: Any, identifier: Any) -> None:
        if cursor != self._cursor:
            self._cursor, self._ids, self._many = cursor, set(), False
        if not self._many:
            self._ids.add(_digest(identifier))
        if len(self._ids) > MOST_TIES:
            self._ids, self._many = set(), True

    def to_mark(self) -> Json:
        return {"cursor": _document(self._cursor), "ties": None if self._many else sorted(self._ids)}


def _engine(url: URL, address: str) -> sa.Engine:
    full, backend = make_url(address), url.get_backend_name()
    arguments: dict[str, Any] = {}
    if backend == "postgresql":
        full = full.set(drivername="postgresql+psycopg")
        options = f"-c timezone=UTC -c default_transaction_read_only=on -c statement_timeout={STATEMENT_SECONDS}s"
        arguments = {"connect_timeout": CONNECT_TIMEOUT_SECONDS, "options": options}
    elif backend == "sqlite" and full.database and not full.query and not Path(full.database).is_file():
        raise Unavailable(f"expected an SQLite file at {full.database}, there is none")  # a new one would be made
    try:
        engine = sa.create_engine(full, poolclass=NullPool, connect_args=arguments)
    except (NoSuchModuleError, ImportError) as error:
        raise BadInput(f"expected a driver for {url.drivername}, it is not installed: {error}") from error
    if backend in _READ_ONLY:
        sa.event.listen(engine, "connect", lambda raw, _: raw.cursor().execute(_READ_ONLY[backend]))
    return engine


def _literal(value: Any) -> Any:
    """A value as a parameter of its own type: an integer may be large, a time has a zone or none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return sa.literal(value, sa.BigInteger())
    if isinstance(value, datetime):
        return sa.literal(value, sa.DateTime(timezone=value.tzinfo is not None))
    return sa.literal(value)


_TYPES: dict[str, Any] = {
    "int": int, "float": float, "str": str, "datetime": datetime.fromisoformat, "date": date.fromisoformat,
    "Decimal": Decimal, "UUID": uuid.UUID,
}  # fmt: skip


def _document(value: Any) -> Json:
    kind = type(value).__name__
    if kind not in _TYPES:
        raise BadInput(f"expected a cursor of numbers, times or texts, got {kind}")
    if kind in ("int", "float", "str"):
        return {"type": kind, "value": value}
    return {"type": kind, "value": value.isoformat() if isinstance(value, date) else str(value)}


def _value(document: Json) -> Any:
    return _TYPES[document["type"]](document["value"])


def _digest(identifier: Any) -> str:
    return hashlib.blake2b(str(identifier).encode(), digest_size=8).hexdigest()


def _frame(rows: "list[sa.Row[Any]]", names: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame.from_records([tuple(row) for row in rows], columns=names)
    for name in frame.columns:
        held = frame[name].dropna()
        if frame[name].dtype == object and len(held) and isinstance(held.iloc[0], Decimal):
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame
