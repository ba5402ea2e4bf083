"""A proposal to retrain: its states, its evidence, and when policy raises one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from monitor.errors import IllegalTransition
from monitor.governance.audit_chain import as_stored, canonical_json, sha256
from monitor.performance.verdict import HARMFUL, Verdict


class ProposalState(StrEnum):
    """Where a proposal stands."""

    DRAFT = "draft"
    PROPOSED = "proposed"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    QUEUED = "queued"
    TRAINING = "training"
    TRAINED = "trained"
    VALIDATING = "validating"
    AWAITING_PROMOTION = "awaiting_promotion"
    PROMOTED = "promoted"
    OBSERVING = "observing"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"


_S = ProposalState
WITH_PEOPLE = frozenset({_S.AWAITING_APPROVAL, _S.AWAITING_PROMOTION})
CLOSED = frozenset(
    {_S.CONFIRMED, _S.REJECTED, _S.EXPIRED, _S.CANCELLED, _S.FAILED, _S.SUPERSEDED, _S.ROLLED_BACK}
)  # fmt: skip
_STOP = frozenset({_S.CANCELLED, _S.SUPERSEDED})

TRANSITIONS: dict[ProposalState, frozenset[ProposalState]] = {
    _S.DRAFT: frozenset({_S.PROPOSED, _S.EXPIRED}) | _STOP,
    _S.PROPOSED: frozenset({_S.AWAITING_APPROVAL, _S.EXPIRED}) | _STOP,
    _S.AWAITING_APPROVAL: frozenset({_S.APPROVED, _S.REJECTED, _S.EXPIRED}) | _STOP,
    _S.APPROVED: frozenset({_S.QUEUED, _S.EXPIRED}) | _STOP,
    _S.QUEUED: frozenset({_S.TRAINING, _S.FAILED, _S.EXPIRED}) | _STOP,
    _S.TRAINING: frozenset({_S.TRAINED, _S.FAILED}) | _STOP,
    _S.TRAINED: frozenset({_S.VALIDATING, _S.FAILED}) | _STOP,
    _S.VALIDATING: frozenset({_S.AWAITING_PROMOTION, _S.FAILED}) | _STOP,
    _S.AWAITING_PROMOTION: frozenset({_S.PROMOTED, _S.REJECTED, _S.FAILED, _S.EXPIRED}) | _STOP,
    _S.PROMOTED: frozenset({_S.OBSERVING, _S.ROLLED_BACK}),
    _S.OBSERVING: frozenset({_S.CONFIRMED, _S.ROLLED_BACK}),
} | dict.fromkeys(CLOSED, frozenset[ProposalState]())


def check_transition(current: ProposalState | str, wanted: ProposalState | str) -> None:
    """Let a legal step pass.

    >>> check_transition("awaiting_approval", "approved")
    >>> check_transition("awaiting_approval", "promoted")
    Traceback (most recent call last):
    monitor.errors.IllegalTransition: a proposal that is awaiting_approval cannot become promoted; from here it can
    become approved, cancelled, expired, rejected, superseded

    Raises:
        IllegalTransition: there is no such step; the message lists those there are.
    """
    here, there = ProposalState(current), ProposalState(wanted)
    if there in TRANSITIONS[here]:
        return
    onward = ", ".join(sorted(TRANSITIONS[here])) or "nothing: it is closed"
    raise IllegalTransition(f"a proposal that is {here} cannot become {there}; from here it can become {onward}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a person is shown when they decide. Votes bind to its hash, so nothing can be changed under them."""

    verdict: Verdict
    sentence: str
    findings: Sequence[Mapping[str, Any]] = ()
    metric: Mapping[str, Any] = field(default_factory=dict)
    campaign: Mapping[str, Any] = field(default_factory=dict)
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    charts: Mapping[str, Any] = field(default_factory=dict)
    expected_benefit: str = ""
    cost: str = ""

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, the same before and after they were stored."""
        document: dict[str, Any] = {
            "verdict": self.verdict.value, "sentence": self.sentence, "findings": [dict(f) for f in self.findings],
            "metric": dict(self.metric), "campaign": dict(self.campaign), "snapshot": dict(self.snapshot),
            "charts": dict(self.charts), "expected_benefit": self.expected_benefit, "cost": self.cost,
        }  # fmt: skip
        stored: dict[str, Any] = as_stored(document)
        return stored

    @property
    def sha256(self) -> str:
        """Of the canonical JSON: the same evidence has the same hash on every machine."""
        return sha256(canonical_json(self.to_document()))


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether policy raises a proposal, and the sentence why or why not."""

    propose: bool
    why: str


def should_propose(
    verdicts: Iterable[Verdict], *, open_proposal: bool = False, frozen: bool = False, for_windows: int = 1
) -> Decision:
    """Whether the latest verdicts (oldest first) warrant retraining.

    Yes when the last `for_windows` are all harmful or fragile. Never on a pipeline break, which would be learnt, nor on
    harmless drift; not while a proposal is open or the model is frozen.
    """
    recent = tuple(verdicts)[-for_windows:]
    if not recent:
        return Decision(propose=False, why="No window has been judged yet.")
    latest = recent[-1]
    if latest is Verdict.PIPELINE_BREAK:
        return Decision(propose=False, why="The pipeline is broken: mend the feed; the model would learn the fault.")
    if latest not in HARMFUL | {Verdict.FRAGILE}:
        return Decision(propose=False, why=f"The verdict is {latest.in_words}: retraining is not warranted.")
    if frozen:
        return Decision(
            propose=False, why="The model is frozen: automatic acts are stopped until someone unfreezes it."
        )
    if open_proposal:
        return Decision(propose=False, why="A proposal is open already; a model has one at a time.")
    bad = sum(verdict in HARMFUL | {Verdict.FRAGILE} for verdict in recent)
    if len(recent) < for_windows or bad < for_windows:
        return Decision(propose=False, why=f"{bad} of the {for_windows} windows needed are harmful or fragile.")
    return Decision(propose=True, why=f"The verdict is {latest.in_words} for {bad} window{'s' if bad > 1 else ''}.")
