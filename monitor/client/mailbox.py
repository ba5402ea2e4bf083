"""Where callers leave rows: the one place that two threads share. Nothing here waits.

Appending to a deque is atomic, so that callers take no lock: a signal handler may log while its own thread logs.
"""

import threading
from collections import deque
from contextlib import suppress

from monitor.client.counters import KINDS
from monitor.client.lines import Row


class Bell:
    """Wakes one thread."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        if self._silence.locked():
            with suppress(RuntimeError):  # another thread was faster
                self._silence.release()

    def wait(self, seconds: float) -> None:
        self._silence.acquire(timeout=max(0.0, seconds))


class Mailbox:
    """Rows as they were logged, bounded together with those that the courier holds.

    Threads that log in the same instant may overstep the bound by a row each.
    """

    def __init__(self, *, most_rows: int, ring_every: int) -> None:
        self.bell = Bell()
        self.dropped = self.refused = self.held = 0
        self._traces: deque[Row] = deque()
        self._labels: deque[Row] = deque()
        self._taken = dict.fromkeys(KINDS, 0)
        self._most, self._ring_every, self._closed = most_rows, ring_every, False
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._traces) + len(self._labels)

    @property
    def crowded(self) -> bool:
        """Whether half of the room is taken: time to make some."""
        return 2 * (len(self) + self.held) >= self._most

    def put_trace(self, row: Row) -> None:
        """Leave a row; where there is no room it is dropped and counted."""
        rows = self._traces
        if self._closed or len(rows) + len(self._labels) + self.held >= self._most:
            return self._drop()
        rows.append(row)
        if len(rows) >= self._ring_every:
            self.bell.ring()

    def put_label(self, row: Row) -> None:
        if self._closed or len(self) + self.held >= self._most:
            return self._drop()
        self._labels.append(row)
        if len(self._labels) >= self._ring_every:
            self.bell.ring()

    def refuse(self) -> None:
        """Count a row that is none."""
        with self._lock:
            self.refused += 1

    def take(self, most: int) -> list[tuple[str, Row]]:
        """The oldest rows of each kind, with their kind; they count as held until `let_go`."""
        found: list[tuple[str, Row]] = []
        with self._lock:
            for kind, rows in (("traces", self._traces), ("labels", self._labels)):
                count = min(most, len(rows))
                for _ in range(count):
                    found.append((kind, rows.popleft()))
                    self.held += 1  # one by one: callers look at both numbers without the lock
                self._taken[kind] += count
        return found

    def let_go(self, rows: int) -> None:
        with self._lock:
            self.held -= rows

    def put_of(self) -> dict[str, int]:
        """Of each kind, the rows that were taken in."""
        with self._lock:
            return {
                "traces": self._taken["traces"] + len(self._traces),
                "labels": self._taken["labels"] + len(self._labels),
            }

    def counts(self) -> tuple[int, int]:
        """Rows that were logged, and rows in memory."""
        with self._lock:
            put, waiting = sum(self._taken.values()) + len(self), len(self) + self.held
            return put + self.dropped + self.refused, waiting

    def close(self) -> None:
        """Rows that come from now on are dropped."""
        self._closed = True

    def _drop(self) -> None:
        with self._lock:
            self.dropped += 1
