"""Five times the load that the API can take, whatever it answers."""

import asyncio
import gc
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import orjson
import psutil
from sqlalchemy import text

from benchmarks.intake_cost.place import CALLERS, NAME, Place, all_of, as_records, batch, empty, model_of
from benchmarks.intake_cost.ways import send
from monitor.db.engine import transaction
from monitor.intake.formats import JSON

OVERLOAD_ROWS = 200


@dataclass
class Tally:
    """What callers that never wait were told; times in milliseconds from the request to the whole answer."""

    accepted: int = 0
    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    other: int = 0


def overload(where: Place, seconds: float) -> dict[str, float]:
    """Batches of 200 rows at five times the rate at which the API just stored them, whatever it answers."""
    bodies = [orjson.dumps(as_records(batch(OVERLOAD_ROWS))) for _ in range(200)]
    process = next(p for p in psutil.Process().children() if "api" in p.cmdline())
    empty(where.engine)
    _store(where, [orjson.dumps(as_records(batch(OVERLOAD_ROWS))) for _ in range(40)])  # every process is there
    began = time.perf_counter()
    _store(where, bodies)
    capacity = len(bodies) / (time.perf_counter() - began)
    before = _memory(process)
    empty(where.engine)
    stop = threading.Event()
    watched: list[int] = []
    watcher = threading.Thread(target=_watch, args=(process, stop, watched))
    watcher.start()
    fresh = [orjson.dumps(as_records(batch(OVERLOAD_ROWS))) for _ in range(int(3 * capacity * seconds) + 1)]
    gc.freeze()  # the callers' own pauses are not the answers'
    tally = asyncio.run(_storm(where, fresh, rate=5 * capacity, seconds=seconds))
    stop.set()
    watcher.join()
    with transaction(where.engine) as session:
        stored = session.execute(text(f"SELECT count(*) FROM traces.m{model_of(session).id}")).scalar_one()  # noqa: S608
        counted = session.execute(text("SELECT coalesce(sum(rows), 0) FROM profiles")).scalar_one()
    return {
        "overload: batches a second that it can take": capacity,
        "overload: batches a second that came": (len(tally.taken) + len(tally.refused) + tally.other) / seconds,
        "overload: acknowledged rows": tally.accepted,
        "overload: acknowledged and not stored": tally.accepted - int(stored),
        "overload: acknowledged and not counted": tally.accepted - int(counted),
        "overload: batches taken": len(tally.taken),
        "overload: taken, ms, p99": float(np.quantile(tally.taken, 0.99)),
        "overload: refusals": len(tally.refused),
        "overload: refusals, ms, median": float(np.median(tally.refused)),
        "overload: refusals, ms, p99": float(np.quantile(tally.refused, 0.99)),
        "overload: other answers": tally.other,
        "overload: memory growth, %": 100 * (max(watched) / before - 1),
    }


def _store(where: Place, bodies: Sequence[bytes]) -> None:
    """By callers that wait for each answer."""
    shares = [bodies[i::CALLERS] for i in range(CALLERS)]
    all_of([threading.Thread(target=send, args=(where, JSON, share, list[int]())) for share in shares])


def _watch(process: psutil.Process, stop: threading.Event, found: list[int]) -> None:
    while not stop.wait(0.1):
        found.append(_memory(process))


def _memory(process: psutil.Process) -> int:
    """Bytes of the process that answers and of those that store for it."""
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])


async def _storm(where: Place, bodies: Sequence[bytes], *, rate: float, seconds: float) -> Tally:
    """One request every 1/rate seconds, each on a connection that is free then, a new one if none is."""
    tally, unsent, free = Tally(), list(bodies), list[Connection]()
    started, running = time.perf_counter(), set[asyncio.Task[None]]()
    for number in range(int(rate * seconds)):
        wait = started + number / rate - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(_one(where, unsent, free, tally))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    for _, writer in free:
        writer.close()
    return tally


Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _one(where: Place, unsent: list[bytes], free: list[Connection], tally: Tally) -> None:
    body = unsent.pop()
    host, port = where.url.split(":")
    reader, writer = free.pop() if free else await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/models/{NAME}/traces HTTP/1.1\r\nHost: {where.url}\r\nContent-Type: {JSON}\r\n"
        f"Authorization: Bearer {where.secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    began = time.perf_counter()
    writer.write(head.encode() + body)
    try:
        answered = (await reader.readuntil(b"\r\n\r\n")).lower()
    except (asyncio.IncompleteReadError, ConnectionError):  # it was closed while it lay idle: once more, on another
        unsent.append(body)
        return await _one(where, unsent, free, tally)
    status = int(answered.split(b" ", 2)[1])
    length = int(answered.split(b"content-length:")[1].split(b"\r\n")[0])
    told = orjson.loads(await reader.readexactly(length))
    taken = 1_000 * (time.perf_counter() - began)
    if status == 200:
        tally.accepted += told["accepted"]
        tally.taken.append(taken)
    else:
        unsent.append(body)
        if status == 503:
            tally.refused.append(taken)
        else:
            tally.other += 1
    if b"connection: close" in answered:
        writer.close()
    else:
        free.append((reader, writer))
