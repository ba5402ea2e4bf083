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


def as_stored(document: Any) -> Any:
    """Plain JSON as PostgreSQL gives it back, which writes 1e22 in full and knows no minus zero.

    What is hashed before it is stored has the same hash afterwards.

    >>> as_stored({"e_value": 1e22, "effect": -0.0, "n": (1, 2)})
    {'e_value': 10000000000000000000000, 'effect': 0.0, 'n': [1, 2]}
    """
    return json.loads(canonical_json(document), parse_float=_number)


def _number(text: str) -> float | int:
    value = float(text) + 0.0
    return int(value) if abs(value) >= 1e15 else value


def sha256(text: str) -> str:
    """The hash of UTF-8 text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def chain(previous_hash: str, entry: Mapping[str, Any]) -> str:
    """The hash of an entry that follows `previous_hash`; the first follows `GENESIS`."""
    return sha256(canonical_json({"previous": previous_hash, "entry": entry}))


@dataclass(frozen=True, kw_only=True)
class Link:
    """An entry in its place: the number the database gave it, what it says, and the two hashes."""

    number: int
    entry: Mapping[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True, kw_only=True)
class Head:
    """The newest entry at a moment (ISO time), kept outside the database."""

    number: int
    hash: str
    at: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Whether a chain is intact; `first_bad` is the first entry that does not fit.

    By its position from 0 where `verify` counted, by its number where `check_links` read it.
    """

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


def check_links(
    links: Iterable[Link], *, heads: Iterable[Head] = (), partial: bool = False, after: Head | None = None
) -> Verification:
    """Check a chain against itself and against heads that were signed earlier; entries are read once, in order.

    A chain that was rewritten from some entry on fits itself; only a head kept elsewhere shows that. `partial` is for
    a chosen part of the entries, of which each can only speak for itself. `after` is where the links go on from.

    >>> first = Link(number=1, entry={"action": "a"}, previous_hash=GENESIS, hash=chain(GENESIS, {"action": "a"}))
    >>> check_links([first], heads=[Head(number=2, hash="f" * 64, at="1 March")]).sentence
    'The chain ends at entry #1, but entry #2 was there when its head was signed at 1 March: the tail was cut.'
    """
    signed = {head.number: head for head in heads}
    missing = dict(signed)
    expected, last, count = (after.hash, after.number, 0) if after else (GENESIS, 0, 0)
    for link in links:
        if link.number <= last or (not partial and link.previous_hash != expected):
            return _bad(link.number, "does not follow the entry before it: one was removed, added or moved")
        if chain(link.previous_hash, link.entry) != link.hash:
            return _bad(link.number, "was altered after it was written")
        head = missing.pop(link.number, None)
        if head is not None and head.hash != link.hash:
            return _bad(link.number, f"is not the entry whose head was signed at {head.at}: the chain was rewritten")
        expected, last, count = link.hash, link.number, count + 1
    if partial:
        return Verification(ok=True, first_bad=None, sentence=_part(count))
    if missing:
        return _lost(missing[min(missing)], last)
    return Verification(ok=True, first_bad=None, sentence=_whole(count, len(signed)))


def _bad(number: int, what: str) -> Verification:
    return Verification(ok=False, first_bad=number, sentence=f"Entry #{number} {what}.")


def _lost(head: Head, last: int) -> Verification:
    if head.number < last:
        return _bad(head.number, f"is missing, and was there when its head was signed at {head.at}")
    end = f"The chain ends at entry #{last}" if last else "The chain is empty"
    sentence = f"{end}, but entry #{head.number} was there when its head was signed at {head.at}: the tail was cut."
    return Verification(ok=False, first_bad=head.number, sentence=sentence)


def _whole(count: int, heads: int) -> str:
    counted = f"{count:,} {'entry' if count == 1 else 'entries'}"
    if not heads:
        return (
            f"The audit chain is intact: {counted}. No signed head was at hand, and a cut tail shows against one only."
        )
    return f"The audit chain is intact: {counted}, and all {heads:,} signed heads are in it."


def _part(count: int) -> str:
    one = count == 1
    return (
        f"This is a part of the trail: its {count:,} {'entry is' if one else 'entries are'} unaltered; "
        "whether others are missing shows in a whole export only."
    )


def _broken(position: int, what: str) -> Verification:
    return Verification(ok=False, first_bad=position, sentence=f"Entry {position} {what}.")
