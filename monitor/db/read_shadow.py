"""What a candidate's shadow has come to, as people see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from monitor.db.retraining import Shadow
from monitor.performance.confidence_sequence import ConfidenceSequence


@dataclass(frozen=True, kw_only=True)
class ShadowPage:
    """A shadow: `difference` is the candidate's mean loss less the champion's, [low, high] holds at every moment."""

    state: str
    verdict: str | None
    sentence: str
    rows: int
    difference: float
    low: float
    high: float
    limit: float
    loss: str
    decisions: int
    changed: int
    examples: tuple[str, ...]
    since: datetime
    ends: datetime
    seen_until: datetime
    windows: int

    @property
    def share_changed(self) -> float:
        return self.changed / self.decisions if self.decisions else 0.0

    @property
    def headline(self) -> str:
        """What it has come to, or how far it is."""
        if self.sentence:
            return self.sentence
        return f"Shadow: {self.rows:,} labelled live rows compared so far; nothing is decided yet."


def shadow_page(session: Session, proposal_id: int) -> ShadowPage | None:
    """The shadow of a proposal, or None where it has none."""
    shadow = session.get(Shadow, proposal_id)
    return None if shadow is None else _page(shadow, shadow.document)


def _page(shadow: Shadow, document: Mapping[str, Any]) -> ShadowPage:
    sequence = ConfidenceSequence.from_document(document["sequence"])
    low, high = sequence.interval
    decisions = document["decisions"]
    return ShadowPage(
        state=shadow.state, verdict=document.get("verdict"), sentence=str(document.get("sentence") or ""),
        rows=shadow.rows, difference=sequence.mean if sequence.n else 0.0, low=low, high=high, limit=document["limit"],
        loss=document["loss"], decisions=decisions["rows"], changed=decisions["changed"],
        examples=tuple(decisions["examples"]), since=shadow.since, ends=datetime.fromisoformat(document["ends"]),
        seen_until=datetime.fromisoformat(document["seen_until"]), windows=document["windows"],
    )  # fmt: skip
