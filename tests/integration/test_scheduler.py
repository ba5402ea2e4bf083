"""The alarm clock rings, whatever goes wrong in one of its acts."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor import scheduler
from monitor.db.engine import transaction
from monitor.db.jobs import Job, claim, enqueue
from tests.streams import REFERENCE_DAYS, World, register, rows_of, serve


def _states(engine: Engine) -> dict[str, str]:
    return {job.kind: job.state for job in rows_of(engine, Job)}


def _until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_running_clock_plans_and_takes_back_lapsed_leases(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    with transaction(engine) as session:
        enqueue(session, "retain", stream="retain", payload={}, by="test")
    with transaction(engine) as session:
        claim(session, worker="dead", lease=timedelta(0))
    clock = scheduler.start(engine, every_seconds=0.1)
    try:
        serve(engine, World(), REFERENCE_DAYS)
        _until(lambda: _states(engine) == {"retain": "queued", "check_quality": "queued"})
    finally:
        clock.shutdown()


def test_one_failing_act_does_not_stop_the_others(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    def broken(engine: Engine) -> None:
        raise ConnectionError("the database is away")

    monkeypatch.setitem(scheduler._ACTS, "reap", broken)
    scheduler.tick(engine)
    assert _states(engine) == {"retain": "queued"}
