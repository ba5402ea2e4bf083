"""Rows on disk, in the order in which they came, until the server has them: bounded, shared, safe against kill -9."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from monitor.client.counters import Notices
from monitor.client.folder import Folder, Segment, sync_folder

_ADOPT_SECONDS = 30.0


class Spool:
    """The segments of one model below a folder that other processes may use as well. Used from one thread."""

    def __init__(self, folder: Path, model: str, *, most_bytes: int, notices: Notices) -> None:
        self.root = folder / quote(model, safe="").replace(".", "%2E")
        self._most, self._notices = most_bytes, notices
        self._own: Folder | None = None
        self._adopted: list[Folder] = []
        self._used = 0
        self._adopt_at = 0.0

    @property
    def rows(self) -> int:
        """Rows of this process that are on disk."""
        own = self._own
        return sum(segment.rows for segment in list(own.segments)) if own is not None else 0

    def refused(self, kind: str) -> Path:
        """The file of lines that the server will never take."""
        return self.root / f"refused.{kind}"

    def append(self, kind: str, lines: Sequence[bytes]) -> bool:
        """Keep lines; False, and nothing was kept, where the disk or the bound leaves no room."""
        data = b"".join(lines)
        try:
            own = self._own or self._make()
            self._used = self._used or _bytes_below(self.root)
            if self._used + len(data) > self._most:
                self._used = _bytes_below(self.root)  # other processes may have sent theirs
            if self._used + len(data) > self._most:
                sentence = f"the spool {self.root} is full ({self._most:,} bytes): newer rows stay in memory"
                self._notices.once("spool full", f"{sentence}, and those beyond are dropped and counted")
                return False
            own.append(kind, data, len(lines))
        except OSError as error:
            self._notices.once("spool broken", f"cannot write to the spool {self.root}: {error}")
            return False
        self._used += len(data)
        return True

    def oldest(self) -> tuple[Segment, list[bytes]] | None:
        """The segment to send next, and its lines; it stays until `forget`."""
        for folder in self._folders():
            while folder.segments:
                segment = folder.segments[0]
                try:
                    return segment, folder.read(segment)
                except OSError as error:  # it is left to whoever can read it
                    self._notices.once("spool unread", f"cannot read {segment.path}: {error}")
                    folder.segments.popleft()
        return None

    def forget(self, segment: Segment) -> None:
        """The server has acknowledged it."""
        for folder in self._folders():
            if segment in folder.segments:
                folder.forget(segment)
                self._used = max(0, self._used - segment.size)
        for folder in [folder for folder in self._adopted if not folder.segments]:
            self._adopted.remove(folder)
            folder.close()

    def adopt(self, now: float) -> None:
        """Take over what processes that are gone left; looked for every half minute."""
        if now < self._adopt_at:
            return
        self._adopt_at = now + _ADOPT_SECONDS
        held = {folder.path for folder in self._folders()}
        for path in sorted(entry for entry in _entries(self.root) if entry not in held):
            try:
                self._take_over(path)
            except OSError as error:
                self._notices.once("spool unread", f"cannot read what an earlier process left in {path}: {error}")

    def refuse(self, kind: str, lines: Sequence[bytes]) -> bool:
        """Keep lines that the server will never take, for a person: False where there is no room."""
        data = b"".join(lines)
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _bytes_below(self.root) + len(data) > self._most:
                return False
            descriptor = os.open(self.refused(kind), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._notices.once("spool broken", f"cannot write to the spool {self.root}: {error}")
            return False
        self._used += len(data)
        return True

    def close(self) -> None:
        """Let go of everything; what is not sent yet waits on the disk."""
        folders = self._folders()
        self._own, self._adopted = None, []
        for folder in folders:
            folder.close()

    def leave_to_parent(self) -> None:
        """In a child after fork."""
        for folder in self._folders():
            folder.leave_to_parent()

    def _folders(self) -> list[Folder]:
        return [*self._adopted, *([self._own] if self._own is not None else [])]

    def _make(self) -> Folder:
        for _ in range(10):
            path = self.root / f"{time.time_ns():020d}-{os.getpid()}-{os.urandom(4).hex()}"
            path.mkdir(parents=True, mode=0o700)
            found = Folder.locked(path, adopted=False)
            if found is not None:  # else another process took the empty folder for one that was left
                sync_folder(self.root)
                self._own = found
                return found
        raise OSError(f"expected to lock a new folder below {self.root}")

    def _take_over(self, path: Path) -> None:
        found = Folder.locked(path, adopted=True)
        if found is None:
            return
        if found.segments:
            self._adopted.append(found)
        else:
            found.close()


def _entries(root: Path) -> list[Path]:
    try:
        return [entry for entry in root.iterdir() if entry.is_dir()]
    except OSError:  # there is no spool yet
        return []


def _bytes_below(root: Path) -> int:
    """Bytes of all files; one that goes meanwhile counts as none."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size
    return total
