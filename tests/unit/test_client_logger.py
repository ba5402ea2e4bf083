"""What a serving process sees: it never waits, never fails, and every thread, fork and decorator is accounted for."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import UserDict
from pathlib import Path
from typing import Any

import pytest

from monitor.client import Answer, TraceLogger
from tests.posting import Server, unreachable
from tests.web import receiving

ROOT = Path(__file__).resolve().parents[2]
TAKEN = json.dumps({"accepted": 0, "duplicate": 0}).encode()


def logger_to(server: Any, **settings: Any) -> TraceLogger:
    return TraceLogger("http://127.0.0.1:1", "fraud", "hf_t", transport=server, flush_seconds=0.05, **settings)


def traces(server: Server) -> dict[str, dict[str, Any]]:
    return {row["trace_id"]: row for path, row in server.table.items() if "/traces/" in path}


def test_rows_arrive_by_themselves_and_the_id_is_told_at_once():
    server = Server()
    with logger_to(server) as logger:
        known = logger.log({"amount": 1.5}, score=0.25, prediction="1", version="v1")
        logger.label(known, 1)
        assert logger.flush(10)
    (row,) = traces(server).values()
    assert {**row, "event_time": 0} == {
        "amount": 1.5, "score": 0.25, "prediction": "1", "version": "v1", "trace_id": known, "event_time": 0,
    }  # fmt: skip
    assert (logger.counters.logged, logger.counters.accepted, logger.counters.waiting) == (2, 2, 0)


def test_a_mapping_is_logged_as_it_was_when_it_was_logged():
    server = Server()
    row = {"amount": 1}
    with logger_to(server) as logger:
        known = logger.log(row)
        row["amount"] = 2
        other = logger.log(UserDict(row))
    assert [traces(server)[name]["amount"] for name in (known, other)] == [1, 2]


def test_twenty_threads_lose_nothing_and_no_id_comes_twice():
    server = Server()
    with logger_to(server, max_rows=100_000) as logger:

        def work() -> None:
            for i in range(500):
                logger.log({"i": i})

        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert logger.flush(60)
    assert len(server.table) == logger.counters.logged == logger.counters.accepted == 10_000


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    def keys(self) -> list[str]:
        raise RuntimeError("no keys for you")


@pytest.mark.parametrize("features", [None, 7, "abc", Hostile(), [1, 2], {"x": Hostile()}])
def test_nothing_that_is_logged_raises_and_what_cannot_be_a_row_is_counted(features):
    server = Server()
    with logger_to(server) as logger:
        assert logger.log(features)
        known = logger.log({"x": 1}, trace_id=None)
        logger.label(known, Hostile())
        logger.flush(10)
    assert list(traces(server)) == [known]
    assert logger.counters.refused == 2


def test_a_server_that_never_answers_holds_nobody_up():
    held = threading.Event()

    class Silent(Server):
        def send(self, *arguments: Any) -> Answer:
            held.wait(20)
            return unreachable([])

    logger = logger_to(Silent(), max_rows=1_000, timeout_seconds=0.1)
    for i in range(3_000):
        logger.log({"i": i})
    assert logger.counters.waiting <= 1_001
    assert logger.counters.dropped >= 1_999
    assert not logger.flush(0.1)
    held.set()
    logger.close(0.1)
    told = logger.counters
    assert told.logged == told.dropped + told.waiting == 3_000


def test_a_fault_in_the_courier_is_said_and_survived(caplog):
    server = Server()
    broken = [True]

    class Broken(Server):
        def send(self, *arguments: Any) -> Answer:
            if broken:
                broken.pop()
                raise RuntimeError("a fault")
            return server.send(*arguments)

    with logger_to(Broken()) as logger:
        logger.log({"x": 1})
        assert logger.flush(10)
    assert len(server.table) == 1
    assert "RuntimeError: a fault" in caplog.text


def test_after_close_rows_are_dropped_and_counted_and_close_may_come_again():
    logger = logger_to(server := Server())
    logger.log({"x": 1})
    assert logger.close()
    assert logger.log({"x": 2})
    logger.label("a", 1)
    assert logger.close()
    assert (logger.counters.accepted, logger.counters.dropped, len(server.table)) == (1, 2, 1)
    assert not any(thread.name == "holdfast-fraud" for thread in threading.enumerate())


def test_close_in_an_outage_keeps_the_rows_on_disk_for_the_next_start(tmp_path):
    server = Server(instead=unreachable)
    with logger_to(server, spool_dir=tmp_path) as logger:
        for i in range(10):
            logger.log({"i": i})
        logger.close(0.2)
    assert logger.counters.dropped == 0
    server.instead = lambda rows: None
    with logger_to(server, spool_dir=tmp_path) as after:
        until = time.monotonic() + 20
        while after.counters.recovered < 10 and time.monotonic() < until:
            time.sleep(0.02)
    assert sorted(row["i"] for row in server.table.values()) == list(range(10))


def test_settings_come_from_the_environment_and_what_is_missing_is_said_at_the_start(monkeypatch):
    monkeypatch.delenv("HOLDFAST_URL", raising=False)
    monkeypatch.delenv("HOLDFAST_TOKEN", raising=False)
    for settings, missing in (
        ({"url": "http://a", "token": "t"}, "name of a model"),
        ({"url": "http://a", "model": "m"}, "token"),
        ({"url": "http://a", "model": "m", "token": "hf_a\r\nHost: b"}, "token"),
        ({"model": "m", "token": "t"}, "HOLDFAST_URL"),
        ({"url": "ftp://a", "model": "m", "token": "t"}, "HOLDFAST_URL"),
        ({"url": "http://a", "model": "m", "token": "t", "batch_rows": 0}, "above 0"),
    ):
        with pytest.raises(ValueError, match=missing):
            TraceLogger(**settings)  # type: ignore[arg-type]
    with receiving() as receiver:
        receiver.status = 503
        monkeypatch.setenv("HOLDFAST_URL", receiver.url.partition("/hook")[0] + "/base/v1/")
        monkeypatch.setenv("HOLDFAST_TOKEN", "hf_environment\n")
        logger = TraceLogger(model="fraud", flush_seconds=0.05)
        logger.log({"x": 1})
        assert not logger.close(0.5)
    assert receiver.got[0][0]["authorization"] == "Bearer hf_environment"


def test_a_decorated_function_is_logged_with_what_it_took_and_returned():
    with logger_to(server := Server()) as logger:

        @logger.traced(outcome=lambda result: {"score": result}, trace_id=lambda row: f"pay-{row['id']}", version="v3")
        def predict(row: dict[str, Any]) -> float:
            """Doc."""
            row["amount"] = 0  # what the function does to its row afterwards is not logged
            return 0.75

        @logger.traced()
        def by_name(amount: float, channel: str = "app") -> dict[str, Any]:
            return {"score": 0.5, "prediction": "no", "reason": "none"}

        class Service:
            @logger.traced(features=lambda self, request: request["inputs"])
            async def predict(self, request: dict[str, Any]) -> str:
                return "yes"

        assert predict({"id": 1, "amount": 12}) == 0.75
        assert predict.__doc__ == "Doc."
        assert by_name(3.0, channel="web")["reason"] == "none"
        assert asyncio.run(Service().predict({"inputs": {"amount": 4}})) == "yes"
    rows = list(traces(server).values())
    for row in rows:
        del row["event_time"]
    assert rows[0] == {"id": 1, "amount": 12, "score": 0.75, "version": "v3", "trace_id": "pay-1"}
    del rows[1]["trace_id"], rows[2]["trace_id"]
    assert rows[1:] == [
        {"amount": 3.0, "channel": "web", "score": 0.5, "prediction": "no"}, {"amount": 4, "prediction": "yes"},
    ]  # fmt: skip


def test_a_decorated_function_raises_its_own_exceptions_and_never_those_of_logging():
    with logger_to(server := Server()) as logger:

        @logger.traced(outcome=lambda result: result.nothing, features=lambda row: row.nothing)
        def predict(row: dict[str, Any]) -> float:
            return 1 / row["amount"]

        with pytest.raises(ZeroDivisionError):
            predict({"amount": 0})
        assert predict({"amount": 2}) == 0.5
    assert server.table == {}
    assert (logger.counters.logged, logger.counters.refused) == (1, 1)


FORKS = """
import json, multiprocessing, os, sys
from monitor.client import TraceLogger

logger = TraceLogger(sys.argv[1], "fraud", "hf_t", spool_dir=sys.argv[2], flush_seconds=0.02)

def work(i):
    logger.log({"i": i}, trace_id=f"pool-{i}")

logger.log({"i": 0}, trace_id="parent-before")
first = [logger.log({"i": 1})]
child = os.fork()
if child == 0:
    told = {"logged": logger.counters.logged, "id": logger.log({"i": 2}), "sent": None}
    logger.log({"i": 3}, trace_id="child")
    logger.flush(20)
    told["sent"] = logger.counters.sent
    print(json.dumps(told), flush=True)
    os._exit(0)
os.waitpid(child, 0)
logger.log({"i": 4}, trace_id="parent-after")
print(json.dumps({"id": logger.log({"i": 5})}), flush=True)
processes = [multiprocessing.get_context("fork").Process(target=work, args=(i,)) for i in range(4)]
for process in processes:
    process.start()
for process in processes:
    process.join()
logger.close()
"""


def test_a_child_after_fork_sends_its_own_rows_and_leaves_the_parents_to_the_parent(tmp_path):
    with receiving() as receiver:
        receiver.status = 200
        receiver.body = TAKEN
        url = receiver.url.partition("/hook")[0]
        told = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS, url, str(tmp_path)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
    child, parent = (json.loads(line) for line in told.stdout.splitlines())
    assert (child["logged"], child["sent"]) == (0, 2)
    assert child["id"] != parent["id"]
    ids = [row["trace_id"] for row in receiver.rows]
    assert len(ids) == len(set(ids)) == 10
    assert {"parent-before", "child", "parent-after", *(f"pool-{i}" for i in range(4))} <= set(ids)
    assert told.stderr == ""


def test_what_was_logged_is_sent_when_the_interpreter_ends(tmp_path):
    script = "import sys; from monitor.client import TraceLogger; TraceLogger(sys.argv[1], 'm', 't').log({'x': 1})"
    with receiving() as receiver:
        receiver.status = 200
        receiver.body = TAKEN
        subprocess.run(
            [sys.executable, "-c", script, receiver.url.partition("/hook")[0]],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=True,
        )  # fmt: skip
    assert [row["x"] for row in receiver.rows] == [1]
