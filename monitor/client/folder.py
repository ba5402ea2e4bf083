"""A folder of one writer's segments: files of whole lines that are appended to, read from the oldest, and deleted.

    <birth>-<pid>-<random>/lock                 locked while its writer lives
                          /000000000001.traces  lines, in the order in which they came

A killed writer's lock falls with it; whoever takes the lock next owns the segments.
"""

import fcntl
import os
import re
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MOST_ROWS = 2_000  # of a segment, which is sent as one request
MOST_BYTES = 2 * 2**20
_NAME = re.compile(r"(\d{12})\.(traces|labels)\Z")


@dataclass(kw_only=True)
class Segment:
    """A file of lines of one kind. `rows` is known of those that this process wrote."""

    path: Path
    kind: str
    size: int = 0
    rows: int = 0
    adopted: bool = False


class Folder:
    """The segments of one writer; whoever has this object holds the lock."""

    def __init__(self, path: Path, lock: int, *, adopted: bool) -> None:
        self.path, self._lock, self._adopted = path, lock, adopted
        self.segments: deque[Segment] = deque()
        self._open: dict[str, tuple[Segment, int]] = {}  # what is being written, and its descriptor
        self._number = 0
        if adopted:
            found = sorted(entry for entry in path.iterdir() if _NAME.match(entry.name))
            self.segments.extend(
                Segment(path=entry, kind=entry.suffix[1:], size=entry.stat().st_size, adopted=True) for entry in found
            )

    @classmethod
    def locked(cls, path: Path, *, adopted: bool) -> "Folder | None":
        """The folder, unless another process holds it or has just removed it."""
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path / "lock").st_ino == os.fstat(lock).st_ino:
                found = cls(path, lock, adopted=adopted)
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if found is None:
                os.close(lock)
        return found

    def append(self, kind: str, data: bytes, rows: int) -> None:
        """Write whole lines and have them on the disk.

        Raises:
            OSError: they are not; what was there before is as it was.
        """
        segment, descriptor = self._to_write(kind, len(data), rows)
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            self._cut(segment, descriptor)
            self.finish(kind)
            raise
        segment.size += len(data)
        segment.rows += rows

    def finish(self, kind: str) -> None:
        """Nothing more is written to the segment of this kind."""
        if kind in self._open:
            segment, descriptor = self._open.pop(kind)
            os.close(descriptor)
            if not segment.size:
                self.segments.remove(segment)
                segment.path.unlink(missing_ok=True)

    def read(self, segment: Segment) -> list[bytes]:
        """Its whole lines; half of one that a crash left at the end is left out."""
        self._finish_if_open(segment)
        try:
            whole, _, _ = segment.path.read_bytes().rpartition(b"\n")
        except FileNotFoundError:
            return []
        return [line + b"\n" for line in whole.split(b"\n") if line]

    def forget(self, segment: Segment) -> None:
        """The server has it."""
        self._finish_if_open(segment)
        if segment in self.segments:
            self.segments.remove(segment)
        segment.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the lock go; a folder without segments is removed, others wait for whoever comes next."""
        for kind in list(self._open):
            self.finish(kind)
        if not self.segments:
            (self.path / "lock").unlink(missing_ok=True)
            with suppress(OSError):  # something else lies in it
                self.path.rmdir()
        os.close(self._lock)

    def leave_to_parent(self) -> None:
        """In a child after fork: close the copies of the parent's descriptors, which keeps the parent's lock."""
        for _, descriptor in self._open.values():
            os.close(descriptor)
        os.close(self._lock)

    def _to_write(self, kind: str, size: int, rows: int) -> tuple[Segment, int]:
        if kind in self._open:
            segment, _ = self._open[kind]
            if segment.rows + rows > MOST_ROWS or segment.size + size > MOST_BYTES:
                self.finish(kind)
        if kind not in self._open:
            self._number += 1
            segment = Segment(path=self.path / f"{self._number:012d}.{kind}", kind=kind)
            descriptor = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            sync_folder(self.path)
            self.segments.append(segment)
            self._open[kind] = (segment, descriptor)
        return self._open[kind]

    def _finish_if_open(self, segment: Segment) -> None:
        if segment.kind in self._open and self._open[segment.kind][0] is segment:
            self.finish(segment.kind)

    def _cut(self, segment: Segment, descriptor: int) -> None:
        with suppress(OSError):  # where that fails, half a line stays at its end, which is never read
            os.ftruncate(descriptor, segment.size)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
