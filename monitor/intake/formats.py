"""Bodies of requests as rows: JSON, lines of JSON, or an Arrow IPC stream; gzip and zstd unpacked up to a limit.

Numbers that JSON does not know (NaN, Infinity, 1e400) are read as what they say: the quality check counts them. What
cannot be a row is told by its position, and the rows around it are taken.
"""

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from monitor.errors import BadInput, TooLarge
from monitor.intake.fields import Records, Rows
from monitor.intake.validate import MOST_RAW, BadRow
from monitor.schema import MAX_FEATURES

MOST_BYTES = 5 * 2**20  # of a body as it is sent
MOST_INFLATED = 20 * 2**20  # of the same, unpacked
MOST_ROWS = 5_000
MOST_COLUMNS = MAX_FEATURES + 20
JSON, LINES, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
TYPES = {
    JSON: JSON, LINES: LINES, "application/ndjson": LINES, "application/jsonl": LINES, "application/x-jsonlines": LINES,
    ARROW: ARROW,
}  # fmt: skip
ENCODINGS = ("identity", "gzip", "zstd")
_SEVERAL = "expected a list of rows, or an object with the list `rows`"


@dataclass(frozen=True, kw_only=True)
class Received:
    """The rows of a body, their positions in it, and what there was beside them."""

    rows: Rows
    positions: Sequence[int]
    bad: tuple[BadRow, ...] = ()


def inflate(body: bytes, encoding: str, most: int = MOST_INFLATED) -> bytes:
    """The body as it was before it was packed.

    Raises:
        BadInput: it is not packed so.
        TooLarge: it would be larger than `most`; no more than that was unpacked.
    """
    match encoding:
        case "identity":
            unpacked = body
        case "gzip":
            unpacked = _gunzip(body, most)
        case "zstd":
            unpacked = _unzstd(body, most)
        case other:
            raise BadInput(f"expected Content-Encoding {', '.join(ENCODINGS)}, got {other[:40]!r}")
    if len(unpacked) > most:
        raise TooLarge(f"expected at most {most:,} bytes of rows, got more: send them in several requests")
    return unpacked


def read(data: bytes, kind: str) -> Received:
    """The rows of an unpacked body of one of `TYPES`' values.

    Raises:
        BadInput: it cannot be read at all.
        TooLarge: more rows or columns than one request may hold.
    """
    match kind:
        case "application/json":
            return _from_objects(_objects(data))
        case "application/x-ndjson":
            return _from_lines(data)
        case _:
            return _from_arrow(data)


def _gunzip(body: bytes, most: int) -> bytes:
    unpacked, rest = bytearray(), body
    while rest and len(unpacked) <= most:  # one member after another
        stream = zlib.decompressobj(wbits=31)
        try:
            unpacked += stream.decompress(rest, most + 1 - len(unpacked))
        except zlib.error as error:
            raise BadInput(f"expected a gzip body: {error}") from error
        if not stream.eof and len(unpacked) <= most:
            raise BadInput("expected a whole gzip body, it ends early")
        rest = stream.unused_data
    return bytes(unpacked)


def _unzstd(body: bytes, most: int) -> bytes:
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
            return bytes(stream.read(most + 1))
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"expected a zstd body: {error}") from error


def _objects(data: bytes) -> list[Any]:
    found = _parsed(data)
    if isinstance(found, dict):
        found = found.get("rows")
    if not isinstance(found, list):
        raise BadInput(f"{_SEVERAL}, got {type(found).__name__ if found is not None else 'neither'}")
    return found


def _parsed(data: bytes) -> Any:
    """The value of a JSON text; what orjson refuses is tried once more, by the letter less strict."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as strict:
        try:
            return json.loads(data, parse_int=_whole)
        except RecursionError:
            raise BadInput("expected JSON of few levels, got one that is nested too deeply") from None
        except ValueError:
            raise BadInput(f"expected JSON: {strict}") from None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else math.inf


def _from_lines(data: bytes) -> Received:
    lines = [line for line in data.splitlines() if line.strip()]
    _require_few(len(lines))
    try:
        return _from_objects(orjson.loads(b"[%b]" % b",".join(lines)))
    except orjson.JSONDecodeError:
        return _from_objects(list(_line_by_line(lines)))


class _Unread:
    """A line that is no JSON."""

    def __init__(self, text: str, why: str) -> None:
        self.text, self.why = text, why


def _line_by_line(lines: Sequence[bytes]) -> Iterator[Any]:
    for line in lines:
        try:
            yield _parsed(line)
        except BadInput as error:
            yield _Unread(line[:MOST_RAW].decode(errors="replace").replace("\x00", "\\0"), str(error))


def _from_objects(found: list[Any]) -> Received:
    _require_few(len(found))
    if all(type(row) is dict for row in found):
        return Received(rows=_records(found), positions=range(len(found)))
    positions = [i for i, row in enumerate(found) if type(row) is dict]
    bad = tuple(_no_row(i, row) for i, row in enumerate(found) if type(row) is not dict)
    return Received(rows=_records([found[i] for i in positions]), positions=positions, bad=bad)


def _no_row(position: int, row: Any) -> BadRow:
    if isinstance(row, _Unread):
        return BadRow(position=position, reason=row.why, raw=row.text)
    reason = f"expected an object, got {type(row).__name__}"
    return BadRow(position=position, reason=reason, raw=json.dumps(row)[:MOST_RAW])


def _records(rows: list[dict[str, Any]]) -> Records:
    """Columns of rows that name their fields."""
    if not rows:
        return Records({}, 0)
    names = dict.fromkeys(rows[0])
    if any(row.keys() != rows[0].keys() for row in rows):
        for row in rows:
            names |= dict.fromkeys(row)
            _require_narrow(len(names))
    _require_narrow(len(names))
    return Records({name: [row.get(name) for row in rows] for name in names}, len(rows))


def _from_arrow(data: bytes) -> Received:
    from monitor.intake.arrow_stream import read_stream

    try:
        table = read_stream(data, most_rows=MOST_ROWS)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise BadInput(f"expected an Arrow IPC stream: {str(error)[:200]}") from error
    _require_few(len(table))
    _require_narrow(table.num_columns)
    return Received(rows=table, positions=range(len(table)))


def _require_few(rows: int) -> None:
    if rows > MOST_ROWS:
        raise TooLarge(f"expected at most {MOST_ROWS:,} rows a request, got {rows:,}: send them in several")


def _require_narrow(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise TooLarge(f"expected at most {MOST_COLUMNS:,} fields a row, got {columns:,}: use a vector feature")
