"""Where callers leave rows: the one place that two threads share. Nothing here waits."""

import threading
from collections import deque
from contextlib import suppress

from monitor.client.counters import KINDS
from monitor.client.lines import Label, Trace


class Bell:
    """Wakes one thread. Ringing takes no lock that a signal handler could find held."""

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it has rung already
            self._silence.release()

    def wait(self, seconds: float) -> None:
        self._silence.acquire(timeout=max(0.0, seconds))


class Mailbox:
    """Rows as they were logged, bounded together with those that the courier holds (`held`)."""

    def __init__(self, *, most_rows: int, ring_every: int) -> None:
        self.bell = Bell()
        self.logged = self.dropped = self.refused = self.held = 0
        self.put_of = dict.fromkeys(KINDS, 0)  # of each kind, rows that were taken in
        self._rows: deque[Trace | Label] = deque()
        self._most, self._ring_every = most_rows, ring_every
        self._lock = threading.RLock()  # a signal handler may log while its own thread logs
        self._closed = False

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def crowded(self) -> bool:
        """Whether half of the room is taken: time to make some."""
        return 2 * (len(self._rows) + self.held) >= self._most

    def put(self, row: Trace | Label) -> None:
        """Leave a row; where there is no room it is dropped and counted."""
        with self._lock:
            self.logged += 1
            size = len(self._rows)
            if self._closed or size + self.held >= self._most:
                self.dropped += 1
                return
            self._rows.append(row)
            self.put_of["labels" if type(row) is Label else "traces"] += 1
        if (size + 1) % self._ring_every == 0:
            self.bell.ring()

    def refuse(self) -> None:
        """Count a row that is none."""
        with self._lock:
            self.logged += 1
            self.refused += 1

    def take(self, most: int) -> list[Trace | Label]:
        """The oldest rows; they count as held until `let_go`."""
        with self._lock:
            rows = [self._rows.popleft() for _ in range(min(most, len(self._rows)))]
            self.held += len(rows)
        return rows

    def let_go(self, rows: int) -> None:
        with self._lock:
            self.held -= rows

    def close(self) -> None:
        """Rows that come from now on are dropped."""
        with self._lock:
            self._closed = True
