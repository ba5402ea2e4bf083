"""What an answer of the server means for the rows that were sent."""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from monitor.client.transport import Answer

FOR_EVER = frozenset({400, 415, 422})  # refused as they are, whenever they come
MOST_WAIT_SECONDS = 300.0  # however long a server says


class Meaning(StrEnum):
    TAKEN = "taken"
    TOO_LARGE = "too large"
    REFUSED = "refused"
    LATER = "later"
    MEND = "mend"  # a person has to put something right: a token, a name, an address


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do; `wait_seconds` is what the server asked for, `told` its document where it took the rows.

    `status` is 0 where no answer came; `problem` is the server's own name for what is wrong, such as stale-plan.
    """

    meaning: Meaning
    status: int = 0
    problem: str = ""
    sentence: str = ""
    wait_seconds: float = 0.0
    told: Mapping[str, Any] = field(default_factory=dict)


def judge(answer: Answer, *, now: float) -> Verdict:
    """Rows are acknowledged by the server's own document alone: a page of a proxy with status 200 is none."""
    document, status = _document(answer.body), answer.status
    if status == 200 and all(type(document.get(name)) is int for name in ("accepted", "duplicate")):
        return Verdict(meaning=Meaning.TAKEN, status=status, told=document)
    sentence = f"{status}: {document.get('detail') or 'no sentence came with it'}"[:400]
    problem = str(document.get("type", "")).removeprefix("urn:holdfast:")
    if status == 413:
        return Verdict(meaning=Meaning.TOO_LARGE, status=status, problem=problem, sentence=sentence)
    if status in FOR_EVER:
        return Verdict(meaning=Meaning.REFUSED, status=status, problem=problem, sentence=sentence)
    if status in (408, 425, 429) or status >= 500:
        wait = _asked_seconds(answer.headers.get("retry-after", ""), now)
        return Verdict(meaning=Meaning.LATER, status=status, sentence=sentence, wait_seconds=wait)
    return Verdict(meaning=Meaning.MEND, status=status, problem=problem, sentence=sentence)


@dataclass(kw_only=True)
class Backoff:
    """Waits that grow, with full jitter: many clients that lost one server do not come back as one.

    Source: Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    first_seconds: float = 0.5
    most_seconds: float = 30.0
    jitter: Callable[[float, float], float] = random.uniform
    failures: int = 0

    def failed(self) -> float:
        """Seconds until the next attempt."""
        self.failures += 1
        return self.jitter(0.0, min(self.most_seconds, self.first_seconds * 2.0 ** min(self.failures, 30)))

    def succeeded(self) -> None:
        self.failures = 0


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _asked_seconds(header: str, now: float) -> float:
    if not header:
        return 0.0
    try:
        seconds = float(header) if header.strip().isdecimal() else parsedate_to_datetime(header).timestamp() - now
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, seconds), MOST_WAIT_SECONDS)
