"""A bank of a campaign in a folder: what each attack found lies in a file of its own, whole or not at all."""

import hashlib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monitor.schema import FloatArray


@dataclass(frozen=True)
class FolderBank:
    """Arrays by key as `.npz` files. A file that a crash or a full disk left unreadable counts as not there."""

    folder: Path

    def get(self, key: str) -> dict[str, FloatArray] | None:
        """What was put under this key, or None."""
        try:
            with self._path(key).open("rb") as file, np.load(file, allow_pickle=False) as kept:
                return {name: kept[name] for name in kept.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, key: str, arrays: dict[str, FloatArray]) -> None:
        """Keep it: after this returns, a crash does not lose it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        replace_durably(partial, path)

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def replace_durably(partial: Path, path: Path) -> None:
    """Give a written file its name: afterwards either the old file is there or the whole new one."""
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
