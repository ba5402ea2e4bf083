"""How fast rows come in: durable, de-duplicated and counted, by each way in, beside raw COPY into the same table.

python -m benchmarks.intake [--quick] [--only rows|overload] [--rows N]

`rows`: 20 features (fifteen numbers with 1 % missing, five categories), a model with a reference, one PostgreSQL that
syncs at COMMIT. Raw COPY is what `direct` ends in: the same encoded rows by binary COPY into the model's table on one
connection, a COMMIT a batch, without ledger, profile or check. It runs before and after each way, on the emptied
table, and the ratio is to the mean of the two. Over HTTP four callers keep one connection each to a process of its own
(`holdfast api`); what they send was made before.

`overload`: batches of 200 rows as JSON for some seconds, at five times the rate at which four callers just had them
stored, sent at their time whatever the answers are. What was acknowledged is looked up afterwards; the time of refusals
and the process's memory are told.
"""

import argparse
import asyncio
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import pandas as pd
import psutil
import pyarrow as pa
from sqlalchemy import Engine, text

from benchmarks.output import Goal, report
from benchmarks.profile import made
from monitor.acts.tokens import create_token
from monitor.db import embedded
from monitor.db.bulk import copy_in, driver
from monitor.db.engine import database_now, make_engine, transaction
from monitor.db.registry import FeatureSchema, Model, ModelSettings, Reference, Version, feature_schema, schema_of
from monitor.db.scratch import scratch_database
from monitor.db.trace_tables import columns_for, create_trace_tables, ensure_partitions, trace_table
from monitor.db.traces import as_table
from monitor.drift.profile import Binning
from monitor.governance.roles import Actor, Role
from monitor.intake.formats import ARROW, JSON, LINES
from monitor.intake.ingest import ingest
from monitor.intake.validate import validate
from monitor.schema import Schema

OVERLOAD_ROWS = 200
NAME, DAY, CALLERS = "bench", datetime(2026, 3, 2, tzinfo=UTC), 4
ROOT = Actor(id="root", name="root", roles=frozenset({Role.ADMIN}))
GOALS = {"direct": 0.5, "http arrow": 0.35, "http json": 0.2, "http lines": 0.2}
SEEDS = count(1_000)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A database with one model, and where its API answers."""

    engine: Engine
    url: str
    secret: str


def batch(rows: int) -> pd.DataFrame:
    """Rows that nobody sent before."""
    seed = next(SEEDS)
    frame = made(rows, seed)
    frame.insert(0, "trace_id", [f"request-{seed}-{i:06d}" for i in range(rows)])
    frame.insert(1, "event_time", pd.date_range(DAY, periods=rows, freq="15ms", tz="UTC").as_unit("us"))
    return frame.assign(score=np.random.default_rng(seed).random(rows))


def as_arrow(frame: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    told = frame.assign(event_time=frame["event_time"].map(lambda time: time.isoformat()))
    return list(told.astype(object).where(told.notna(), None).to_dict("records"))


BODIES: dict[str, tuple[str, Callable[[pd.DataFrame], bytes]]] = {
    "http arrow": (ARROW, as_arrow),
    "http json": (JSON, lambda frame: orjson.dumps(as_records(frame))),
    "http lines": (LINES, lambda frame: b"\n".join(map(orjson.dumps, as_records(frame)))),
}


def register(engine: Engine) -> str:
    """A model with a schema, a version and a reference; the secret of a producer's token."""
    normal = made(20_000, 1)
    schema, binning = Schema.infer(normal), Binning.fit(normal)
    with transaction(engine) as session:
        model = Model(name=NAME, owner="me", task="classification", settings=ModelSettings().to_document())
        session.add(model)
        session.flush()
        row = FeatureSchema(model_id=model.id, number=1, document=schema.to_document(), columns=columns_for(schema))
        version = Version(model_id=model.id, number=1, name="v1", flavour="none", manifest_sha256="0" * 64)
        session.add_all([row, version])
        session.flush()
        create_trace_tables(session, model, row)
        session.add(
            Reference(
                model_id=model.id, version_id=version.id, schema_id=row.id, binning_id=binning.binning_id, starts=DAY,
                ends=DAY, rows=0, windows=0, document={"binning": binning.to_document(), "windows": []},
            )
        )  # fmt: skip
        ensure_partitions(session, model, [DAY.date()])
        return create_token(session, name="bench", roles=["producer"], by=ROOT, now=database_now(session))[1]


@contextmanager
def place() -> Iterator[Place]:
    """A PostgreSQL that syncs at COMMIT, and an API process on it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-intake-") as home:
        server = embedded.start(Path(home))
        try:
            with scratch_database(server) as url:
                engine = make_engine(url)
                try:
                    with api(url, home) as address:
                        yield Place(engine=engine, url=address, secret=register(engine))
                finally:
                    engine.dispose()
        finally:
            embedded.stop(Path(home))


@contextmanager
def api(url: str, home: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"DATABASE_URL": url, "HOLDFAST_HOME": home, "HOLDFAST_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "monitor.cli.app", "api"], env=environment)
    try:
        address = f"127.0.0.1:{port}"
        while not _answers(address):
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def empty(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text(f"TRUNCATE traces.m{_model(session).id}, traces.ledger_m{_model(session).id}, profiles"))


def _model(session: Any) -> Model:
    model: Model = session.query(Model).filter_by(name=NAME).one()
    return model


def raw(where: Place, batches: int, rows: int) -> float:
    """Rows a second by COPY alone, a COMMIT a batch."""
    empty(where.engine)
    taken = 0.0
    for _ in range(batches):
        frame = batch(rows)
        with transaction(where.engine) as session:
            features = feature_schema(session, _model(session))
            schema = schema_of(features)
            good = validate(frame, schema, oldest=None, latest=datetime(2100, 1, 1, tzinfo=UTC), version="v1").good
            table = as_table(good, schema, features.columns, np.ones(rows))
            into = trace_table(_model(session))
            began = time.perf_counter()
            copy_in(driver(session), into, table)
            session.commit()
            taken += time.perf_counter() - began
    return batches * rows / taken


def direct(where: Place, batches: int, rows: int) -> float:
    """Rows a second by the function that every way in ends in, on one connection, of Arrow tables."""
    taken = 0.0
    for _ in range(batches):
        table = pa.Table.from_pandas(batch(rows), preserve_index=False)
        began = time.perf_counter()
        with transaction(where.engine) as session:
            stored = ingest(session, _model(session), table)
        taken += time.perf_counter() - began
        assert stored.accepted == stored.profiled == rows
    return batches * rows / taken


def over_http(way: str) -> Callable[[Place, int, int], float]:
    kind, encode = BODIES[way]

    def measure(where: Place, batches: int, rows: int) -> float:
        bodies = [encode(batch(rows)) for _ in range(batches)]
        shares = [bodies[i::CALLERS] for i in range(CALLERS)]
        accepted: list[int] = []
        began = time.perf_counter()
        _all([threading.Thread(target=_send, args=(where, kind, share, accepted)) for share in shares])
        taken = time.perf_counter() - began
        assert sum(accepted) == batches * rows, f"{sum(accepted)} of {batches * rows} rows were taken"
        return batches * rows / taken

    return measure


def _send(where: Place, kind: str, bodies: Sequence[bytes], accepted: list[int]) -> None:
    connection = http.client.HTTPConnection(where.url, timeout=60)
    headers = {"Content-Type": kind, "Authorization": f"Bearer {where.secret}"}
    for body in bodies:
        while True:
            connection.request("POST", f"/v1/models/{NAME}/traces", body, headers)
            answer = connection.getresponse()
            told = orjson.loads(answer.read())
            if answer.status != 503:
                break
            time.sleep(0.01)
        assert answer.status == 200, told
        accepted.append(told["accepted"])
    connection.close()


WAYS: dict[str, Callable[[Place, int, int], float]] = {"direct": direct} | {way: over_http(way) for way in BODIES}


def rows_a_second(where: Place, total: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for rows in (1_000, 5_000):
        batches = max(4, total // rows)
        for way, measure in WAYS.items():
            measure(where, 2, rows)  # connections, plans and caches are there
            before = raw(where, batches, rows)
            empty(where.engine)
            reached = measure(where, batches, rows)
            after = raw(where, batches, rows)
            named = f"{way}, {rows:,} rows a batch"
            found[f"{named}: rows/s"] = reached
            found[f"{named}: raw COPY rows/s"] = (before + after) / 2
            found[f"{named}: ratio"] = reached / ((before + after) / 2)
    return found


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
    accepted: list[int] = []
    shares = [bodies[i::CALLERS] for i in range(CALLERS)]
    began = time.perf_counter()
    _all([threading.Thread(target=_send, args=(where, JSON, share, accepted)) for share in shares])
    capacity = len(bodies) / (time.perf_counter() - began)
    before, most = process.memory_info().rss, 0
    empty(where.engine)
    stop = threading.Event()
    watched: list[int] = []
    watcher = threading.Thread(target=_watch, args=(process, stop, watched))
    watcher.start()
    fresh = [orjson.dumps(as_records(batch(OVERLOAD_ROWS))) for _ in range(int(2 * capacity * seconds) + 1)]
    tally = asyncio.run(_storm(where, fresh, rate=5 * capacity, seconds=seconds))
    stop.set()
    watcher.join()
    most = max(watched)
    with transaction(where.engine) as session:
        stored = session.execute(text(f"SELECT count(*) FROM traces.m{_model(session).id}")).scalar_one()  # noqa: S608
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
        "overload: memory growth, %": 100 * (most / before - 1),
    }


def _all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _watch(process: psutil.Process, stop: threading.Event, found: list[int]) -> None:
    while not stop.wait(0.1):
        found.append(process.memory_info().rss)


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
    answered = (await reader.readuntil(b"\r\n\r\n")).lower()
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


def _goals(found: dict[str, float]) -> list[Goal]:
    goals = [
        Goal(
            name=f"{way} over raw COPY, {rows:,} rows a batch", target=f">= {least:g}", value=value, met=value >= least
        )
        for way, least in GOALS.items()
        for rows in (1_000, 5_000)
        if (value := found.get(f"{way}, {rows:,} rows a batch: ratio")) is not None
    ]
    if "overload: refusals" in found:
        lost, slow = found["overload: acknowledged and not stored"], found["overload: refusals, ms, p99"]
        growth = found["overload: memory growth, %"]
        goals += [
            Goal(name="acknowledged and lost under overload", target="0", value=lost, met=lost == 0),
            Goal(name="refusals p99, ms", target="< 50", value=slow, met=slow < 50),
            Goal(name="memory growth under overload, %", target="< 10", value=growth, met=growth < 10),
        ]
    return goals


def main() -> None:
    """Print rows a second by way in and batch size, and what an overload does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within 60 s")
    parser.add_argument("--only", choices=["rows", "overload"])
    parser.add_argument("--rows", type=int, default=100_000, help="rows by each way and batch size")
    options = parser.parse_args()
    found: dict[str, float] = {}
    with place() as where:
        if options.only in (None, "rows"):
            found |= rows_a_second(where, 20_000 if options.quick else options.rows)
        if options.only in (None, "overload"):
            found |= overload(where, 5.0 if options.quick else 20.0)
    report("intake", found, goals=_goals(found))


if __name__ == "__main__":
    main()
