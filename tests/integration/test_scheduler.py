"""The alarm clock rings, whatever goes wrong in one of its acts."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor import scheduler
from monitor.db.audit import record
from monitor.db.audit_heads import Keeper, read_heads
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job, claim, enqueue
from tests.streams import REFERENCE_DAYS, World, register, rows_of, serve


def test_the_clock_signs_heads_of_the_audit_trail_where_it_knows_a_keeper(engine: Engine, tmp_path: Path):
    clock = scheduler.start(engine, every_seconds=60, keeper=Keeper.of(tmp_path))
    try:
        job = clock.get_job("keep_head")
        assert job is not None
        with transaction(engine) as session:
            record(session, "a", by="ann", subject="s", at=database_now(session))
        job.func(*job.args)
    finally:
        clock.shutdown()
    assert len(read_heads(tmp_path / "audit" / "heads.jsonl", tmp_path / "audit" / "key.pub")) == 1


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
