"""What the intake benchmark runs on: a database with one model, an API process, and rows that nobody sent before."""

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
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from sqlalchemy import Engine, text

from benchmarks.profile import made
from monitor.acts.tokens import create_token
from monitor.db import embedded
from monitor.db.engine import database_now, make_engine, transaction
from monitor.db.registry import FeatureSchema, Model, ModelSettings, Reference, Version
from monitor.db.scratch import scratch_database
from monitor.db.trace_tables import columns_for, create_trace_tables, ensure_partitions
from monitor.drift.profile import Binning
from monitor.governance.roles import Actor, Role
from monitor.intake.formats import ARROW, JSON, LINES
from monitor.schema import Schema

NAME, DAY, CALLERS = "bench", datetime(2026, 3, 2, tzinfo=UTC), 4
ROOT = Actor(id="root", name="root", roles=frozenset({Role.ADMIN}))
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
        session.execute(
            text(f"TRUNCATE traces.m{model_of(session).id}, traces.ledger_m{model_of(session).id}, profiles")
        )


def model_of(session: Any) -> Model:
    model: Model = session.query(Model).filter_by(name=NAME).one()
    return model


def all_of(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
