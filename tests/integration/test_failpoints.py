"""A worker killed or frozen at a named failpoint: no window is doubled or missing, and the results are the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor.acts.sources import add_source
from monitor.alerts import Message, Severity
from monitor.db.alerts import Alert, Outbox, Route, queue_messages
from monitor.db.checks import CheckRun, Finding, WindowVerdict
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job, reap
from monitor.db.profiles import ProfileDelta
from monitor.db.registry import Source, model_named
from monitor.errors import BadInput
from monitor.intake.columns import Columns
from monitor.jobs.failpoints import FailpointReached, Failpoints
from monitor.jobs.plan import plan
from monitor.jobs.worker import Worker, drain
from tests.streams import (
    OWNER,
    REFERENCE_DAYS,
    World,
    drain_checks,
    fresh_engine,
    register,
    rows_of,
    serve_days,
    tools_for,
)

WORLD = World(unit=(REFERENCE_DAYS + 1, REFERENCE_DAYS + 2), shift=(REFERENCE_DAYS + 4, 1.0))
DAYS = 6
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def _worker(url: str, folder: Path, failpoint: str) -> Iterator["subprocess.Popen[bytes]"]:
    environment = {**os.environ, "STREAM_URL": url, "STREAM_FOLDER": str(folder), "STREAM_FAILPOINT": failpoint}
    command = [sys.executable, "-c", "from tests.streams import work; work()"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def _planned(engine: Engine) -> None:
    with transaction(engine) as session:
        plan(session)


def _go_on(engine: Engine, folder: Path) -> None:
    """What the scheduler and another worker do once the lease of the dead one has lapsed."""
    deadline = time.monotonic() + 20
    while any(job.state == "running" for job in rows_of(engine, Job)):
        assert time.monotonic() < deadline, "the job of the killed worker did not come back within 20 s"
        with transaction(engine) as session:
            reap(session)
        time.sleep(0.2)
    drain_checks(tools_for(engine, folder))


@pytest.fixture(scope="module")
def undisturbed(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """What a worker stores that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with fresh_engine(server_url) as engine:
        register(engine, WORLD)
        serve_days(engine, WORLD, REFERENCE_DAYS, REFERENCE_DAYS + DAYS)
        drain_checks(tools_for(engine, folder))
        return _results(engine)


def _results(engine: Engine) -> list[tuple[object, ...]]:
    """Everything that checks store, but for the numbers of rows and the database's clock."""
    ours = {"id", "check_run_id", "created_at", "opened_at", "resolved_at", "model_id", "version_id", "monitor_id"}
    found = [
        (table.__tablename__, *(str(getattr(row, c.key)) for c in table.__table__.columns if c.key not in ours))
        for table in (CheckRun, Finding, WindowVerdict, Alert)
        for row in rows_of(engine, table)
    ]
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["check.before_commit:kill9@3", "check.after_commit:kill9@3"])
def test_a_worker_killed_at_a_failpoint_changes_no_result(
    engine: Engine, database_url: str, undisturbed: list[object], tmp_path: Path, failpoint: str
):
    register(engine, WORLD)
    serve_days(engine, WORLD, REFERENCE_DAYS, REFERENCE_DAYS + DAYS)
    _planned(engine)
    with _worker(database_url, tmp_path, failpoint) as process:
        assert process.wait(60) == -signal.SIGKILL
    done = len(rows_of(engine, CheckRun))
    assert done == (2 if "before" in failpoint else 3)
    _go_on(engine, tmp_path)
    assert _results(engine) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("failpoint", ["pull.before_commit:kill9@3", "pull.after_commit:kill9@3"])
def test_a_worker_killed_while_it_reads_a_source_loses_no_row_and_repeats_none(
    engine: Engine, database_url: str, tmp_path: Path, failpoint: str
):
    register(engine, WORLD, served=False)
    for number in range(4):
        WORLD.day(number).to_csv(tmp_path / f"{number}.csv", index=False)
    with transaction(engine) as session:
        add_source(
            session, model_named(session, "fraud"), name="logs", kind="files", location=f"{tmp_path}/*.csv",
            columns=Columns(time=("event_time",), id="trace_id", drop=("version", "prediction", "label")),
            every_seconds=60, by=OWNER, now=database_now(session),
        )  # fmt: skip
    _planned(engine)
    with _worker(database_url, tmp_path, failpoint) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert _profiled(engine) == (200 if "before" in failpoint else 400)  # the first transaction only reads
    _go_on(engine, tmp_path)
    Worker(tools_for(engine, tmp_path), "another", kinds=["pull"]).run_once()
    assert _profiled(engine) == 800
    (source,) = rows_of(engine, Source)
    assert (source.failures, len(source.bookmark["pieces"])) == (0, 4)


def _profiled(engine: Engine) -> int:
    return sum(row.rows for row in rows_of(engine, ProfileDelta))


@pytest.mark.slow
def test_a_frozen_worker_that_wakes_after_its_lease_changes_nothing(
    engine: Engine, database_url: str, undisturbed: list[object], tmp_path: Path
):
    register(engine, WORLD)
    serve_days(engine, WORLD, REFERENCE_DAYS, REFERENCE_DAYS + DAYS)
    _planned(engine)
    with _worker(database_url, tmp_path, "check.after_commit:freeze@3") as process:
        _until_stopped(process.pid)
        _go_on(engine, tmp_path)
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(60) == 0
    assert _results(engine) == undisturbed


def _until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_crash_after_sending_doubles_one_message_at_most(engine: Engine, tmp_path: Path):
    with transaction(engine) as session:
        session.add(Route(name="file", url=f"file://{tmp_path}/messages"))
        session.flush()
        for number in range(3):
            message = Message(title=f"message {number}", severity=Severity.PAGE).to_document()
            queue_messages(session, event="fired", message=message, severity="page", model_id=None, key=str(number))
    armed = Failpoints("deliver.after_send:raise", tmp_path / "markers")
    drain(tools_for(engine, tmp_path, failpoints=armed))
    with transaction(engine) as session:
        for owed in session.query(Outbox):
            owed.lease_until = None
        for job in session.query(Job):
            job.run_at = job.created_at
    drain(tools_for(engine, tmp_path))
    assert [owed.state for owed in rows_of(engine, Outbox)] == ["sent"] * 3
    assert len((tmp_path / "messages").read_text().splitlines()) == 4


def test_a_failpoint_fires_once_whatever_restarts(tmp_path: Path):
    with pytest.raises(FailpointReached):
        Failpoints("a.b:raise", tmp_path).reach("a.b")
    Failpoints("a.b:raise", tmp_path).reach("a.b")
    Failpoints("a.b:raise", tmp_path / "other").reach("a.c")


def test_a_failpoint_that_cannot_be_read_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="expected a failpoint such as check.before_commit:kill9"):
        Failpoints("check.before_commit:explode", tmp_path)
