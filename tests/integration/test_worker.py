"""A worker holds its jobs by leases, stores what went wrong, and gives back what it cannot finish."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update

from monitor.db.checks import CheckRun
from monitor.db.engine import transaction
from monitor.db.jobs import Claimed, Job, claim, enqueue, reap
from monitor.errors import BadInput, JobCancelled, JobFailed, LeaseLost
from monitor.jobs import worker as worker_module
from monitor.jobs.child import run_in_child
from monitor.jobs.context import Tools, effect
from monitor.jobs.plan import plan
from monitor.jobs.worker import Worker, work_beside
from tests.streams import REFERENCE_DAYS, World, register, rows_of, runs_of, serve_days, tools_for

LEASE, BEAT = timedelta(seconds=1), timedelta(milliseconds=200)


def _queue(engine: Engine, kind: str) -> None:
    with transaction(engine) as session:
        enqueue(session, kind, stream=kind, payload={}, by="test")


def _job(engine: Engine) -> Job:
    (job,) = rows_of(engine, Job)
    return job


def _handle(monkeypatch: pytest.MonkeyPatch, handler: Callable[[Tools, Claimed], None]) -> None:
    monkeypatch.setattr(worker_module, "handler_of", lambda kind: handler)


def test_no_job_due_is_no_work(engine: Engine, tmp_path: Path):
    assert not Worker(tools_for(engine, tmp_path), "one").run_once()


def test_a_job_of_an_unknown_kind_fails_with_a_sentence_and_is_tried_again(engine: Engine, tmp_path: Path):
    _queue(engine, "divine")
    assert Worker(tools_for(engine, tmp_path), "one").run_once()
    job = _job(engine)
    assert job.state == "queued"
    assert str(job.last_error).startswith("no handler for jobs of kind 'divine'; there are check_quality")


def test_a_job_that_fails_five_times_is_dead(engine: Engine, tmp_path: Path):
    _queue(engine, "divine")
    for _ in range(5):
        with transaction(engine) as session:
            session.execute(update(Job).values(run_at=Job.created_at))
        Worker(tools_for(engine, tmp_path), "one").run_once()
    assert _job(engine).state == "dead"


def test_a_long_job_keeps_its_lease_by_heartbeats(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def patient(tools: Tools, job: Claimed) -> None:
        time.sleep(1.6 * LEASE.total_seconds())
        with transaction(engine) as session:
            assert reap(session) == 0
        with effect(tools, job):
            pass

    _handle(monkeypatch, patient)
    _queue(engine, "patient")
    Worker(tools_for(engine, tmp_path), "one", lease=LEASE, beat=BEAT).run_once()
    assert _job(engine).state == "done"


def test_a_campaign_of_minutes_holds_up_no_other_job(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    over = threading.Event()

    def handle(tools: Tools, job: Claimed) -> None:
        if job.kind == "campaign":
            assert over.wait(30)  # until the other job is done
        with effect(tools, job):
            pass
        if job.kind != "campaign":
            over.set()

    _handle(monkeypatch, handle)
    for kind in ("campaign", "retain"):
        _queue(engine, kind)

    def all_done() -> bool:
        return all(job.state in ("done", "queued") for job in rows_of(engine, Job)) and over.is_set()

    work_beside(tools_for(engine, tmp_path), "one", all_done)
    assert {job.kind: job.state for job in rows_of(engine, Job)} == {"campaign": "done", "retain": "done"}


def test_a_worker_that_lost_its_lease_rolls_back_what_it_wrote(engine: Engine, tmp_path: Path):
    _queue(engine, "slow")
    with transaction(engine) as session:
        mine = claim(session, worker="one", lease=timedelta(0))
        assert mine is not None
    with transaction(engine) as session:
        reap(session)
    with transaction(engine) as session:
        claim(session, worker="two", lease=LEASE)
    with pytest.raises(LeaseLost), effect(tools_for(engine, tmp_path), mine) as session:
        enqueue(session, "written", stream="written", payload={}, by="test")
    assert [job.kind for job in rows_of(engine, Job)] == ["slow"]


def test_a_worker_that_is_told_to_stop_gives_back_the_rest_of_its_windows(engine: Engine, tmp_path: Path):
    register(engine, World())
    serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 3)
    with transaction(engine) as session:
        plan(session)
    Worker(tools_for(engine, tmp_path, stopping=lambda: True), "one", kinds=["check_quality"]).run_once()
    assert len(runs_of(engine, "quality")) == 1
    Worker(tools_for(engine, tmp_path), "two", kinds=["check_quality"]).run_once()
    assert len(runs_of(engine, "quality")) == 3 == len(rows_of(engine, CheckRun))


def succeed(folder: Path, on_progress: Callable[[dict[str, object]], None]) -> None:
    on_progress({"done": 1, "total": 1, "sentence": "half way"})
    (folder / "result").write_text("42")


def complain(folder: Path, on_progress: object) -> None:
    raise BadInput("expected rows, got none")


def die(folder: Path, on_progress: object) -> None:
    import ctypes

    ctypes.string_at(0)


def hang(folder: Path, on_progress: object) -> None:
    while True:
        time.sleep(0.1)


def look_for_secrets(folder: Path, on_progress: object) -> None:
    import os

    here = Path("/proc/self/environ").read_bytes().decode() if Path("/proc/self/environ").exists() else ""
    (folder / "result").write_text(f"{'DATABASE_URL' in os.environ} {'DATABASE_URL=' in here}")


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return tools_for(None, tmp_path, children=True)


@pytest.mark.slow
def test_a_child_reports_progress_and_leaves_its_result_in_the_folder(tools: Tools, tmp_path: Path):
    told: list[object] = []
    run_in_child(f"{__name__}:succeed", tmp_path, tools=tools, on_progress=told.append)
    assert (tmp_path / "result").read_text() == "42"
    assert told == [{"done": 1, "total": 1, "sentence": "half way"}]


@pytest.mark.slow
def test_what_a_child_raises_on_purpose_is_raised_here(tools: Tools, tmp_path: Path):
    with pytest.raises(BadInput, match="expected rows, got none"):
        run_in_child(f"{__name__}:complain", tmp_path, tools=tools)


@pytest.mark.slow
def test_a_segfault_ends_the_child_alone(tools: Tools, tmp_path: Path):
    with pytest.raises(JobFailed, match="SIGSEGV"):
        run_in_child(f"{__name__}:die", tmp_path, tools=tools)


@pytest.mark.slow
def test_an_endless_loop_is_ended_by_the_clock_or_by_a_person(tools: Tools, tmp_path: Path):
    with pytest.raises(JobFailed, match="longer than 1 s"):
        run_in_child(f"{__name__}:hang", tmp_path, tools=tools, limit_seconds=1)
    with pytest.raises(JobCancelled):
        run_in_child(f"{__name__}:hang", tmp_path, tools=tools, should_stop=lambda: True)


@pytest.mark.slow
def test_too_much_memory_ends_the_child(tools: Tools, tmp_path: Path):
    with pytest.raises(JobFailed, match="GiB"):
        run_in_child(f"{__name__}:hang", tmp_path, tools=tools, memory_bytes=1)


@pytest.mark.slow
def test_a_child_has_no_database_address(tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    run_in_child(f"{__name__}:look_for_secrets", tmp_path, tools=tools)
    assert (tmp_path / "result").read_text() == "False False"


def test_without_children_the_same_function_runs_here(tools: Tools, tmp_path: Path):
    told: list[object] = []
    run_in_child(f"{__name__}:succeed", tmp_path, tools=tools_for(None, tmp_path), on_progress=told.append)
    assert (tmp_path / "result").read_text() == "42"
    assert len(told) == 1


def test_what_is_stored_of_a_database_error_holds_no_values(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def stumble(tools: Tools, job: Claimed) -> None:
        with transaction(tools.engine) as session:
            session.execute(text("SELECT CAST(:given AS int), :secret"), {"given": "no number", "secret": "hunter2"})

    _handle(monkeypatch, stumble)
    _queue(engine, "stumble")
    Worker(tools_for(engine, tmp_path), "one").run_once()
    told = str(_job(engine).last_error)
    assert "invalid input syntax" in told
    assert "hunter2" not in told
