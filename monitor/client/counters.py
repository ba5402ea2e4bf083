"""What became of the rows, and what is said about it, once."""

import logging
from dataclasses import dataclass, field

KINDS = ("traces", "labels")
_LOG = logging.getLogger("monitor.client")


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Rows of this process, traces and labels together, at one moment.

    Once nothing is on its way, logged + recovered == sent + refused + dropped + waiting + spooled.
    """

    logged: int
    waiting: int  # in memory
    spooled: int  # on disk, of this process
    recovered: int  # sent of those that an earlier process left on disk
    sent: int  # acknowledged; the server called them
    accepted: int  # - new
    duplicate: int  # - known already
    quarantined: int  # - bad: they wait for a person
    profiled: int  # of those sent, rows that travelled as counts and a sample
    refused: int  # never taken as they are: kept in `refused.*` of the spool, if there is one
    dropped: int  # lost: no room in memory nor on disk, or closed too early
    retries: int  # attempts to send that failed and are made again


@dataclass(kw_only=True)
class Tally:
    """The counts that the courier keeps; `settled` are the rows of each kind that nothing more is done about."""

    recovered: int = 0
    sent: int = 0
    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    profiled: int = 0
    refused: int = 0
    dropped: int = 0
    retries: int = 0
    settled: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))


class Notices:
    """Warnings that are said once, however often their cause comes again."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def once(self, cause: str, sentence: str) -> None:
        if cause not in self._said and len(self._said) < 100:
            self._said.add(cause)
            _LOG.warning("holdfast: %s", sentence)

    def over(self, cause: str, sentence: str) -> None:
        """The cause is gone; the next time is news again."""
        if cause in self._said:
            self._said.remove(cause)
            _LOG.info("holdfast: %s", sentence)
