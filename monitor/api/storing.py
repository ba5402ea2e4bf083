"""Where what was sent is stored: in processes of their own, so that the one that answers is free to refuse at once.

A process that reads and stores a batch holds its interpreter for milliseconds at a time; a refusal must not wait for
that. Without a database of its own to connect to, as in a test, batches are stored in threads.
"""

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from psycopg import errors as database_errors
from pydantic import BaseModel, Field
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session

from monitor.db.engine import make_engine, transaction
from monitor.errors import Unavailable
from monitor.intake.formats import inflate
from monitor.intake.receive import Taken

Read = Callable[[bytes, str], Any]  # of an unpacked body and its type
Take = Callable[[Session, str, Any], Taken]  # what `Read` made of it
MOST_TOLD = 100  # refused rows that an answer spells out
_NICER = 5  # than the process that answers: refusals come first


class RefusedRow(BaseModel):
    """A row that waits in quarantine for a person."""

    position: int = Field(description="of the row in the request, from 0")
    reason: str


class Accepted(BaseModel):
    """What became of the rows; all of it is committed."""

    accepted: int = Field(description="rows that were new (labels: new or changed)")
    duplicate: int = Field(description="rows that were known already")
    quarantined: list[RefusedRow] = Field(description=f"the first {MOST_TOLD} refused rows, each with its reason")
    quarantined_total: int
    ignored: list[str] = Field(description="fields that the model's schema does not know")


class DiskFull(Exception):
    """The database cannot write any more."""


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A body for a model, of a type and packing that are read, and the functions that read and store what it holds."""

    model: str
    body: bytes
    kind: str
    encoding: str
    read: Read
    take: Take


class Storing(Protocol):
    """Stores what is sent."""

    async def store(self, sent: Sent) -> str:
        """The answer, an `Accepted` as JSON, once all of it is committed.

        Raises:
            Unavailable: the database or the process that stores is not there, or busy: send again.
            DiskFull: somebody has to make room.
            HoldfastError: what the caller can mend.
        """


class InThreads:
    """Stores in this process, over an engine that somebody else owns."""

    def __init__(self, engine: Engine, threads: int = 2) -> None:
        self._engine, self._threads = engine, ThreadPoolExecutor(threads, thread_name_prefix="intake")

    async def store(self, sent: Sent) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._threads, store, self._engine, sent)


class InProcesses:
    """Stores in up to so many processes, which end with this one: one begins at once, others as they are needed."""

    def __init__(self, url: str, processes: int) -> None:
        self._url, self._processes = url, processes
        self._pool = self._start()

    async def store(self, sent: Sent) -> str:
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, _store, sent)
        except BrokenExecutor as error:
            if self._pool is pool:
                self._pool = self._start()
            raise Unavailable("the process that stores ended: send again, what it had stored counts once") from error

    def close(self) -> None:
        """Let them finish what they have begun, and end."""
        self._pool.shutdown()

    def _start(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self._processes, mp_context=spawn, initializer=_begin, initargs=(self._url,))
        pool.submit(os.getpid)  # it takes a second or two to begin, and the first batch need not wait for that
        return pool


def store(engine: Engine, sent: Sent) -> str:
    """Read a body and store it in one transaction."""
    received = sent.read(inflate(sent.body, sent.encoding), sent.kind)
    with database(), transaction(engine) as session:
        taken = sent.take(session, sent.model, received)
    return Accepted(
        accepted=taken.accepted,
        duplicate=taken.duplicate,
        quarantined=[RefusedRow(position=row.position, reason=row.reason) for row in taken.bad[:MOST_TOLD]],
        quarantined_total=len(taken.bad),
        ignored=list(taken.ignored),
    ).model_dump_json()


@contextmanager
def database() -> Iterator[None]:
    """Faults of the database as what a caller can do about them.

    Raises:
        DiskFull: somebody has to make room.
        Unavailable: it does not answer, or two batches were in each other's way: send again.
    """
    try:
        yield
    except NoConnection as error:
        raise Unavailable("every connection to the database is in use: send again") from error
    except DBAPIError as error:
        raise _as_ours(error.orig) or error from error
    except database_errors.Error as error:
        raise _as_ours(error) or error from error


_PASSING = (
    database_errors.DeadlockDetected, database_errors.SerializationFailure, database_errors.LockNotAvailable,
    database_errors.OperationalError,
)  # fmt: skip
_engines: list[Engine] = []  # of a process that stores: the one


def _begin(url: str) -> None:
    """At the start of a process that stores: the one that answers tells it when to end, or ends."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    os.nice(_NICER)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _engines.append(make_engine(url, pool_size=1))
    gc.freeze()  # as in the process that answers: what is there now stays


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(0)


def _store(sent: Sent) -> str:
    return store(_engines[0], sent)


def _as_ours(error: BaseException | None) -> Exception | None:
    if isinstance(error, database_errors.DiskFull):
        return DiskFull("the disk of the database is full: make room there; nothing of this request was stored")
    if isinstance(error, _PASSING):
        return Unavailable("the database does not answer or is busy: send again; nothing of this request was stored")
    return None
