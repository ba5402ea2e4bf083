"""The audit trail as a file: JSON lines that can be checked without a database, or a CSV for reading in a spreadsheet.

The first line says what the file holds, each further one is an entry with its hashes, the last one counts them and
holds the SHA-256 of all lines before it.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping

from monitor.errors import BadInput
from monitor.governance.audit_chain import Head, Link, Verification, canonical_json, check_links

FORMAT = 1
COLUMNS = ("number", "at", "actor", "action", "subject", "model", "details", "previous_hash", "hash")
_KIND, _END = "holdfast_audit", "holdfast_audit_end"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def export_lines(links: Iterable[Link], *, at: str, chosen: Mapping[str, str]) -> Iterator[str]:
    """The lines of a JSON-lines file, each with its newline; `chosen` is the filter, empty for the whole trail."""
    digest, count = hashlib.sha256(), 0
    first = canonical_json({_KIND: FORMAT, "exported_at": at, "partial": bool(chosen), "filter": dict(chosen)}) + "\n"
    digest.update(first.encode())
    yield first
    for link in links:
        line = canonical_json(vars(link)) + "\n"
        digest.update(line.encode())
        count += 1
        yield line
    yield canonical_json({_END: count, "sha256": digest.hexdigest()}) + "\n"


def csv_lines(links: Iterable[Link]) -> Iterator[str]:
    """The lines of a CSV file. It is for people: nothing in it can act as a formula, and it cannot be verified."""
    yield ",".join(COLUMNS) + "\r\n"
    for link in links:
        details = canonical_json(link.entry.get("details") or {})
        values = [link.number, *(link.entry.get(name) or "" for name in COLUMNS[1:6]), details]
        buffer = io.StringIO()
        csv.writer(buffer).writerow([harmless(str(value)) for value in (*values, link.previous_hash, link.hash)])
        yield buffer.getvalue()


def harmless(cell: str) -> str:
    """The text so that a spreadsheet shows it instead of computing it.

    >>> harmless("=HYPERLINK(1)"), harmless("fraud")
    ("'=HYPERLINK(1)", 'fraud')
    """
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) or cell.startswith("'") else cell


def verify_export(lines: Iterable[str], *, heads: Iterable[Head] = ()) -> Verification:
    """Check an exported file; the first thing that does not fit is named.

    Raises:
        BadInput: the file is no export of ours.
    """
    source = iter(lines)
    header = _header(next(source, ""))
    body = _Body(source, header)
    found = check_links(body.links(), heads=heads, partial=bool(json.loads(header)["partial"]))
    return found if body.fault is None else _damaged(body.fault)


class _Body:
    """Reads entries until the last line; what is wrong with the file itself is told in `fault`."""

    def __init__(self, lines: Iterator[str], header: str) -> None:
        self._lines = lines
        self._digest = hashlib.sha256(header.encode())
        self.fault: str | None = None

    def links(self) -> Iterator[Link]:
        for count, line in enumerate(self._lines):
            try:
                found = json.loads(line)
                if _END in found:
                    self._close(line, count)
                    return
                link = Link(**found)
                exact = canonical_json(vars(link)) + "\n" == line and isinstance(link.number, int)
            except (ValueError, TypeError, BadInput, RecursionError):
                exact = False
            if not exact:
                self.fault = f"line {count + 2} is not as it was written"
                return
            self._digest.update(line.encode())
            yield link
        self.fault = "it ends early: its last line is missing"

    def _close(self, line: str, count: int) -> None:
        exact = canonical_json({_END: count, "sha256": self._digest.hexdigest()}) + "\n"
        self.fault = None if line == exact else "its last line does not fit the lines before it"
        if self.fault is None and next(self._lines, None) is not None:
            self.fault = "something was added after its last line"


def _header(line: str) -> str:
    try:
        found = json.loads(line)
        version = found[_KIND]
        exact = canonical_json(found) + "\n" == line and isinstance(found["partial"], bool)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadInput(
            "expected a file that `holdfast audit export` wrote as JSON lines (a CSV cannot be verified)"
        ) from None
    if version != FORMAT or not exact:
        raise BadInput(f"expected an audit export of format {FORMAT}, got {line[:80]!r}")
    return line


def _damaged(fault: str) -> Verification:
    return Verification(ok=False, first_bad=None, sentence=f"The file was damaged or changed: {fault}.")
