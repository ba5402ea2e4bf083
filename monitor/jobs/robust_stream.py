"""The share of rows that ticks lose to the attack, as a stream that remembers: from check run to check run."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun
from monitor.errors import BadInput
from monitor.jobs.stream import Subject
from monitor.robustness.stream import BUDGET_TICKS, RobustStream, Shares
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True)
class Registered:
    """What a tick's lost rows are held against: counts at registration, the level, and for regression the cut."""

    level: str
    shares: Shares
    cut: float | None

    @classmethod
    def of(cls, baseline: dict[str, Any], level: str) -> "Registered | None":
        """What `registered_stream` wrote for this level; None where there is none, or of another level."""
        document = baseline.get("stress_stream") or {}
        if document.get("level") != level:
            return None
        return cls(level=level, shares=Shares.from_document(document), cut=document.get("cut"))

    def to_document(self) -> dict[str, Any]:
        """What a stream is bound to, as plain JSON values."""
        return {"level": self.level, "registered": self.shares.to_document(), "cut": self.cut}


@dataclass(frozen=True, kw_only=True)
class Step:
    """The stream after a tick."""

    stream: RobustStream
    tick: Shares
    registered: Registered

    @property
    def alarm(self) -> bool:
        return self.stream.alarm

    @property
    def sentence(self) -> str:
        """What the alarm says; the registration's share is of rows with the same classes."""
        since, level = self.stream.since, self.registered.level
        before = self.registered.shares.expected_in(since)
        rows = sum(since.rows.values())
        evidence = f"{'≥ ' if self.alarm else ''}{min(self.stream.evidence, BUDGET_TICKS):,.0f}"
        return (
            f"{100 * since.share:.1f} % of {rows:,} rows are lost to the attack at {level}, "
            f"{100 * before:.1f} % of such rows were at registration (evidence {evidence} : 1)"
        )

    def to_document(self) -> dict[str, Any]:
        """What the views show of it."""
        return {
            "lost": self.tick.share,
            "registered": self.registered.shares.expected_in(self.tick),
            "evidence": self.stream.evidence,
            "needed": BUDGET_TICKS,
            "alarm": self.alarm,
        }


def step(session: Session, subject: Subject, before: datetime, lost: NDArray[np.bool_], y: FloatArray) -> Step | None:
    """Go on with the stream from the version's last tick until `before`; None when no registration can be compared."""
    registered = Registered.of(subject.version.baseline, subject.settings.stress_level)
    if registered is None:
        return None
    tick = Shares.of(lost, y, classes=subject.model.task != "regression")
    try:
        stream = _last(session, subject, before, registered).update(registered.shares, tick)
    except BadInput:  # of classes alone that the registration did not have
        return None
    return Step(stream=stream, tick=tick, registered=registered)


def state_of(found: Step) -> bytes:
    """What the next tick goes on from."""
    document = found.stream.to_document() | found.registered.to_document()
    return json.dumps(document, sort_keys=True).encode()


def _last(session: Session, subject: Subject, before: datetime, registered: Registered) -> RobustStream:
    """Where the last tick left the stream; it begins anew with another level or a new registration."""
    chosen = (
        select(CheckRun.detector_state)
        .where(
            CheckRun.version_id == subject.version.id, CheckRun.kind == "stress", CheckRun.ends <= before,
            CheckRun.detector_state.is_not(None),
        )
        .order_by(CheckRun.ends.desc(), CheckRun.revision.desc())
        .limit(1)
    )  # fmt: skip
    state = session.scalar(chosen)
    document = json.loads(state) if state else {}
    if any(document.get(name) != value for name, value in registered.to_document().items()):
        return RobustStream()
    return RobustStream.from_document(document)
