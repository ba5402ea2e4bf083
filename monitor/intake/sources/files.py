"""Files as a source: CSV, Parquet and JSON lines, by name or pattern, with a bookmark to go on from."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from monitor.errors import BadInput
from monitor.intake.sources.times import parse_times

__all__ = ["FileSource", "Part", "parse_times", "read_file"]

KINDS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
MOST_ROWS = 50_000  # of a part, which is taken in one transaction
_HEAD = 4_096  # bytes by which a file that was replaced is told from one that grew
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, pa.ArrowException)


def read_file(path: Path | str) -> pd.DataFrame:
    """The rows of a file.

    Raises:
        BadInput: it is not there, of an unknown kind, cannot be read, or holds no row.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"expected a file, there is none at {path}")
    kind = next((ending for ending in KINDS if path.name.lower().endswith(ending)), None)
    if kind is None:
        raise BadInput(f"expected a file that ends in {', '.join(KINDS)}, got {path.name}")
    try:
        frame = _read(path, kind.removesuffix(".gz"))
    except _UNREADABLE as error:
        raise BadInput(f"expected {kind.removesuffix('.gz')[1:]} in {path.name}, it cannot be read: {error}") from error
    if frame.empty:
        raise BadInput(f"expected rows in {path.name}, it has none")
    return frame


def _read(path: Path, kind: str) -> pd.DataFrame:
    if kind == ".parquet":
        return pd.read_parquet(path)
    if kind in (".jsonl", ".ndjson"):
        return pd.read_json(path, lines=True, convert_dates=False, dtype=False)
    return pd.read_csv(path, sep="\t" if kind == ".tsv" else ",", low_memory=False)


@dataclass(frozen=True, kw_only=True)
class Part:
    """New rows of one file; the index of `frame` is each row's number in the file, from 0."""

    path: Path
    frame: pd.DataFrame
    mark: dict[str, Any]


class FileSource:
    """The files that match a pattern, each in the order of its rows.

    A bookmark says how many rows of which files were taken. A file that grew is read on from there; one that was
    replaced is read from its start.
    """

    def __init__(self, pattern: str, *, bookmark: dict[str, Any] | None = None) -> None:
        self.pattern = pattern
        self._marks: dict[str, dict[str, Any]] = dict((bookmark or {}).get("files", {}))

    def paths(self) -> list[Path]:
        """The files that match now, by name."""
        found = map(Path, sorted(glob(str(Path(self.pattern).expanduser()), recursive=True)))
        return [path for path in found if path.is_file()]

    def read_all(self) -> pd.DataFrame:
        """Every row of every file, whatever the bookmark says.

        Raises:
            BadInput: no file matches, or one cannot be read.
        """
        paths = self.paths()
        if not paths:
            raise BadInput(f"expected files that match {self.pattern!r}, there are none")
        return pd.concat([read_file(path) for path in paths], ignore_index=True)

    def new_files(self) -> Iterator[Part]:
        """What the bookmark has not seen, in parts of at most 50,000 rows; an empty file is passed over."""
        for path in self.paths():
            before = self._marks.get(str(path))
            taken = before["rows"] if before and _begins(path, before) else 0
            size = path.stat().st_size
            if size == 0 or (taken and before and before["size"] == size):
                continue
            frame = read_file(path)
            for start in range(taken, len(frame), MOST_ROWS):
                part = frame.iloc[start : start + MOST_ROWS]
                rows = start + len(part)
                # until the last part is taken, the size is left open, so that the rest is read the next time
                mark = _mark(path, rows=rows, size=size if rows == len(frame) else None)
                yield Part(path=path, frame=part, mark=mark)

    def bookmark_after(self, part: Part) -> dict[str, Any]:
        """The bookmark once this part, and all those before it, are stored."""
        self._marks[str(part.path)] = part.mark
        return {"files": dict(self._marks)}


def _mark(path: Path, *, rows: int, size: int | None) -> dict[str, Any]:
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    return {"rows": rows, "size": size, "head": hashlib.sha256(head).hexdigest(), "head_bytes": len(head)}


def _begins(path: Path, mark: dict[str, Any]) -> bool:
    """Whether the file still begins as it did when the mark was made."""
    with path.open("rb") as handle:
        return hashlib.sha256(handle.read(mark["head_bytes"])).hexdigest() == str(mark["head"])
