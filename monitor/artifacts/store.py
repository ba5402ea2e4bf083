"""Files named by the hash of their content: written whole or not at all, and verified before anything parses them."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from monitor.errors import BadInput, NotFound, UnsafeArtefact


class Store:
    """A folder of artefacts, `<root>/<first two of the hash>/<hash>`."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def put(self, content: Path | str | bytes) -> str:
        """Keep a file's content, or bytes; its sha256. Putting the same content again changes nothing."""
        data = content if isinstance(content, bytes) else _bytes_of(Path(content))
        sha256 = hashlib.sha256(data).hexdigest()
        target = self._path(sha256)
        if not target.exists():
            _write_whole(target, data)
        return sha256

    def path(self, sha256: str) -> Path:
        """Where that content lies, its hash verified."""
        self.read(sha256)
        return self._path(sha256)

    def read(self, sha256: str) -> bytes:
        """That content, its hash verified: what is parsed is what was checked."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no artefact {sha256} in {self.root}: was it kept on another machine?") from None
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise UnsafeArtefact(
                f"expected an artefact with sha256 {sha256}, got {found}: the file was altered or damaged, so it was "
                "not read. Restore it from a backup or register the model again"
            )
        return data

    def drop(self, sha256: str) -> None:
        """Remove that content, if it is there: what was handed out for a while must not stay for ever."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise BadInput(f"expected a sha256 of 64 hexadecimal digits, got {sha256!r}")
        return self.root / sha256[:2] / sha256


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"expected a readable file, got {path}: {error.strerror}") from None


def _write_whole(target: Path, data: bytes) -> None:
    """To a temporary neighbour, to disk, then renamed: nobody ever sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".half-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o440)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
