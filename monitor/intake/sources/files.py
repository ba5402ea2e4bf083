"""Files as a source: CSV, Parquet and JSON lines, by name, pattern or URL, each with its place in the bookmark."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from glob import glob
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from monitor.db.base import Json
from monitor.errors import BadInput, HoldfastError, Unavailable
from monitor.intake.columns import Columns
from monitor.intake.sources.addresses import check_address, resolved, without_secrets
from monitor.intake.sources.contract import MOST_BYTES, Part, Secret, rows_of_a_part
from monitor.intake.sources.lines import Format, chunks, parse, read_header

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
RESTED = timedelta(minutes=1)  # after which nobody is writing the last line of a CSV file any more
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".jsonl": "", ".ndjson": ""}
_HEAD = 4_096  # bytes by which a file that was replaced is told from one that grew
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated")
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, pa.ArrowException)


def read_file(path: Path | str) -> pd.DataFrame:
    """The rows of a file.

    Raises:
        BadInput: it is not there, of an unknown kind, cannot be read, or holds no row.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"expected a file, there is none at {path}")
    frame = _File(key=str(path), name=path.name, system=_local(), path=str(path)).read()
    if frame.empty:
        raise BadInput(f"expected rows in {path.name}, it has none")
    return frame


class FileSource:
    """The files that match a pattern, each in the order of its rows, by name.

    A file that grew is read on from where it ended; one that was replaced is read from its start. A pattern is a path
    on this machine or an address of a store that fsspec knows, such as `s3://bucket/logs/*.parquet`.
    """

    def __init__(
        self, location: str, *, settings: Json | None = None, columns: Columns | None = None,
        secret: Secret = lambda name: "",
    ) -> None:  # fmt: skip
        if settings:
            raise BadInput(f"expected no settings beside the pattern of files, got {', '.join(settings)}")
        self.location = location
        self._secret = secret
        self._as_text = (*([columns.id] if columns.id else []), *columns.texts) if columns is not None else ()
        if is_url(location):
            check_address(location)
            if "::" in location:
                raise BadInput(f"expected one address, got a chain of them: {location}")
            if location.partition("://")[0] not in fsspec.available_protocols():
                raise BadInput(f"expected an address that fsspec knows, such as s3://bucket/*.parquet, got {location}")

    @staticmethod
    def remembered(location: str) -> str:
        return location if is_url(location) else str(Path(location).expanduser().absolute())

    def pieces(self) -> "list[_File]":
        """The files that match now, by name."""
        return self._remote() if is_url(self.location) else self._on_this_machine()

    def read_all(self) -> pd.DataFrame:
        """Every row of every file at once, whatever a bookmark says.

        Raises:
            BadInput: no file matches, one cannot be read, or none holds a row.
        """
        files = self.pieces()
        if not files:
            raise BadInput(f"expected files that match {self.location!r}, there are none")
        frames = [frame for frame in (file.read() for file in files) if not frame.empty]
        if not frames:
            raise BadInput(f"expected rows in the files that match {self.location!r}, there are none")
        return pd.concat(frames, ignore_index=True)

    def _on_this_machine(self) -> "list[_File]":
        pattern = str(Path(self.location).expanduser())
        folder = _fixed_folder(pattern)
        if not Path(folder).exists():
            raise Unavailable(f"expected {folder}, which {self.location} lies in; it is not there: is it mounted?")
        found = [Path(name) for name in sorted(glob(pattern, recursive=True))]
        return [self._file(_local(), str(path), key=str(path)) for path in found if path.is_file()]

    def _remote(self) -> "list[_File]":
        try:
            system, path = fsspec.url_to_fs(resolved(self.location, self._secret))
            system.invalidate_cache()  # listings are remembered: a new file would never be seen
            found = system.glob(path, detail=True)
        except HoldfastError:
            raise
        except ImportError as error:
            raise BadInput(f"expected what reads {self.location} to be installed: {error}") from error
        except Exception as error:  # each store has errors of its own
            told = without_secrets(f"{type(error).__name__}: {error}", self.location, self._secret)
            raise Unavailable(f"expected files at {self.location}, it cannot be reached: {told}") from error
        files = {name: info for name, info in sorted(found.items()) if info.get("type", "file") == "file"}
        return [self._file(system, name, key=system.unstrip_protocol(name), info=info) for name, info in files.items()]

    def _file(self, system: Any, path: str, *, key: str, info: Json | None = None) -> "_File":
        folder = _fixed_folder(self.location.partition("://")[2] if is_url(self.location) else self.location)
        name = path.lstrip("/").removeprefix(folder.strip("/") + "/")
        return _File(key=key, name=name, system=system, path=path, info=info, as_text=self._as_text)


def is_url(location: str) -> bool:
    """Whether a location is an address rather than a path of this machine."""
    return "://" in location


@dataclass(frozen=True, kw_only=True)
class _File:
    """One file. Its mark holds how many rows were taken and up to which byte, and its beginning, to tell it again."""

    key: str
    name: str
    system: Any
    path: str
    info: Json | None = None
    as_text: tuple[str, ...] = ()

    def parts(self, mark: Json | None) -> Iterator[Part]:
        """The rows after the mark; see the contract."""
        with self._told():
            info = self.info or self.system.info(self.path)
            size, stamp = info.get("size"), next((str(info[key]) for key in _STAMPS if key in info), None)
            if size == 0 or (mark and mark["size"] is not None and (mark["size"], mark.get("stamp")) == (size, stamp)):
                return
            head = self._head()
            if mark and _digest(head[: mark["head_bytes"]]) != mark["head"]:
                mark = None  # replaced
            if mark and size is not None and mark["size"] == size:
                return
            end = {"size": size, "stamp": stamp, "head": _digest(head), "head_bytes": len(head)}
            read = self._batches if self.ending == ".parquet" else self._lines
            yield from read(mark or {"rows": 0}, end)

    def read(self) -> pd.DataFrame:
        """All rows at once.

        Raises:
            BadInput: it cannot be read.
        """
        with self._told(), self._open() as handle:
            if self.ending == ".parquet":
                frame = pd.read_parquet(handle)
                return frame.set_axis(range(len(frame)), axis=0)  # an index that was written may repeat itself
            separator = _SEPARATORS[self.ending]
            if not separator:
                return pd.read_json(handle, lines=True, convert_dates=False, dtype=False)
            return pd.read_csv(handle, sep=separator, low_memory=False)

    @property
    def ending(self) -> str:
        kind = next((ending for ending in ENDINGS if self.name.lower().endswith(ending)), None)
        if kind is None:
            raise BadInput(f"expected a file that ends in {', '.join(ENDINGS)}, got {self.name}")
        return kind.removesuffix(".gz")

    def _lines(self, mark: Json, end: Json) -> Iterator[Part]:
        form = Format(separator=_SEPARATORS[self.ending], as_text=self.as_text)
        with self._open() as handle:
            header = read_header(handle, form)
            if header is None:
                return
            begin, rows = mark.get("offset", handle.tell() if header else 0), mark["rows"]
            known = rows if "offset" not in mark else 0  # a mark of the first release counts rows alone
            rows -= known
            most = rows_of_a_part(header.count(form.separator.encode()) if header else 0)
            whole = self.name.lower().endswith(".gz") or self._rests()
            for chunk in chunks(handle, form, begin=begin, most_rows=most, most_bytes=MOST_BYTES, whole=whole):
                frame, bad = parse(header, chunk.records, form, first=rows)
                rows += len(chunk.records)
                handle.seek(chunk.end)
                over = not handle.read(1)
                handle.seek(chunk.end)
                frame, bad = frame[frame.index >= known], tuple(row for row in bad if row.position >= known)
                if len(frame) or bad:  # while there is more, the size is left open, so that the file is read on
                    mark = {"rows": rows, "offset": chunk.end, **end, "size": end["size"] if over else None}
                    yield Part(frame=frame, bad=bad, mark=mark)

    def _batches(self, mark: Json, end: Json) -> Iterator[Part]:
        with self._open() as handle, parquet.ParquetFile(handle) as file:
            total, first, group = file.metadata.num_rows, 0, 0
            while group < file.num_row_groups and first + file.metadata.row_group(group).num_rows <= mark["rows"]:
                first, group = first + file.metadata.row_group(group).num_rows, group + 1
            groups = range(group, file.num_row_groups)
            for batch in file.iter_batches(rows_of_a_part(_values_a_row(file)), row_groups=list(groups)):
                frame = pa.Table.from_batches([batch]).to_pandas().set_axis(range(first, first + len(batch)), axis=0)
                first += len(batch)
                frame = frame[frame.index >= mark["rows"]]
                if len(frame):
                    size = end["size"] if first == total else None
                    yield Part(frame=frame, mark={"rows": first, **end, "size": size})

    def _rests(self) -> bool:
        """Whether the last line of a file has stood without a line break for a while: then none will follow."""
        try:
            changed = self.system.modified(self.path)
        except NotImplementedError:
            return True
        if changed.tzinfo is None:
            changed = changed.replace(tzinfo=UTC)
        return bool(datetime.now(UTC) - changed >= RESTED)

    def _head(self) -> bytes:
        with self.system.open(self.path, "rb") as handle:
            return bytes(handle.read(_HEAD))

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        with self.system.open(self.path, "rb") as handle:
            if not self.name.lower().endswith(".gz"):
                yield handle
                return
            with gzip.open(handle) as unpacked:
                yield cast(BinaryIO, unpacked)

    @contextmanager
    def _told(self) -> Iterator[None]:
        ending = self.ending
        try:
            yield
        except BadInput as error:
            raise BadInput(f"{self.name}: {error}") from error
        except FileNotFoundError as error:
            raise Unavailable(f"expected {self.name}, it went away while it was read") from error
        except _UNREADABLE as error:
            raise BadInput(f"expected {ending[1:]} in {self.name}, it cannot be read: {error}") from error


def _values_a_row(file: parquet.ParquetFile) -> int:
    """How many values a row holds, with those of its lists."""
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    values = sum(group.column(j).num_values for group in groups for j in range(group.num_columns))
    return int(values // max(1, file.metadata.num_rows))


def _local() -> Any:
    return fsspec.filesystem("file")


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()


def _fixed_folder(pattern: str) -> str:
    """The folder of a pattern in which all its files lie.

    >>> _fixed_folder("/logs/**/*.csv"), _fixed_folder("/logs/a.csv")
    ('/logs', '/logs')
    """
    fixed = PurePosixPath(pattern).parent
    while set("*?[") & set(str(fixed)):
        fixed = fixed.parent
    return str(fixed)
