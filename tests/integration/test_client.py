"""The client against the real server and a real PostgreSQL: what is logged is in the table, once, whatever happens."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from monitor.acts.tokens import create_token
from monitor.client import TraceLogger
from monitor.client.counters import Counters
from monitor.client.transport import Http
from monitor.db.engine import database_now, transaction
from monitor.db.registry import model_named
from monitor.db.traces import read_traces
from monitor.vectors import Vector
from monitor.windows import Window
from tests.integration.test_intake import DAY, add_model, profile
from tests.integration.test_intake_http import ROOT
from tests.posting import SetClock, courier_of, log, run_for, unreachable
from tests.unguarded import unguarded
from tests.web import call, call_json, served

HERE = Path(__file__).resolve().parents[2]
ALWAYS = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


@dataclass
class House:
    """A model, a producer, and a server that can be stopped and started again on its port."""

    engine: Engine
    folder: Path
    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def served(self) -> Any:
        return served(self.engine, self.folder, port=self.port)

    def logger(self, **settings: Any) -> TraceLogger:
        return TraceLogger(self.url, "fraud", settings.pop("token", self.token), flush_seconds=0.1, **settings)

    def stored(self) -> pd.DataFrame:
        with transaction(self.engine) as session:
            return read_traces(session, model_named(session, "fraud"), ALWAYS)


@pytest.fixture
def house(engine: Engine, tmp_path: Path, free_port: int) -> House:
    with transaction(engine) as session, unguarded(session):
        add_model(session, vectors=(Vector(name="face", size=3),))
        _, secret = create_token(session, name="shop", roles=["producer"], by=ROOT, now=database_now(session))
    return House(engine, tmp_path / "artifacts", free_port, secret)


def until(met: Callable[[], bool], *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def all_is_settled(told: Counters) -> bool:
    return (told.waiting, told.spooled, told.dropped, told.refused) == (0, 0, 0, 0)


def test_what_is_logged_and_labelled_is_in_the_table_with_its_types(house):
    with house.served(), house.logger() as logger:
        first = logger.log(
            {"amount": 12.5, "channel": "app", "face": np.array([3, 0, 4], np.float32)}, event_time=DAY, version="v1",
            score=0.25, prediction=True,
        )  # fmt: skip
        second = logger.log({"amount": float("nan"), "channel": None})
        logger.label(first, True)
        assert logger.flush(20)
    rows = house.stored().set_index("trace_id")
    assert rows.loc[first, ["amount", "channel", "score", "prediction", "label"]].tolist() == [
        12.5, "app", 0.25, "1", "1",
    ]  # fmt: skip
    assert rows.loc[first, "event_time"] == DAY
    assert abs(rows.loc[second, "event_time"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert pd.isna(rows.loc[second, "amount"])
    assert rows.loc[first, "face.norm"] == 5.0
    assert (logger.counters.accepted, logger.counters.quarantined) == (3, 0)
    with transaction(house.engine) as session:
        counted = profile(session, model_named(session, "fraud"))
    assert counted is not None


@pytest.mark.slow
@pytest.mark.parametrize("spooled", [True, False])
def test_a_server_that_was_away_for_seconds_has_every_row_once(house, tmp_path, spooled):
    settings = {"spool_dir": tmp_path / "spool", "max_rows": 600} if spooled else {}
    stop = threading.Event()

    def work() -> None:
        for i in range(100_000):
            if stop.is_set():
                return
            known = logger.log({"amount": float(i), "channel": "app"})
            if i % 10 == 0:
                logger.label(known, i % 3 == 0)
            time.sleep(0.005)

    with house.logger(**settings) as logger:
        threads = [threading.Thread(target=work) for _ in range(2)]
        with house.served():
            for thread in threads:
                thread.start()
            until(lambda: logger.counters.accepted > 100)
        time.sleep(3)
        assert logger.counters.retries > 0
        if spooled:
            until(lambda: logger.counters.spooled > 0)
        with house.served():
            accepted = logger.counters.accepted
            until(lambda: logger.counters.accepted > accepted)
            stop.set()
            for thread in threads:
                thread.join()
            assert logger.flush(60)
    told, rows = logger.counters, house.stored()
    assert all_is_settled(told)
    assert len(rows) + rows["label"].notna().sum() == told.logged == told.sent
    assert rows["trace_id"].is_unique


@pytest.mark.slow
def test_after_an_outage_of_ten_minutes_the_table_holds_what_was_logged(house, tmp_path):
    """Ten minutes of the client's clock; the server and its table are real."""
    clock, http = SetClock(), Http(house.url)

    class Away:
        def send(self, *arguments: Any) -> Any:
            return unreachable([]) if 1_060 < clock.now < 1_660 else http.send(*arguments)

        def close(self) -> None:
            http.close()

    courier = courier_of(Away(), clock, folder=tmp_path / "spool", max_rows=1_000)
    courier.token = house.token
    with house.served():
        for second in range(720):
            log(courier, *(f"{second}-{i}" for i in range(5)))
            run_for(courier, clock, 1)
        run_for(courier, clock, 60)
        courier.finish()
    told = courier.counters()
    assert (told.logged, told.accepted, told.duplicate) == (3_600, 3_600, 0)
    assert all_is_settled(told)
    assert set(house.stored()["trace_id"]) == {f"{second}-{i}" for second in range(720) for i in range(5)}


KILLED = """
import sys, time
from monitor.client import TraceLogger

logger = TraceLogger(sys.argv[1], "fraud", sys.argv[2], spool_dir=sys.argv[3], flush_seconds=0.05, max_rows=400)
number = 0
while True:
    logger.log({"amount": float(number), "channel": "app"}, trace_id=f"{sys.argv[4]}-{number}")
    number += 1
    if number % 100 == 0:
        time.sleep(0.05)
        print(logger.counters.spooled, flush=True)
"""


@pytest.mark.slow
def test_nothing_that_was_on_disk_is_lost_when_processes_are_killed(house, tmp_path):
    spool = tmp_path / "spool"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, house.url, house.token, str(spool), name],
            env=os.environ | {"PYTHONPATH": str(HERE)}, stdout=subprocess.PIPE, text=True,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 2_000:
            pass
        process.kill()
        process.wait()
        process.stdout.close()
    on_disk = [
        json.loads(line)["trace_id"]
        for file in sorted(spool.rglob("*.traces"))
        for line in file.read_bytes().rpartition(b"\n")[0].splitlines()
    ]
    assert len(on_disk) >= 4_000
    with house.served(), house.logger(spool_dir=spool) as logger:
        until(lambda: logger.counters.recovered == len(on_disk))
        logger.log({"amount": 1.0, "channel": "web"}, trace_id="next")
        assert logger.flush(20)
    assert set(house.stored()["trace_id"]) == {*on_disk, "next"}
    assert logger.counters.accepted == len(on_disk) + 1
    assert [path for path in spool.rglob("*") if path.is_file()] == []


def test_a_server_that_answers_too_late_has_the_rows_once(house):
    """The client gives a request up while the server waits for a lock, and sends again what is stored then."""
    with house.served(), house.logger(timeout_seconds=0.3) as logger:
        with transaction(house.engine) as session:
            model = model_named(session, "fraud")
            session.execute(text(f"LOCK TABLE traces.ledger_m{model.id} IN ACCESS EXCLUSIVE MODE"))
            for i in range(50):
                logger.log({"amount": float(i), "channel": "app"})
            until(lambda: logger.counters.retries > 0)
        assert logger.flush(60)
    told = logger.counters
    assert (told.logged, told.sent, len(house.stored())) == (50, 50, 50)
    assert told.duplicate == 50 - told.accepted


@pytest.mark.slow
def test_a_wrong_token_is_said_once_and_the_rows_wait_for_the_right_one(house, tmp_path, caplog):
    with house.served():
        with house.logger(token="hf_wrong", spool_dir=tmp_path / "spool") as logger:
            for i in range(1_500):
                logger.log({"amount": float(i), "channel": "app"})
            assert not logger.flush(1)
        assert sum("401" in record.message for record in caplog.records) == 1
        assert "holdfast token create" in caplog.text
        assert "hf_wrong" not in caplog.text
        with house.logger(spool_dir=tmp_path / "spool") as logger:
            until(lambda: logger.counters.recovered == 1_500)
    assert len(house.stored()) == 1_500


def test_rows_that_come_again_in_any_order_count_once(house):
    rows = [{"amount": float(i), "channel": "app"} for i in range(300)]
    with house.served():
        for seed in range(3):
            order = list(range(300)) * 2
            random.Random(seed).shuffle(order)
            with house.logger(batch_rows=70) as logger:
                for i in order:
                    logger.log(rows[i], trace_id=f"t{i}", event_time=DAY + timedelta(minutes=i))
                assert logger.flush(20)
            assert logger.counters.sent == 600
    assert sorted(house.stored()["trace_id"]) == sorted(f"t{i}" for i in range(300))


def test_a_row_larger_than_any_request_is_kept_apart_and_the_others_arrive(house, tmp_path, caplog):
    huge = random.Random(1).randbytes(6 * 2**20).hex()
    with house.served(), house.logger(spool_dir=tmp_path / "spool", timeout_seconds=20) as logger:
        for i in range(20):
            logger.log({"amount": float(i), "channel": huge if i == 7 else "app"}, trace_id=f"t{i}")
        assert logger.flush(60)
    assert len(house.stored()) == 19
    assert (logger.counters.refused, logger.counters.accepted) == (1, 19)
    (kept,) = (tmp_path / "spool" / "fraud" / "refused.traces").read_bytes().splitlines()
    assert json.loads(kept)["trace_id"] == "t7"
    assert "413: expected a body of at most" in caplog.text


@pytest.fixture
def service(house: House, tmp_path: Path) -> Iterator[str]:
    """The FastAPI example as its docstring starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HOLDFAST_URL": house.url, "HOLDFAST_TOKEN": house.token, "SPOOL_DIR": str(tmp_path / "spool")}
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--app-dir", "examples", "fastapi_middleware:app", "--port", str(port)],
        cwd=HERE, env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(20)


@pytest.mark.slow
def test_the_fastapi_example_logs_what_it_serves(house, service):
    body = {"amount": 12.5, "age": 40, "balance": 900, "channel": "web"}
    with house.served():
        until(lambda: _up(service))
        status, answer, headers = call(
            f"{service}/predict", body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        assert status == 200
        known = headers["x-trace-id"]
        assert call_json(f"{service}/truth", {"trace_id": known, "fraud": True})[0] == 200
        assert call_json(f"{service}/predict", {"amount": "much"})[0] == 422
        until(lambda: len(house.stored()) == 1 and house.stored()["label"].notna().all())
    (row,) = house.stored().to_dict("records")
    assert (row["trace_id"], row["amount"], row["channel"], row["label"]) == (known, 12.5, "web", "1")
    assert row["score"] == pytest.approx(json.loads(answer)["score"])


def _up(url: str) -> bool:
    try:
        return call(f"{url}/docs")[0] == 200
    except OSError:
        return False
