"""A courier without thread, network and waiting: a clock that is set, and a server that keeps what it acknowledges."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.client import Answer
from monitor.client.answers import Backoff
from monitor.client.counters import Notices
from monitor.client.courier import Courier
from monitor.client.mailbox import Mailbox
from monitor.client.spool import Spool
from monitor.client.transport import Unreachable


@dataclass
class SetClock:
    now: float = 1_000.0

    def time(self) -> float:
        return 1_780_000_000.0 + self.now

    def monotonic(self) -> float:
        return self.now


def refusal(status: int, sentence: str = "expected something else", **headers: str) -> Answer:
    found = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=found, body=json.dumps({"detail": sentence}).encode())


def unreachable(rows: list[dict[str, Any]]) -> Answer:
    raise Unreachable("ConnectionRefusedError")


@dataclass
class Server:
    """Takes rows as the real one does; `instead` answers in its place while it returns something."""

    instead: Callable[[list[dict[str, Any]]], Answer | None] = lambda rows: None
    table: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrived: list[str] = field(default_factory=list)  # ids, in the order in which they were first taken
    requests: list[tuple[str, int]] = field(default_factory=list)  # path and rows of each
    tokens: set[str] = field(default_factory=set)

    def send(self, path: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        assert (headers["Content-Type"], headers["Content-Encoding"]) == ("application/x-ndjson", "gzip")
        rows = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        self.requests.append((path, len(rows)))
        self.tokens.add(headers["Authorization"])
        if (answer := self.instead(rows)) is not None:
            return answer
        new = [row for row in rows if f"{path}/{row['trace_id']}" not in self.table]
        for row in new:
            self.table[f"{path}/{row['trace_id']}"] = row
            self.arrived.append(row["trace_id"])
        told = {"accepted": len(new), "duplicate": len(rows) - len(new), "quarantined": [], "quarantined_total": 0}
        return Answer(status=200, body=json.dumps(told).encode())

    def close(self) -> None:
        """Nothing."""


def courier_of(
    server: Any, clock: SetClock, *, folder: Path | None = None, max_rows: int = 1_000, batch_rows: int = 50,
    spool_bytes: int = 2**30, notices: Notices | None = None,
) -> Courier:  # fmt: skip
    notices = notices or Notices()
    spool = Spool(folder, "fraud", most_bytes=spool_bytes, notices=notices) if folder is not None else None
    return Courier(
        model_path="/v1/models/fraud", token="hf_t", mailbox=Mailbox(most_rows=max_rows, ring_every=batch_rows),
        transport=server, clock=clock, notices=notices, spool=spool, batch_rows=batch_rows, body_rows=batch_rows,
        flush_seconds=1.0, timeout_seconds=5.0, backoff=Backoff(jitter=lambda low, high: high),
    )  # fmt: skip


def run_for(courier: Courier, clock: SetClock, seconds: float) -> None:
    """Let the courier do all that it has to do within these seconds."""
    until = clock.now + seconds
    while (wait := courier.step()) <= 0 or clock.now + wait < until:
        clock.now += wait
    clock.now = until


def log(courier: Courier, *ids: object) -> None:
    for known in ids:
        courier.mailbox.put_trace(({"amount": 1.5}, str(known), courier.clock.time(), None, 0.5, None))


def label(courier: Courier, *ids: object) -> None:
    for known in ids:
        courier.mailbox.put_label((str(known), 1, courier.clock.time()))


def balanced(courier: Courier) -> bool:
    """Every row is somewhere, and once."""
    told = courier.counters()
    somewhere = told.sent + told.refused + told.dropped + told.waiting + told.spooled
    return told.logged + told.recovered == somewhere
