"""`TraceLogger`: what a serving process calls. Nothing here waits for the network or the disk, and nothing raises."""

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar
from urllib.parse import quote

from monitor.client.counters import Counters, Notices
from monitor.client.counting import Counting
from monitor.client.courier import Clock, Courier
from monitor.client.mailbox import Mailbox
from monitor.client.traced import Outcome, outcome_of, tracing
from monitor.client.transport import Http, Transport

if TYPE_CHECKING:
    from monitor.client.spool import Spool

P = ParamSpec("P")
R = TypeVar("R")
_BODY_ROWS, _MOST_BODY_ROWS = 2_000, 5_000  # of one request; the server takes no more


class TraceLogger:
    """Logs one model's traces and labels to a Holdfast server, in the background.

    Args:
        url: the server, such as http://127.0.0.1:8501; HOLDFAST_URL where it is not given.
        model: its name.
        token: of a producer; HOLDFAST_TOKEN where it is not given.
        batch_rows: rows that go at once. Where more wait, a request holds up to 2,000.
        flush_seconds: how long a row waits for others, at most.
        max_rows: rows in memory; beyond them the newest are dropped and counted. Half of them should be more than
            what is logged in `timeout_seconds`.
        spool_dir: where rows wait on disk while the server is away. Processes may share it.
        spool_bytes: how much of the disk that may take.
        timeout_seconds: for one request.
        profiles: count rows here, and send counts and the rows that the model keeps, where its settings allow that.
            Needs `holdfast[profiles]`; the caller's `log` costs what it does without.
        checks: know the model's schema, for `check`. Needs `holdfast[profiles]`, too.

    Raises:
        ValueError: a setting is missing or out of range. Nothing else that a logger does raises.
    """

    def __init__(
        self,
        url: str | None = None,
        model: str = "",
        token: str | None = None,
        *,
        batch_rows: int = 500,
        flush_seconds: float = 1.0,
        max_rows: int = 20_000,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_bytes: int = 512 * 2**20,
        timeout_seconds: float = 10.0,
        profiles: bool = False,
        checks: bool = False,
        clock: Clock = time,
        transport: Transport | None = None,
    ) -> None:
        self._url = url or os.environ.get("HOLDFAST_URL", "")
        self._token = (token or os.environ.get("HOLDFAST_TOKEN", "")).strip()
        self._model, self._clock, self._given = model, clock, transport
        self._batch_rows, self._max_rows = min(batch_rows, _MOST_BODY_ROWS), max_rows
        self._flush_seconds, self._timeout_seconds = flush_seconds, timeout_seconds
        self._spool_dir, self._spool_bytes = spool_dir, spool_bytes
        self._profiles, self._checks = profiles, checks
        self._check()
        self._make()
        self._start()
        atexit.register(self.close)
        _LOGGERS.add(self)

    def log(
        self,
        features: Mapping[str, Any],
        *,
        trace_id: str | None = None,
        event_time: datetime | float | str | None = None,
        version: str | None = None,
        score: float | None = None,
        prediction: object = None,
    ) -> str:
        """Log one prediction; its id, to label it by later.

        A time without a zone is UTC, a number is seconds since 1970; without one it is now. The mapping is copied,
        what is in it is not.
        """
        known = f"{self._prefix}{next(self._numbers):x}" if trace_id is None else trace_id
        try:
            at = self._clock.time() if event_time is None else event_time
            self._mailbox.put_trace((dict(features), known, at, version, score, prediction))
            if self._thread is None:
                self._start()
        except Exception:  # features that are no mapping, whatever they are
            self._mailbox.refuse()
        return known

    def label(self, trace_id: str, label: object, label_time: datetime | float | str | None = None) -> None:
        """Log the truth of a prediction; a changed one is a revision."""
        try:
            self._mailbox.put_label((trace_id, label, self._clock.time() if label_time is None else label_time))
            if self._thread is None:
                self._start()
        except Exception:
            self._mailbox.refuse()

    def check(
        self,
        features: Mapping[str, Any],
        *,
        event_time: datetime | float | str | None = None,
        version: str | None = None,
        score: float | None = None,
        prediction: object = None,
    ) -> tuple[str, ...]:
        """What speaks against a row, each reason a sentence: it would be refused, or a value of it is faulty.

        By the function that the server refuses rows by. Nothing speaks against a row while the schema is not there (see
        `ready`). It takes about a millisecond, and logs nothing.
        """
        if (counting := self._courier.counting) is None:
            return ()
        at = self._clock.time() if event_time is None else event_time
        return counting.against((features, "checked", at, version, score, prediction))

    def ready(self, timeout: float = 10.0) -> bool:
        """Wait until `check` knows the schema; False in time-out, or without `checks` and `profiles`."""
        until, counting = time.monotonic() + timeout, self._courier.counting
        self._mailbox.bell.ring()
        with self._settled:
            while counting is not None and counting.plan is None:
                if (left := until - time.monotonic()) <= 0 or not self._is_running():
                    return False
                self._settled.wait(min(left, 0.5))
        return counting is not None

    def flush(self, timeout: float | None = 10.0) -> bool:
        """Wait until the server has acknowledged (or refused) every row that was logged before; False in time-out."""
        goal = self._mailbox.put_of()
        until = None if timeout is None else time.monotonic() + timeout
        self._courier.hurry = True
        self._mailbox.bell.ring()
        with self._settled:
            while not all(self._courier.tally.settled[kind] >= rows for kind, rows in goal.items()):
                left = None if until is None else until - time.monotonic()
                if (left is not None and left <= 0) or not self._is_running():
                    return False
                self._settled.wait(0.5 if left is None else min(left, 0.5))
        return True

    def close(self, timeout: float = 5.0) -> bool:
        """Send what there is, keep the rest on disk or count it as dropped; whether the server has everything.

        It takes at most `timeout` and one request that is on its way.
        """
        atexit.unregister(self.close)
        _LOGGERS.discard(self)
        self._mailbox.close()
        if not self._is_running():
            return self._courier.counters().waiting == 0
        done = self.flush(timeout)
        self._stopping.set()
        self._mailbox.bell.ring()
        if self._thread is not None:
            self._thread.join(self._timeout_seconds + 1)
        return done

    @property
    def counters(self) -> Counters:
        return self._courier.counters()

    def traced(
        self,
        *,
        outcome: Callable[[Any], Mapping[str, Any]] = outcome_of,
        features: Callable[..., Mapping[str, Any]] | None = None,
        trace_id: Callable[[Mapping[str, Any]], str] | None = None,
        version: str | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Log each call of a predict function of one row, which is its first mapping or else its keywords.

        Args:
            outcome: from the result to `score`, `prediction`, `version`; by itself a mapping's own entries of these
                names, and any other result as the prediction.
            features: from the function's arguments to the features.
            trace_id: from the features to the id.
            version: what serves, where `outcome` names none.
        """
        return tracing(self.log, Outcome(outcome=outcome, features=features, trace_id=trace_id, version=version))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        if not self._model:
            raise ValueError("expected the name of a model, got none")
        if not (self._token.isascii() and self._token.isprintable() and self._token):
            raise ValueError("expected a token, got none: `holdfast token create NAME producer`, then HOLDFAST_TOKEN")
        if self._given is None:
            Http(self._url)
        if min(self._batch_rows, self._max_rows, self._flush_seconds, self._timeout_seconds) <= 0:
            raise ValueError("expected batch_rows, max_rows, flush_seconds and timeout_seconds above 0")

    def _make(self) -> None:
        """Everything that belongs to one process."""
        self._prefix, self._numbers = f"{os.urandom(12).hex()}-", count()
        self._mailbox = Mailbox(most_rows=self._max_rows, ring_every=min(self._batch_rows, self._max_rows))
        self._notices, self._settled = Notices(), threading.Condition()
        self._stopping, self._starting = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        path, transport = f"/v1/models/{quote(self._model, safe='')}", self._given or Http(self._url)
        self._courier = Courier(
            model_path=path,
            token=self._token,
            mailbox=self._mailbox,
            transport=transport,
            clock=self._clock,
            notices=self._notices,
            spool=self._spool(),
            batch_rows=self._batch_rows,
            body_rows=max(self._batch_rows, _BODY_ROWS),
            flush_seconds=self._flush_seconds,
            timeout_seconds=self._timeout_seconds,
            counting=self._counting(path, transport),
        )

    def _counting(self, path: str, transport: Transport) -> Counting | None:
        if not (self._profiles or self._checks):
            return None
        return Counting(
            model_path=path, token=self._token, transport=transport, clock=self._clock, notices=self._notices,
            timeout_seconds=self._timeout_seconds, profiles=self._profiles,
        )  # fmt: skip

    def _spool(self) -> "Spool | None":
        if self._spool_dir is None:
            return None
        try:
            from monitor.client.spool import Spool
        except ImportError:  # Windows has no flock
            self._notices.once("spool", "a spool needs Linux or macOS: rows wait in memory alone")
            return None
        return Spool(Path(self._spool_dir), self._model, most_bytes=self._spool_bytes, notices=self._notices)

    def _start(self) -> None:
        """The thread that sends; after a fork, with the child's first row."""
        with self._starting:
            if self._thread is not None or self._stopping.is_set():
                return
            self._thread = threading.Thread(target=self._run, name=f"holdfast-{self._model}", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                self._stopping.set()
                return
        if (forks := sys.modules.get("multiprocessing.util")) is not None:
            forks.Finalize(self, self.close, exitpriority=10)  # its children end without atexit

    def _is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        courier, bell = self._courier, self._mailbox.bell
        while not self._stopping.is_set():
            try:
                wait = courier.step()
            except Exception as error:  # whatever is wrong, rows go on being taken, bounded and counted
                self._notices.once("fault", f"{type(error).__name__}: {error}; it is tried again every second")
                wait = 1.0
            with self._settled:
                self._settled.notify_all()
            if wait > 0 and not self._stopping.is_set():
                bell.wait(wait)
        try:
            courier.finish()
        except Exception as error:
            self._notices.once("end", f"{type(error).__name__} at the end: {error}")
        with self._settled:
            self._settled.notify_all()

    def _renew(self) -> None:
        """In a child after fork: its own thread, connection and counts; the parent's rows stay the parent's."""
        spool, transport = self._courier.spool, self._courier.transport
        if spool is not None:
            spool.leave_to_parent()
        if self._given is None:
            transport.close()
        self._make()


_LOGGERS: "weakref.WeakSet[TraceLogger]" = weakref.WeakSet()


def _renew_all() -> None:
    for logger in list(_LOGGERS):
        logger._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
