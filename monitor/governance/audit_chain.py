"""Rows chained by SHA-256 over canonical JSON: a changed or moved row shows; a cut tail needs a head kept elsewhere."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from monitor.errors import BadInput

GENESIS = "0" * 64


def canonical_json(document: Any) -> str:
    """One text for one value: keys sorted, no spaces, UTF-8, no NaN.

    >>> canonical_json({"b": 1.0, "a": "é"})
    '{"a":"é","b":1.0}'
    """
    try:
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"expected plain finite JSON values to hash, got {error}") from error


def sha256(text: str) -> str:
    """The hash of UTF-8 text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def chain(previous_hash: str, entry: Mapping[str, Any]) -> str:
    """The hash of an entry that follows `previous_hash`; the first follows `GENESIS`."""
    return sha256(canonical_json({"previous": previous_hash, "entry": entry}))


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether a chain is intact; `first_bad` is the position of the first entry that does not fit."""

    ok: bool
    first_bad: int | None
    sentence: str


def verify(entries: Iterable[tuple[Mapping[str, Any], str, str]], *, head: str | None = None) -> Verification:
    """Check (entry, previous_hash, hash) in order; with `head`, kept elsewhere, also that the tail was not cut.

    >>> first = {"action": "proposal.approved"}
    >>> verify([(first, GENESIS, chain(GENESIS, first))]).sentence
    'The audit chain is intact: 1 entry.'
    """
    expected, count = GENESIS, 0
    for position, (entry, previous, found) in enumerate(entries):
        if previous != expected:
            return _broken(position, "does not follow the entry before it: one was removed, added or moved")
        if chain(previous, entry) != found:
            return _broken(position, "was altered after it was written")
        expected, count = found, position + 1
    if head is not None and head != expected:
        return _broken(count, "is missing: the chain ends before the signed head")
    return Verification(
        ok=True,
        first_bad=None,
        sentence=f"The audit chain is intact: {count:,} {'entry' if count == 1 else 'entries'}.",
    )


def _broken(position: int, what: str) -> Verification:
    return Verification(ok=False, first_bad=position, sentence=f"Entry {position} {what}.")
