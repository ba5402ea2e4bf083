"""Takes rows from the mailbox to the server, by way of the disk when it must: in one thread, a step at a time.

A step does one thing (take a batch, write to the disk, send one body) and says how long there is nothing to do. What
lies on disk is sent before what is in memory, so that rows of a kind arrive in the order in which they were logged.
"""

import gzip
from dataclasses import dataclass, field
from typing import Any, Protocol

from monitor.client.answers import Backoff, Meaning, Verdict, judge
from monitor.client.counters import Counters, Notices, Tally
from monitor.client.counting import Counting
from monitor.client.mailbox import Mailbox
from monitor.client.spool import Spool
from monitor.client.stock import Parcel, Stock
from monitor.client.transport import Transport, Unreachable

PATIENCE_SECONDS = 5.0  # of an outage, until what is in memory goes to the disk
MEND_SECONDS = 30.0  # between two attempts where a person has to put something right
_LEVEL = 1  # of gzip: rows of numbers gain little from more


class Clock(Protocol):
    """Seconds: `time` since 1970, for rows; `monotonic` for waits."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...


@dataclass(kw_only=True)
class Courier:
    """The state of the one thread that sends."""

    model_path: str  # /v1/models/fraud
    token: str
    mailbox: Mailbox
    transport: Transport
    clock: Clock
    notices: Notices
    spool: Spool | None
    batch_rows: int  # that go without waiting for more
    body_rows: int  # of one request, at most
    flush_seconds: float
    timeout_seconds: float
    counting: Counting | None = None
    backoff: Backoff = field(default_factory=Backoff)
    tally: Tally = field(default_factory=Tally)
    hurry: bool = False  # somebody waits: do not wait for a full batch, nor out a back-off

    def __post_init__(self) -> None:
        self._stock = Stock(
            mailbox=self.mailbox, spool=self.spool, tally=self.tally, notices=self.notices, body_rows=self.body_rows
        )
        self._flush_at = self.clock.monotonic() + self.flush_seconds
        self._away_since: float | None = None
        self._again_at = 0.0  # the back-off
        self._not_before = 0.0  # what the server asked for, which a hurry does not shorten

    def step(self) -> float:
        """Do what is next; seconds until there is something to do."""
        now = self.clock.monotonic()
        if self.mailbox.dropped:
            self.notices.once("dropped", "no room in memory: rows are dropped, and counted in `counters.dropped`")
        if self.mailbox.refused:
            self.notices.once("no row", "what was logged is no mapping of features: it is left out")
        if self.spool is not None:
            self.spool.adopt(now)
        if self.hurry or now >= self._flush_at or len(self.mailbox) >= self.batch_rows:
            self._take()
        away_for_long = self._away_since is not None and now - self._away_since >= PATIENCE_SECONDS
        self._stock.relieve(all_of_it=away_for_long)
        due = self._not_before if self.hurry else max(self._not_before, self._again_at)
        if now < due:
            return max(0.0, min(due, self._flush_at) - now)
        if self.counting is not None:
            self.counting.keep_up(now)
        if (parcel := self._stock.in_hand()) is not None:
            self._send(parcel)
            return 0.0
        self.hurry = self.hurry and len(self.mailbox) > 0
        full = len(self.mailbox) >= self.batch_rows
        return 0.0 if full or self.hurry else max(0.0, self._flush_at - now)

    def finish(self) -> None:
        """What is not sent goes to the disk, or is lost and counted."""
        self._stock.empty()
        if self.spool is not None:
            self.spool.close()
        self.transport.close()

    def counters(self) -> Counters:
        tally, mailbox = self.tally, self.mailbox
        logged, waiting = mailbox.counts()
        return Counters(
            logged=logged,
            waiting=waiting,
            spooled=self.spool.rows if self.spool is not None else 0,
            recovered=tally.recovered,
            sent=tally.sent,
            accepted=tally.accepted,
            duplicate=tally.duplicate,
            quarantined=tally.quarantined,
            profiled=tally.profiled,
            refused=tally.refused + mailbox.refused,
            dropped=tally.dropped + mailbox.dropped,
            retries=tally.retries,
        )

    def _take(self) -> None:
        self._stock.take()
        if not len(self.mailbox):
            self._flush_at = self.clock.monotonic() + self.flush_seconds

    def _send(self, parcel: Parcel) -> None:
        counts = self._counts_of(parcel)
        body = gzip.compress(b"".join(parcel.parts[0]) if counts is None else counts, _LEVEL, mtime=0)
        headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "gzip",
            "Authorization": f"Bearer {self.token}",
            "User-Agent": "holdfast-client",
        }
        to = parcel.kind if counts is None else "profiles"
        try:
            answer = self.transport.send(f"{self.model_path}/{to}", body, headers, self.timeout_seconds)
        except Unreachable as error:
            return self._failed(Verdict(meaning=Meaning.LATER, sentence=f"no answer ({error})"))
        verdict = judge(answer, now=self.clock.time())
        if counts is not None and self._declined(parcel, verdict):
            return
        match verdict.meaning:
            case Meaning.TAKEN:
                self.tally.profiled += len(parcel.parts[0]) if counts is not None else 0
                self._taken(parcel, verdict.told)
            case Meaning.TOO_LARGE if len(parcel.parts[0]) > 1:
                self._stock.halve(parcel)
            case Meaning.TOO_LARGE | Meaning.REFUSED:
                self._refused(parcel, verdict.sentence)
            case _:
                self._failed(verdict)

    def _counts_of(self, parcel: Parcel) -> bytes | None:
        if self.counting is None or parcel.as_rows or parcel.kind != "traces":
            return None
        return self.counting.body_of(parcel.parts[0])

    def _declined(self, parcel: Parcel, verdict: Verdict) -> bool:
        """Whether the counts of a batch were not taken: it is counted anew or sent as rows, which is never wrong.

        The ledger of the server knows rows by their ids, however they came.
        """
        assert self.counting is not None
        passing = verdict.meaning is Meaning.LATER and verdict.status != 500
        if verdict.meaning is Meaning.TAKEN or passing or verdict.status in (401, 403):
            return False
        parcel.as_rows = parcel.recounted or verdict.problem != "stale-plan"
        parcel.recounted = True
        self.counting.declined(verdict)
        return True

    def _failed(self, verdict: Verdict) -> None:
        now = self.clock.monotonic()
        if self._away_since is None:
            self._away_since = now
        self.tally.retries += 1
        wait = self.backoff.failed()
        if verdict.meaning is Meaning.MEND:
            wait = max(wait, MEND_SECONDS)
            self.notices.once("mend", f"the server refuses rows, which are kept: {verdict.sentence}")
        else:
            self.notices.once("away", f"the server takes no rows now, which are kept: {verdict.sentence}")
        self.hurry = False
        self._not_before = now + verdict.wait_seconds
        self._again_at = self._not_before + wait

    def _taken(self, parcel: Parcel, told: Any) -> None:
        bad = told.get("quarantined_total") or 0
        self.tally.sent += len(parcel.parts[0])
        self.tally.accepted += told["accepted"]
        self.tally.duplicate += told["duplicate"]
        self.tally.quarantined += bad
        if bad:
            self.notices.once("quarantined", f"{bad:,} rows of a batch wait in quarantine{_first_reason(told)}")
        if ignored := told.get("ignored"):
            names = ", ".join(map(str, ignored[:5]))
            self.notices.once("ignored", f"the model's schema does not know these fields, which are left out: {names}")
        self._answered(parcel)

    def _refused(self, parcel: Parcel, sentence: str) -> None:
        rows = parcel.parts[0]
        where = "left out"
        if self.spool is not None and self.spool.refuse(parcel.kind, rows):
            where = f"kept in {self.spool.refused(parcel.kind)}"
        self.notices.once(sentence, f"{len(rows):,} rows can never be taken and are {where}: {sentence}")
        self.tally.refused += len(rows)
        self._answered(parcel)

    def _answered(self, parcel: Parcel) -> None:
        for cause in ("away", "mend"):
            self.notices.over(cause, "the server takes rows again")
        self._away_since = None
        self._again_at = self._not_before = 0.0
        self.backoff.succeeded()
        self._stock.settle(parcel)


def _first_reason(told: Any) -> str:
    """Why the first was refused, without the value that it held: inputs are in no log."""
    try:
        return ", the first: " + str(told["quarantined"][0]["reason"]).partition(", got ")[0]
    except (LookupError, TypeError):
        return ""
