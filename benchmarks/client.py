"""What logging costs a serving process, how fast rows get to the table, and what an outage of the server loses.

python -m benchmarks.client [--quick]

The API runs as a process of its own over an embedded PostgreSQL; in the outage it is killed, and started again.
"""

import argparse
import gzip
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.output import Goal, report
from benchmarks.replay import MODEL, made_history
from benchmarks.server import server
from monitor.acts.sampling import configure_sampling
from monitor.acts.tokens import create_token
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.backtest import model_settings
from monitor.cli.enroll import Enrolment, enroll
from monitor.client import TraceLogger
from monitor.client.lines import trace_line
from monitor.client.transport import Answer, Http
from monitor.db.engine import database_now, make_engine, transaction
from monitor.db.registry import model_named
from monitor.db.scratch import scratch_database
from monitor.db.traces import read_traces
from monitor.intake.formats import LINES
from monitor.intake.plan import IntakePlan
from monitor.intake.write_counts import write_counts
from monitor.windows import Window

GOAL_MICROSECONDS = 20.0
PACE_SECONDS = 0.001
TODAY = Window(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1))


@dataclass(frozen=True, kw_only=True)
class House:
    """A database with a model of 20 features, a producer's token, and where the API is to listen."""

    database_url: str
    port: int
    token: str
    folder: Path

    def logger(self, **settings: Any) -> TraceLogger:
        return TraceLogger(f"http://127.0.0.1:{self.port}", MODEL, self.token, **settings)

    @contextmanager
    def api(self) -> Iterator[None]:
        """The API, until it is killed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor.cli.app", "api"],
            env=os.environ
            | {"DATABASE_URL": self.database_url, "HOLDFAST_PORT": str(self.port), "HOLDFAST_HOME": str(self.folder)},
        )
        try:
            self._wait()
            yield
        finally:
            process.kill()
            process.wait()

    def _wait(self) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v1/openapi.json", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def stored(self, prefix: str) -> tuple[int, int]:
        """Rows in the table whose id begins so, and how many different ones."""
        engine = make_engine(self.database_url)
        with transaction(engine) as session:
            ids = read_traces(session, model_named(session, MODEL), TODAY)["trace_id"]
        engine.dispose()
        found = ids[ids.str.startswith(prefix)]
        return len(found), found.nunique()


@contextmanager
def made_house(seed: int) -> Iterator[House]:
    history = made_history(30, 200, seed)
    enrolment = Enrolment(
        name=MODEL, owner="benchmark", task=history.task, schema=history.schema,
        settings=model_settings(history, policy=False),
        windows=[(tick, history.within(tick)) for tick in history.reference_ticks],
        judged=history.within(history.reference),
    )  # fmt: skip
    with (
        server() as running, scratch_database(running) as url, tempfile.TemporaryDirectory() as folder,
        socket.socket() as probe,
    ):  # fmt: skip
        engine = make_engine(url)
        with transaction(engine) as session:
            now = database_now(session)
            enroll(session, enrolment, by=COMMAND_LINE, now=now)
            _, token = create_token(session, name="benchmark", roles=["producer"], by=COMMAND_LINE, now=now)
        engine.dispose()
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        yield House(database_url=url, port=port, token=token, folder=Path(folder))


def made_rows(count: int, seed: int) -> list[dict[str, Any]]:
    """Nineteen numbers and a category."""
    rng = random.Random(seed)
    return [
        {f"x{j}": rng.gauss(0, 1) for j in range(19)} | {"channel": rng.choice(("app", "web", "pos"))}
        for _ in range(count)
    ]


def microseconds(
    house: House, rows: list[dict[str, Any]], calls: int, pace: float, *, profiles: bool = False
) -> dict[str, float]:
    """Of `log` in the caller's thread while batches go out, at a pace or as fast as it can."""
    taken = []
    with house.logger(max_rows=calls + 1, profiles=profiles) as logger:
        for i in range(calls):
            row = rows[i % len(rows)]
            started = time.perf_counter_ns()
            logger.log(row, score=0.25, prediction="1", version="v1")
            taken.append((time.perf_counter_ns() - started) / 1_000)
            if pace:
                time.sleep(pace)
        logger.flush(120)
    taken.sort()
    return {"median": taken[calls // 2], "p99": taken[int(calls * 0.99)], "max": taken[-1]}


def rows_per_second(house: House, rows: list[dict[str, Any]], count: int) -> float:
    """From the first call to the last acknowledgement."""
    with house.logger(max_rows=count + 1) as logger:
        started = time.perf_counter()
        for i in range(count):
            logger.log(rows[i % len(rows)], score=0.25, prediction="1", version="v1")
        if not logger.flush(600):
            raise RuntimeError(f"expected every row to be acknowledged, got {logger.counters}")
        return count / (time.perf_counter() - started)


class Weighing:
    """The real transport, and the bytes of the bodies that went through it."""

    def __init__(self, url: str) -> None:
        self._http, self.sent = Http(url), 0

    def send(self, path: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        self.sent += len(body)
        return self._http.send(path, body, headers, timeout_seconds)

    def fetch(self, path: str, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        answer = self._http.fetch(path, headers, timeout_seconds)
        self.sent += len(answer.body)
        return answer

    def close(self) -> None:
        self._http.close()


def travelling(house: House, rows: list[dict[str, Any]], count: int, *, profiles: bool) -> dict[str, float]:
    """Of rows that are kept at a rate of .05: bytes a row, and rows a second from the first call to the last answer."""
    transport = Weighing(f"http://127.0.0.1:{house.port}")
    settings = {"max_rows": count + 1, "batch_rows": 2_000, "transport": transport, "profiles": profiles}
    with house.logger(**settings) as logger:
        started = time.perf_counter()
        for i in range(count):
            logger.log(rows[i % len(rows)], score=0.25, prediction="1", version="v1")
        if not logger.flush(600):
            raise RuntimeError(f"expected every row to be acknowledged, got {logger.counters}")
        taken = time.perf_counter() - started
    if logger.counters.profiled != count * profiles or logger.counters.accepted != count:
        raise RuntimeError(f"expected {count} new rows, counted here: {profiles}, got {logger.counters}")
    return {"bytes a row": transport.sent / count, "rows/s": count / taken}


def stored_per_second(house: House, rows: list[dict[str, Any]], count: int, *, profiles: bool) -> float:
    """Rows a second that the server takes from one sender who made the bodies before."""
    http, way = Http(f"http://127.0.0.1:{house.port}"), "profiles" if profiles else "traces"
    headers = {"Authorization": f"Bearer {house.token}", "Content-Type": LINES, "Content-Encoding": "gzip"}
    path, now = f"/v1/models/{MODEL}", datetime.now(UTC)
    plan = IntakePlan.from_document(json.loads(http.fetch(f"{path}/intake", headers, 60).body))
    bodies = []
    for start in range(0, count, 2_000):
        lines = [
            trace_line(rows[i % len(rows)], f"{way}-{count}-{i}", now, "v1", 0.25, "1")
            for i in range(start, start + 2_000)
        ]
        body = write_counts(lines, plan, now=now) if profiles else b"".join(lines)
        assert body is not None
        bodies.append(gzip.compress(body, 1))
    started = time.perf_counter()
    for body in bodies:
        answer = http.send(f"{path}/{way}", body, headers, 60)
        if json.loads(answer.body).get("accepted") != 2_000:
            raise RuntimeError(f"expected 2,000 new rows, got {answer.body!r}")
    http.close()
    return count / (time.perf_counter() - started)


def keep_one_in_twenty(house: House) -> None:
    engine = make_engine(house.database_url)
    with transaction(engine) as session:
        configure_sampling(
            session, model_named(session, MODEL), rate=0.05, by=COMMAND_LINE, now=database_now(session)
        )  # fmt: skip
    engine.dispose()


def outage(house: House, rows: list[dict[str, Any]], away_seconds: float) -> dict[str, Any]:
    """Two threads log 500 rows a second each; the server is killed under them, and is away for a while."""
    stop, before = threading.Event(), 5.0

    def work(name: str) -> None:
        number, started = 0, time.perf_counter()
        while not stop.is_set():
            logger.log(rows[number % len(rows)], trace_id=f"outage-{name}-{number}", score=0.25)
            number += 1
            time.sleep(max(0.0, started + number / 500 - time.perf_counter()))

    with house.logger(spool_dir=house.folder / "spool") as logger:
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        with house.api():
            for thread in threads:
                thread.start()
            time.sleep(before)
        time.sleep(away_seconds)
        during = logger.counters
        with house.api():
            back = time.perf_counter()
            time.sleep(before)
            stop.set()
            for thread in threads:
                thread.join()
            logger.flush(600)
            caught_up = time.perf_counter() - back
        told = logger.counters
    stored, different = house.stored("outage-")
    return {
        "logged": told.logged, "on disk at its end": during.spooled, "stored": stored, "lost": told.logged - different,
        "twice": stored - different, "acknowledged twice": told.duplicate, "dropped": told.dropped,
        "retries": told.retries, "seconds until all was there": caught_up,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, an outage of 5 seconds")
    parser.add_argument("--peers", action="store_true", help="there are none for this question")
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    calls, paced, count, away = (5_000, 2_000, 20_000, 5.0) if options.quick else (50_000, 20_000, 200_000, 60.0)
    rows = made_rows(1_000, options.seed)
    figures: dict[str, Any] = {"features": 20}
    with made_house(options.seed) as house:
        with house.api():
            microseconds(house, rows, 1_000, 0)  # the server's first batches plan their statements
            for name, value in microseconds(house, rows, calls, 0).items():
                figures[f"log, as fast as it can, {name} µs"] = value
            for name, value in microseconds(house, rows, paced, PACE_SECONDS).items():
                figures[f"log, a call each ms, {name} µs"] = value
            figures["rows/s into the table"] = rows_per_second(house, rows, count)
        found = outage(house, rows, away)
        keep_one_in_twenty(house)
        with house.api():
            travelling(house, rows, 2_000, profiles=True)
            for name, value in microseconds(house, rows, paced, PACE_SECONDS, profiles=True).items():
                figures[f"log, a call each ms, counting, {name} µs"] = value
            for name, profiles in (("as they are", False), ("as counts and a sample", True)):
                for what, value in travelling(house, rows, count, profiles=profiles).items():
                    figures[f"rows kept at .05, sent {name}, {what}"] = value
                stored_per_second(house, rows, 2_000, profiles=profiles)
                figures[f"rows kept at .05, sent {name}, rows/s of the server alone"] = stored_per_second(
                    house, rows, count, profiles=profiles
                )
    figures |= {f"outage of {away:g} s, {name}": value for name, value in found.items()}
    cost = max(value for name, value in figures.items() if name.endswith("median µs"))
    wrong = found["lost"] + found["twice"]
    goals = [
        Goal(name="µs a trace in the caller's thread", target="≤ 20", value=cost, met=cost <= GOAL_MICROSECONDS),
        Goal(name=f"rows lost or twice, {away:g} s without a server", target="0", value=wrong, met=wrong == 0),
    ]
    report("client", figures, goals=goals)


if __name__ == "__main__":
    main()
