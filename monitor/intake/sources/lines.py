"""CSV and JSON lines, record by record: a bookmark is a place in the file, and a record that is half written waits."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from monitor.errors import BadInput
from monitor.intake.validate import MOST_RAW, BadRow

LONGEST_RECORD = 8 * 2**20  # bytes


@dataclass(frozen=True, kw_only=True)
class Format:
    """How records are written; `separator` is empty for JSON lines. Columns in `as_text` are not taken for numbers."""

    separator: str
    as_text: tuple[str, ...] = ()

    @property
    def has_header(self) -> bool:
        return bool(self.separator)


@dataclass(kw_only=True)
class Chunk:
    """Records that follow one another, and the place behind them."""

    records: list[bytes] = field(default_factory=list)
    end: int = 0
    size: int = 0

    def add(self, record: bytes, *, blank: bytes) -> None:
        if record.strip(blank):  # an empty line is no record
            self.records.append(record)
        self.end, self.size = self.end + len(record), self.size + len(record)


def read_header(handle: BinaryIO, form: Format) -> bytes | None:
    """The first record of a CSV file, b"" where the format has none, None while it is not written to its end."""
    if not form.has_header:
        return b""
    first, complete = next(_records(handle, form), (b"", False))
    return first if complete else None


def chunks(
    handle: BinaryIO, form: Format, *, begin: int, most_rows: int, most_bytes: int, whole: bool
) -> Iterator[Chunk]:
    """The complete records from a place on. `whole`: the last one is complete though no line break follows it.

    Raises:
        BadInput: a record is longer than 8 MiB.
    """
    handle.seek(begin)
    chunk = Chunk(end=begin)
    blank = b" \t\r\n".replace(form.separator.encode() or b"\0", b"")
    for record, complete in _records(handle, form):
        if not (complete or whole or (not form.has_header and _is_object(record))):
            break
        chunk.add(record, blank=blank)
        if len(chunk.records) >= most_rows or chunk.size >= most_bytes:
            yield chunk
            chunk = Chunk(end=chunk.end)
    if chunk.records:
        yield chunk


def parse(header: bytes, records: list[bytes], form: Format, *, first: int) -> tuple[pd.DataFrame, tuple[BadRow, ...]]:
    """The rows of the records by their numbers, and the records that are none.

    Raises:
        BadInput: the records are not of this format at all.
    """
    numbers = np.arange(first, first + len(records))
    try:
        return _frame(header, records, form).set_axis(numbers, axis=0), ()
    except (ValueError, TypeError):  # some record among them is wrong: which one?
        good, bad = _sift(header, records, form, first)
    if len(bad) > max(10, len(records) // 2):
        raise BadInput(f"record {bad[0].position + 1}: {bad[0].reason}, and so are {len(bad) - 1:,} others")
    try:
        frame = _frame(header, [records[i] for i in good], form)
        return frame.set_axis(numbers[good], axis=0), bad
    except (ValueError, TypeError) as error:
        raise BadInput(f"records from {first + 1:,} on: {error}") from error


def _frame(header: bytes, records: list[bytes], form: Format) -> pd.DataFrame:
    body = io.BytesIO(header + b"".join(_ended(record) for record in records))
    if not form.has_header:
        return pd.read_json(body, lines=True, convert_dates=False, dtype=False) if records else pd.DataFrame()
    names = next(csv.reader([header.decode("utf-8-sig")], delimiter=form.separator))
    texts: Any = {name: str for name in form.as_text if name in names}
    frame = pd.read_csv(body, sep=form.separator, low_memory=False, dtype=texts)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"expected {len(names)} fields as in the header, got more")
    return frame


def _sift(header: bytes, records: list[bytes], form: Format, first: int) -> tuple[list[int], tuple[BadRow, ...]]:
    fields = len(next(csv.reader([header.decode("utf-8-sig", "replace")], delimiter=form.separator or ",")))
    faults = [_fault(record, form, fields) for record in records]
    bad = tuple(
        BadRow(position=first + i, reason=fault, raw=_readable(records[i])[:MOST_RAW])
        for i, fault in enumerate(faults)
        if fault is not None
    )
    return [i for i, fault in enumerate(faults) if fault is None], bad


def _fault(record: bytes, form: Format, fields: int) -> str | None:
    try:
        text = record.decode()
    except UnicodeDecodeError:
        return "expected text in UTF-8"
    if not form.has_header:
        return None if _is_object(record) else "expected a JSON object on each line"
    try:
        found = len(next(csv.reader(io.StringIO(text, newline=""), delimiter=form.separator)))
    except (csv.Error, StopIteration) as error:
        return f"expected {fields} fields, it cannot be read: {error}"
    return None if found <= fields else f"expected {fields} fields as in the header, got {found}"


def _readable(record: bytes) -> str:
    return record.decode("utf-8", "replace").replace("\0", "�")


def _is_object(record: bytes) -> bool:
    try:
        return isinstance(json.loads(record), dict)
    except ValueError:
        return False


def _ended(record: bytes) -> bytes:
    return record if record.endswith(b"\n") else record + b"\n"


def _records(handle: BinaryIO, form: Format) -> Iterator[tuple[bytes, bool]]:
    """The records from here on, and whether they are complete: the last one may lack its end.

    A quoted field of a CSV file may hold line breaks.
    """
    kept, inside = b"", False
    separator = form.separator.encode()
    while line := handle.readline(LONGEST_RECORD + 1):
        kept += line
        if len(kept) > LONGEST_RECORD:
            raise BadInput(f"expected records of at most {LONGEST_RECORD // 2**20} MiB, one is longer: is this a log?")
        inside = bool(separator) and _ends_inside_quotes(line, inside, separator)
        if not inside:
            yield kept, kept.endswith(b"\n")
            kept = b""
    if kept:
        yield kept, False


def _ends_inside_quotes(line: bytes, inside: bool, separator: bytes) -> bool:
    """Whether a quoted field is still open at the end of a line; a quote opens one at the start of a field only."""
    if b'"' not in line:
        return inside
    at = 0
    if not inside and line.startswith(b'"'):
        inside, at = True, 1
    while True:
        if inside:
            at = line.find(b'"', at)
            if at < 0:
                return True
            if line[at + 1 : at + 2] == b'"':  # a doubled quote is a quote
                at += 2
                continue
            inside, at = False, at + 1
        else:
            at = line.find(separator + b'"', at)
            if at < 0:
                return False
            inside, at = True, at + 2
