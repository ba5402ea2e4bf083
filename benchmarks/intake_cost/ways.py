"""Rows a second by each way in, beside raw COPY."""

import gc
import http.client
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.intake_cost.place import BODIES, CALLERS, NAME, Place, all_of, batch, empty, model_of
from monitor.db.bulk import copy_in, driver
from monitor.db.engine import transaction
from monitor.db.registry import feature_schema, schema_of
from monitor.db.trace_tables import trace_table
from monitor.db.traces import as_table
from monitor.intake.ingest import ingest
from monitor.intake.validate import validate


def raw(where: Place, batches: int, rows: int) -> float:
    """Rows a second by COPY alone, a COMMIT a batch."""
    empty(where.engine)
    taken = 0.0
    for _ in range(batches):
        frame = batch(rows)
        with transaction(where.engine) as session:
            features = feature_schema(session, model_of(session))
            schema = schema_of(features)
            good = validate(frame, schema, oldest=None, latest=datetime(2100, 1, 1, tzinfo=UTC), version="v1").good
            table = as_table(good, schema, features.columns, np.ones(rows))
            into = trace_table(model_of(session))
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
            stored = ingest(session, model_of(session), table)
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
        all_of([threading.Thread(target=send, args=(where, kind, share, accepted)) for share in shares])
        taken = time.perf_counter() - began
        assert sum(accepted) == batches * rows, f"{sum(accepted)} of {batches * rows} rows were taken"
        return batches * rows / taken

    return measure


def send(where: Place, kind: str, bodies: Sequence[bytes], accepted: list[int]) -> None:
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
    gc.freeze()  # as the processes that store do
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
