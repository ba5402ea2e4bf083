"""Claims jobs and runs them. A worker may die at any line: its lease lapses, and another one takes the job."""

import importlib
import threading
import time
import traceback
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import TracebackType

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from monitor.db.engine import transaction
from monitor.db.jobs import Claimed, claim, end_cancelled, fail, heartbeat, release
from monitor.errors import HoldfastError, JobCancelled, JobFailed, JobReleased, LeaseLost, NotFound
from monitor.jobs.context import BEAT, LEASE, Tools
from monitor.jobs.plan import plan

log = structlog.get_logger()

HANDLERS = {  # imported when first needed: torch and Evidently cost seconds
    "check_quality": "monitor.jobs.check_quality:run",
    "check_drift": "monitor.jobs.check_drift:run",
    "check_segments": "monitor.jobs.check_segments:run",
    "check_performance": "monitor.jobs.check_performance:run",
    "stress": "monitor.jobs.stress:run",
    "campaign": "monitor.jobs.campaigns:run",
    "check_evidently": "monitor.jobs.check_evidently:run",
    "fit_reference": "monitor.jobs.fit_reference:run",
    "deliver": "monitor.jobs.deliver:run",
    "report": "monitor.jobs.report:run",
    "retrain": "monitor.jobs.retrain:run",
    "promote": "monitor.jobs.promote:run",
    "shadow": "monitor.jobs.shadow:run",
    "champion_webhook": "monitor.jobs.champion_webhook:run",
    "retain": "monitor.jobs.retain:run",
    "wake": "monitor.jobs.wake:run",
    "pull": "monitor.jobs.pull:run",
}
_BESIDE = {"campaigns": ("campaign",), "sources": ("pull",)}  # kinds that wait for something else, by worker
_IDLE_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0  # for a child that is being ended
_LONGEST_ERROR = 2_000


class Worker:
    """One worker of any number."""

    def __init__(
        self, tools: Tools, name: str, *, lease: timedelta = LEASE, beat: timedelta = BEAT,
        kinds: Collection[str] | None = None, versions: Collection[int] | None = None,
    ) -> None:  # fmt: skip
        self.tools = replace(tools, lease=lease)
        self.name = name
        self.beat = beat
        self.kinds = kinds
        self.versions = versions

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until `should_stop`; the job in hand is finished, or given back where it can be."""
        self.tools = replace(self.tools, stopping=should_stop)
        while not should_stop():
            try:
                worked = self.run_once()
            except SQLAlchemyError as error:
                log.warning("the database did not answer", error=str(error).splitlines()[0])
                worked = False
            if not worked:
                time.sleep(_IDLE_SECONDS)

    def run_once(self) -> bool:
        """Run one job; False when none is due."""
        with transaction(self.tools.engine) as session:
            job = claim(session, worker=self.name, lease=self.tools.lease, kinds=self.kinds, versions=self.versions)
        if job is None:
            return False
        with _Heartbeat(self.tools.engine, job, self.tools.lease, self.beat):
            self._run(job)
        return True

    def _run(self, job: Claimed) -> None:
        try:
            handler_of(job.kind)(self.tools, job)
        except LeaseLost:
            log.warning("lost the lease; rolled back", job=job.id, kind=job.kind)
        except JobReleased:
            self._settle(job, lambda session: release(session, job))
        except JobCancelled:
            self._settle(job, lambda session: end_cancelled(session, job))
        except Exception as error:
            told = _told(error)
            log.error("job failed", job=job.id, kind=job.kind, attempt=job.attempts, error=told)
            self._settle(job, lambda session: fail(session, job, told))

    def _settle(self, job: Claimed, act: Callable[[Session], object]) -> None:
        try:
            with transaction(self.tools.engine) as session:
                act(session)
        except LeaseLost:
            log.warning("lost the lease; another worker goes on", job=job.id, kind=job.kind)


def work_beside(tools: Tools, name: str, should_stop: Callable[[], bool]) -> None:
    """Three workers in this process: for campaigns, which wait for their child, for sources, and for all other jobs.

    With one alone, the windows of the night would be checked when the stress tests of the night are over, and a
    database that does not answer would hold up everything.
    """
    beside = []
    for what, kinds in _BESIDE.items():
        worker = Worker(tools, f"{name}/{what}", kinds=kinds)
        beside.append(threading.Thread(target=worker.run, args=(should_stop,), name=what, daemon=True))
        beside[-1].start()
    taken = {kind for kinds in _BESIDE.values() for kind in kinds}
    Worker(tools, name, kinds=[kind for kind in HANDLERS if kind not in taken]).run(should_stop)
    for thread in beside:
        thread.join(_PATIENCE_SECONDS)


class _Heartbeat:
    """Extends the lease from a thread of its own while a job runs."""

    def __init__(self, engine: Engine, job: Claimed, lease: timedelta, beat: timedelta) -> None:
        self._engine, self._job, self._lease, self._beat = engine, job, lease, beat
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name=f"heartbeat-{job.id}", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep_beating(self) -> None:
        while not self._over.wait(self._beat.total_seconds()):
            try:
                with transaction(self._engine) as session:
                    heartbeat(session, self._job, self._lease)
            except LeaseLost:
                return  # the job's own commit will find out
            except SQLAlchemyError as error:
                log.warning("a heartbeat failed", job=self._job.id, error=str(error).splitlines()[0])


def _told(error: Exception) -> str:
    """What is stored and logged of a failure: never the values of a statement, which may be people's data."""
    if isinstance(error, HoldfastError):
        return str(error)[:_LONGEST_ERROR]
    what = str(error.orig).splitlines()[0] if isinstance(error, DBAPIError) else str(error)
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/monitor/" in frame.filename]
    place = f" (at {Path(ours[-1].filename).name}:{ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {what[:_LONGEST_ERROR]}{place}"


def handler_of(kind: str) -> Callable[[Tools, Claimed], None]:
    """The function that runs jobs of `kind`."""
    if kind not in HANDLERS:
        raise NotFound(f"no handler for jobs of kind {kind!r}; there are {', '.join(HANDLERS)}")
    module, _, name = HANDLERS[kind].partition(":")
    handler: Callable[[Tools, Claimed], None] = getattr(importlib.import_module(module), name)
    return handler


def drain(tools: Tools, *, kinds: Collection[str] | None = None) -> int:
    """Plan and work in this process until nothing is due; how many jobs ran. For replays, backtests and tests.

    Raises:
        JobFailed: a job failed; replays must not go on over a hole.
    """
    worker, ran = _Strict(tools, "drain", kinds=kinds), 0
    with transaction(tools.engine) as session:
        plan(session)
    while worker.run_once():  # a job plans what follows from it
        ran += 1
    return ran


def drain_versions(tools: Tools, versions: Collection[int], *, kinds: Collection[str]) -> int:
    """Work in this process on what is planned for these versions, until nothing is due; how many jobs ran.

    Raises:
        JobFailed: a job failed.
    """
    worker, ran = _Strict(tools, "check", kinds=kinds, versions=versions), 0
    while worker.run_once():
        ran += 1
    return ran


class _Strict(Worker):
    """A worker that stores a failure as any other, and then stops at it."""

    def _run(self, job: Claimed) -> None:
        try:
            handler_of(job.kind)(self.tools, job)
        except Exception as error:
            told = _told(error)
            self._settle(job, lambda session: fail(session, job, told))
            if job.kind in _MAY_FAIL:
                log.warning("job failed; it will be tried again", job=job.id, kind=job.kind, error=told)
                return
            raise JobFailed(f"{job.kind} failed: {told}") from error


_MAY_FAIL = ("deliver", "report", "retain", "check_evidently")  # nothing is computed from them
