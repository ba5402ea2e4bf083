"""How much intake a process takes on at once: what is over that is refused at once, before it costs anything.

A request has a place, and room for its body, before its token is looked up: it is refused at once or not at all. A
caller that is refused is told when to come again; nothing of it was stored.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from monitor.errors import HoldfastError

Result = TypeVar("Result")
RETRY_SECONDS = 1


class Busy(HoldfastError):
    """There is no room now; come again in `retry_after` seconds."""

    def __init__(self, sentence: str, *, retry_after: int = RETRY_SECONDS) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class TooOften(Busy):
    """This caller sends more requests than it may."""


class Admission:
    """The room of one process. Used from one event loop alone, so that its counters need no lock."""

    def __init__(self, *, places: int = 16, most_bytes: int = 64 * 2**20, requests_per_second: float = 500.0) -> None:
        self._asking = ThreadPoolExecutor(2, thread_name_prefix="intake-asks")
        self._places, self._taken = places, 0
        self._most_bytes, self._bytes = most_bytes, 0
        self._rate = requests_per_second
        self._allowance: dict[str, tuple[float, float]] = {}  # of each caller: requests left, and when that was

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """A place among the requests, and room for a body of this many bytes, while the block runs.

        Raises:
            Busy: there is none.
        """
        if self._taken >= self._places:
            raise Busy(f"expected fewer requests at once: {self._taken} are being read and stored")
        if self._bytes + size > self._most_bytes:
            raise Busy("expected fewer requests at once: the bodies that are being read fill the room there is")
        self._taken += 1
        self._bytes += size
        try:
            yield
        finally:
            self._taken -= 1
            self._bytes -= size

    def count(self, caller: str) -> None:
        """Take one request off a caller's allowance, which refills steadily up to what one second holds.

        Raises:
            TooOften: none is left.
        """
        now = time.monotonic()
        left, since = self._allowance.get(caller, (self._rate, now))
        left = min(self._rate, left + (now - since) * self._rate)
        if left < 1:
            self._allowance[caller] = (left, now)
            raise TooOften(f"expected at most {self._rate:g} requests a second from {caller}: send larger batches")
        self._allowance[caller] = (left - 1, now)

    async def ask(self, work: Callable[[], Result]) -> Result:
        """Run something short, such as looking a token up, beside the batches."""
        return await asyncio.get_running_loop().run_in_executor(self._asking, work)
