"""The rows that are on their way: encoded in memory, or on disk; in the order in which they were logged."""

import time
from collections import deque
from dataclasses import dataclass

from monitor.client.counters import KINDS, Notices, Tally
from monitor.client.folder import Segment
from monitor.client.lines import Row, label_line, trace_line
from monitor.client.mailbox import Mailbox
from monitor.client.spool import Spool

_MOST_BYTES = 4 * 2**20  # of the lines of one body
_AT_ONCE = 25  # rows that are encoded before other threads get their turn


@dataclass
class Parcel:
    """Lines of one kind, in the bodies that they are sent as; from a segment, or else from memory.

    `recounted` and `as_rows` say that the server did not take their counts, once or for good.
    """

    kind: str
    parts: deque[list[bytes]]
    segment: Segment | None = None
    recounted: bool = False
    as_rows: bool = False


class Stock:
    """What was taken from the mailbox and is not settled yet. The oldest rows are those of the parcel in hand."""

    def __init__(
        self, *, mailbox: Mailbox, spool: Spool | None, tally: Tally, notices: Notices, body_rows: int
    ) -> None:
        self.parcel: Parcel | None = None
        self._mailbox, self._spool, self._tally, self._notices = mailbox, spool, tally, notices
        self._body_rows = body_rows
        self._waiting: dict[str, deque[bytes]] = {kind: deque() for kind in KINDS}

    def take(self) -> None:
        """Encode rows from the mailbox, for a request; what cannot be written is refused."""
        for position, (kind, row) in enumerate(self._mailbox.take(self._body_rows), 1):
            line = self._encoded(kind, row)
            if line is not None:
                self._waiting[kind].append(line)
            else:
                self._mailbox.let_go(1)
                self._tally.refused += 1
                self._tally.settled[kind] += 1
            if position % _AT_ONCE == 0:
                time.sleep(0)

    def relieve(self, *, all_of_it: bool) -> None:
        """Make room in memory when half of it is taken, or all of it goes to the disk."""
        while self._spool is not None and (self._mailbox.crowded or all_of_it):
            if self._mailbox.crowded and len(self._mailbox):
                self.take()
            if not self._in_memory() or not self.to_disk():
                return

    def to_disk(self) -> bool:
        """Put everything that was taken on the disk; False where that has no room, and the rest stays."""
        if self._spool is None:
            return not self._in_memory()
        if (parcel := self.parcel) is not None and parcel.segment is None:
            while parcel.parts:
                if not self._spool.append(parcel.kind, parcel.parts[0]):
                    return False
                self._mailbox.let_go(len(parcel.parts.popleft()))
            self.parcel = None
        for kind, lines in self._waiting.items():
            while lines:
                portion = self._portion(lines)
                if not self._spool.append(kind, portion):
                    lines.extendleft(reversed(portion))
                    return False
                self._mailbox.let_go(len(portion))
        return True

    def in_hand(self) -> Parcel | None:
        """What to send next: the parcel that was begun, else the oldest rows."""
        self.parcel = self.parcel or self._next()
        return self.parcel

    def halve(self, parcel: Parcel) -> None:
        """Send the first part as two."""
        part = parcel.parts[0]
        parcel.parts[0] = part[len(part) // 2 :]
        parcel.parts.appendleft(part[: len(part) // 2])

    def settle(self, parcel: Parcel) -> None:
        """Nothing more is done about the first part; a segment goes with its last."""
        rows, segment = len(parcel.parts.popleft()), parcel.segment
        if segment is not None and segment.adopted:
            self._tally.recovered += rows
        else:
            self._tally.settled[parcel.kind] += rows
        if segment is None:
            self._mailbox.let_go(rows)
        else:
            segment.rows = max(0, segment.rows - rows)
        if not parcel.parts:
            self.parcel = None
            if segment is not None and self._spool is not None:
                self._spool.forget(segment)

    def empty(self) -> None:
        """The last act: everything to the disk, or it is lost and counted."""
        while len(self._mailbox):
            self.take()
        if not self.to_disk():
            lost = self._mailbox.held
            self._tally.dropped += lost
            self._mailbox.let_go(lost)
            self._notices.once(
                "lost", f"{lost:,} rows could not be sent before the end nor kept on disk: they are lost"
            )

    def _in_memory(self) -> bool:
        begun = self.parcel is not None and self.parcel.segment is None
        return begun or any(self._waiting.values())

    def _encoded(self, kind: str, row: Row) -> bytes | None:
        try:
            return label_line(*row) if kind == "labels" else trace_line(*row)
        except Exception as error:  # a value's own __str__ may raise anything
            self._notices.once("unread", f"a row cannot be written as JSON ({type(error).__name__}): it is left out")
            return None

    def _next(self) -> Parcel | None:
        while self._spool is not None and (found := self._spool.oldest()) is not None:
            segment, lines = found
            if (lost := segment.rows - len(lines)) > 0:  # somebody deleted the file
                self._tally.dropped += lost
                self._tally.settled[segment.kind] += lost
                segment.rows = len(lines)
            if lines:
                return Parcel(segment.kind, deque([lines]), segment)
            self._spool.forget(segment)
        for kind, waiting in self._waiting.items():
            if waiting:
                return Parcel(kind, deque([self._portion(waiting)]))
        return None

    def _portion(self, lines: deque[bytes]) -> list[bytes]:
        portion = [lines.popleft()]
        size = len(portion[0])
        while lines and len(portion) < self._body_rows and size + len(lines[0]) <= _MOST_BYTES:
            size += len(lines[0])
            portion.append(lines.popleft())
        return portion
