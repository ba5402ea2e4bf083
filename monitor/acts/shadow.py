"""The shadow: a candidate scores live traces beside the champion, and what comes of it counts before a promotion."""

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.proposals import announce, subject_of
from monitor.alerts import Severity
from monitor.db.audit import record
from monitor.db.base import Json
from monitor.db.registry import Model, ModelSettings
from monitor.db.retraining import Proposal, Shadow
from monitor.errors import NotAllowed
from monitor.governance import POLICY, GateResult
from monitor.performance.confidence_sequence import ConfidenceSequence
from monitor.windows import floor_to_grid

GATE = "shadow"


class ShadowVerdict(StrEnum):
    """What a shadow comes to."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    FAILED = "failed"  # live rows could not be scored
    UNDECIDED = "undecided"  # the period is over, and the interval holds the limit still


_BLOCKING = (ShadowVerdict.WORSE, ShadowVerdict.FAILED)


class Loss(StrEnum):
    """What a labelled row costs, from 0 to 1."""

    BRIER = "squared error of the probability"
    WRONG = "wrong decision"
    ABSOLUTE = "absolute error, in parts of four times the champion's mean error"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what a shadow compares, fixed before its first row.

    `unit` is the champion's mean absolute error where values are predicted: a decision changes by more than it.
    `champion_by` is where the champion's scores come from: what its traces report, or its artefact.
    """

    loss: Loss
    champion_by: str
    unit: float | None = None

    def to_document(self) -> Json:
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The terms that `to_document` wrote; further keys are ignored."""
        return cls(
            loss=Loss(document["loss"]), champion_by=document["champion_by"], unit=document["unit"]
        )  # fmt: skip


def begin_shadow(
    session: Session, proposal: Proposal, model: Model, *, since: datetime, terms: Terms, now: datetime
) -> Shadow | None:
    """Shadow the candidate from the first whole window after `since` (stream time); None where none is wanted."""
    settings = ModelSettings.of(model)
    if settings.shadow_windows == 0 or proposal.candidate_id is None:
        return None
    floor = floor_to_grid(since, settings.width)
    begins = floor if floor == since else floor + settings.width
    shadow = Shadow(
        proposal_id=proposal.id, champion_id=proposal.champion_id, candidate_id=proposal.candidate_id, since=begins,
        document={
            **terms.to_document(), "limit": settings.shadow_limit, "windows": settings.shadow_windows,
            "ends": (begins + settings.shadow_windows * settings.width).isoformat(), "seen_until": begins.isoformat(),
            "judged_until": begins.isoformat(), "decisions": {"rows": 0, "changed": 0, "examples": []},
            "sequence": ConfidenceSequence(lower=-1, upper=1).to_document(), "verdict": None,
        },
        updated_at=now,
    )  # fmt: skip
    session.add(shadow)
    session.flush()
    return shadow


def shadow_of(session: Session, proposal: Proposal) -> Shadow | None:
    """The proposal's shadow, if it has one."""
    return session.get(Shadow, proposal.id)


def shadow_verdict(session: Session, proposal: Proposal) -> str | None:
    """What the shadow has come to; `running` while it has not, None where there is none.

    Raises:
        NotAllowed: it says that the candidate is worse, or could not score live rows, so nobody may promote it.
    """
    found = session.scalar(select(Shadow).where(Shadow.proposal_id == proposal.id))
    if found is None:
        return None
    if found.document.get("verdict") in _BLOCKING:
        raise NotAllowed(f"{found.document['sentence']} It may not be promoted: reject the proposal")
    return str(found.document.get("verdict") or "running")


def conclude(
    session: Session, shadow: Shadow, verdict: ShadowVerdict, *, why: str = "", now: datetime
) -> None:  # fmt: skip
    """Close the shadow, add its gate to the proposal's, put it on the record and tell people; `why` it failed."""
    proposal = session.get_one(Proposal, shadow.proposal_id, with_for_update={"key_share": True})
    sequence = ConfidenceSequence.from_document(shadow.document["sequence"])
    sentence = f"Shadow: {why}" if why else sentence_of(shadow.document, verdict)
    low, high = sequence.interval
    gate = GateResult(
        name=GATE, value=sequence.mean if sequence.n else 0.0, limit=shadow.document["limit"], low=low, high=high,
        passed=verdict not in _BLOCKING, sentence=sentence,
    )  # fmt: skip
    decided = verdict in (ShadowVerdict.WORSE, ShadowVerdict.NOT_WORSE)
    shadow.state = "decided" if decided else "ended"
    shadow.document = {**shadow.document, "verdict": verdict.value, "sentence": sentence}
    shadow.updated_at = now
    proposal.gates = [*(one for one in proposal.gates if one["name"] != GATE), gate.to_document()]
    session.flush()
    model = session.get_one(Model, proposal.model_id)
    record(
        session, "proposal.shadow_ended", by=POLICY.id, subject=subject_of(proposal), at=now, model=model.name,
        sentence=sentence, verdict=verdict.value, rows=shadow.rows,
    )  # fmt: skip
    worse = verdict in _BLOCKING
    announce(
        session, proposal, event="shadow_ended", severity=Severity.TICKET if worse else Severity.INFO,
        title="the candidate fails on live traffic" if worse else "the shadow is over", lines=(sentence,),
        do=f"reject proposal #{proposal.id}." if worse else "",
    )  # fmt: skip


def abandon_shadow(session: Session, shadow: Shadow, *, now: datetime) -> None:
    """Nobody decides on the candidate any more."""
    shadow.state, shadow.updated_at = "ended", now
    session.flush()


def sentence_of(document: Json, verdict: ShadowVerdict) -> str:
    """What the shadow says, with its interval and how many decisions would change."""
    sequence = ConfidenceSequence.from_document(document["sequence"])
    decisions = document["decisions"]
    share = decisions["changed"] / decisions["rows"] if decisions["rows"] else 0.0
    changed = f"{share:.1%} of {decisions['rows']:,} decisions change"
    if not sequence.n:
        return f"Shadow: no label came, so nothing is known of its loss; {changed}."
    low, high = sequence.interval
    words = {
        ShadowVerdict.NOT_WORSE: "is not worse than the champion",
        ShadowVerdict.WORSE: "is worse than the champion",
        ShadowVerdict.FAILED: "could not be compared further",
        ShadowVerdict.UNDECIDED: "is neither known to be worse nor known not to be",
    }[verdict]
    return (
        f"Shadow: on {sequence.n:,} labelled live rows the candidate {words}: mean loss ({document['loss']}) "
        f"{sequence.mean:+.4f} [{low:+.4f}, {high:+.4f}], limit {document['limit']:+.4f}; {changed}."
    )
