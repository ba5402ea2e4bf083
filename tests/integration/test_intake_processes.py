"""Batches that are stored in processes beside the one that answers: each counts once, whatever becomes of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import orjson
import psutil
import pytest

from monitor.acts.tokens import create_token
from monitor.api.storing import InProcesses
from monitor.db.engine import database_now, transaction
from monitor.intake.formats import LINES
from tests.integration.test_intake import FRAME, add_model, rows
from tests.integration.test_intake_http import ROOT, ROWS, Sender, as_rows, open_intake, stored
from tests.unguarded import unguarded


@pytest.fixture
def sender(engine, database_url, tmp_path) -> Iterator[Sender]:
    storing = InProcesses(database_url, 1)
    with open_intake(engine, tmp_path, storing=storing) as made:
        yield made
    storing.close()


def processes(parent: int | None = None) -> list[psutil.Process]:
    """Those that store."""
    found = psutil.Process(parent).children(recursive=True)
    return [one for one in found if "spawn_main" in " ".join(one.cmdline())]


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.05)


def test_answers_and_refusals_are_those_of_any_other_way(engine, sender):
    answer = sender.send(orjson.dumps([*ROWS, {"trace_id": "late", "event_time": "never", "amount": 1.0}]))
    assert (answer.status, answer.document["accepted"], answer.document["quarantined_total"]) == (200, len(ROWS), 1)
    assert answer.document["quarantined"][0]["position"] == len(ROWS)
    assert len(stored(engine)) == len(FRAME)
    assert sender.send(orjson.dumps(ROWS)).document["duplicate"] == len(ROWS)
    refused = sender.send(b"[{")
    assert (refused.status, refused.headers["content-type"]) == (422, "application/problem+json")


def test_a_refusal_is_told_by_its_own_name(sender):
    head = {
        "version": "v1",
        "bucket": "2026-03-02T00:00:00Z",
        "binning_id": "",
        "ids": ["a"],
        "times": [0],
        "counts": "",
    }
    answer = sender.send(
        orjson.dumps({"stamp": "old", "sample": 0, "parts": [head]}) + b"\n", to="profiles", kind=LINES
    )
    assert (answer.status, answer.document["type"]) == (409, "urn:holdfast:stale-plan")


def test_a_process_that_dies_is_replaced_and_the_batch_can_come_again(engine, sender):
    assert sender.send(orjson.dumps(ROWS)).status == 200
    for one in processes():
        one.kill()
        one.wait()
    more = orjson.dumps(as_rows(rows(20, start=900)))
    answers = [sender.send(more) for _ in range(3)]
    assert [answer.status for answer in answers][-1] == 200
    assert {answer.status for answer in answers} <= {200, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status == 503)
    assert len(stored(engine)) == len(ROWS) + 20


@contextmanager
def api(database_url: str, home: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"DATABASE_URL": database_url, "HOLDFAST_HOME": home, "HOLDFAST_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor.cli.app", "api"], env=environment, stderr=subprocess.PIPE
    )
    try:
        until(lambda: _answers(port), 60)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_the_one_that_answers(engine, database_url, tmp_path, how):
    with transaction(engine) as session, unguarded(session):
        add_model(session)
        _, secret = create_token(session, name="shop", roles=["producer"], by=ROOT, now=database_now(session))
    with api(database_url, str(tmp_path)) as (process, url):
        assert Sender(url, secret).send(orjson.dumps(ROWS)).status == 200
        storing = processes(process.pid)
        assert storing
        process.send_signal(how)
        assert process.wait(20) == (0 if how is signal.SIGTERM else -signal.SIGKILL)
        until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in storing))
        assert process.stderr is not None
        if how is signal.SIGTERM:
            assert process.stderr.read() == b""
