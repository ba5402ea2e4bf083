"""What the handlers of jobs are handed: the database, the artefacts, and facts about this machine."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from monitor.artifacts import Store
from monitor.db.engine import transaction
from monitor.db.jobs import Claimed, complete, heartbeat
from monitor.jobs.failpoints import Failpoints

LEASE = timedelta(seconds=15)
BEAT = timedelta(seconds=4)


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Everything that a handler may use and does not read for itself.

    `factories` is the allow-list of torch factories by name. `children` off runs heavy work in this process (backtest,
    tests). `link` is the dashboard's address for messages. `stopping` says that the worker was asked to end. `checked`
    hears of each window that a check has committed, with the kind of the check. `commands` are the training programs
    that may run here, `secret` gives the value of a variable that requests are signed with (empty: there is none).
    """

    engine: Engine
    store: Store
    factories: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    home: Path
    code_version: str
    hardware: str
    failpoints: Failpoints = field(default_factory=Failpoints)
    children: bool = True
    link: str = ""
    commands: Collection[str] = ()
    secret: Callable[[str], str] = field(default=lambda name: "", compare=False, repr=False)
    lease: timedelta = LEASE
    stopping: Callable[[], bool] = field(default=lambda: False, compare=False, repr=False)
    checked: Callable[[str], None] = field(default=lambda kind: None, compare=False, repr=False)
    cache: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)


@contextmanager
def effect(tools: Tools, job: Claimed, *, last: bool = True, point: str = "check") -> Iterator[Session]:
    """A transaction of a job's effect, guarded by its token: the last one also completes the job.

    The guard comes after the work, so that a worker which froze over it holds no lock on its job; the server ends a
    transaction that stands idle, so that it holds no other lock either.

    Raises:
        LeaseLost: another worker owns the job now; everything is rolled back.
    """
    with transaction(tools.engine) as session:
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '15s'"))
        yield session
        session.flush()
        tools.failpoints.reach(f"{point}.before_commit")
        if last:
            complete(session, job)
        else:
            heartbeat(session, job, tools.lease)
    tools.failpoints.reach(f"{point}.after_commit")
