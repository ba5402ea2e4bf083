"""What is proposed, on which evidence, who decided, and how far the training is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from monitor.db.audit import AuditEntry
from monitor.db.checks import Report
from monitor.db.read_alerts import Event, event_of
from monitor.db.read_drift import Histogram
from monitor.db.registry import Model, Version, model_named
from monitor.db.retraining import CLOSED_STATES, Progress, Proposal, Vote

_HISTOGRAM = {"bin": "bins", "reference": "reference", "current": "current"}
RUNNING = ("approved", "queued", "training", "trained", "validating")
SERVING = ("promoted", "observing", "confirmed")
STATE_SENTENCES = {
    "draft": "is being drafted",
    "proposed": "is proposed",
    "awaiting_approval": "awaits approval",
    "approved": "is approved and will be queued",
    "queued": "is approved; the training is queued",
    "training": "is training",
    "trained": "is trained; its gates come next",
    "validating": "is being validated against its gates",
    "awaiting_promotion": "is trained and awaits promotion",
    "promoted": "is promoted; serving still reports {champion}",
    "observing": "serves: the traces report {candidate}, which is being observed",
    "confirmed": "serves: the traces report {candidate}, and its observation ended well",
    "rejected": "was rejected",
    "expired": "expired before anybody decided",
    "cancelled": "was cancelled",
    "failed": "failed",
    "superseded": "was superseded",
    "rolled_back": "was rolled back",
}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition that the candidate met or missed."""

    name: str
    value: float
    limit: float
    passed: bool
    sentence: str
    low: float | None = None
    high: float | None = None

    @property
    def is_loss(self) -> bool:
        """Whether a difference to the champion (`value`) points the way of its limit."""
        return self.value * self.limit > 0


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """A person's vote on a stage."""

    stage: str
    actor: str
    decision: str
    reason: str
    self_approved: bool
    as_validator: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Running:
    """How far the training is; `curve` has one entry an epoch."""

    done: int
    total: int
    sentence: str
    curve: tuple[Mapping[str, float], ...]
    updated_at: datetime

    @property
    def share(self) -> float:
        return min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True, kw_only=True)
class ProposalPage:
    """One proposal with all that a person needs to decide."""

    id: int
    model: str
    tier: int
    solo: bool
    state: str
    champion: str
    candidate: str | None
    serving: str | None
    alert_id: int | None
    reason: str
    verdict: str
    requested_by: str
    evidence: Mapping[str, Any]
    evidence_sha256: str
    recipe: str
    snapshot: Mapping[str, Any]
    gates: tuple[Gate, ...]
    comparison: Mapping[str, Any]
    last_error: str | None
    created_at: datetime
    expires_at: datetime
    ballots: tuple[Ballot, ...]
    timeline: tuple[Event, ...]
    running: Running | None
    report_id: int | None

    @property
    def stage(self) -> str | None:
        """`training` or `promotion` while a vote is awaited."""
        return {"awaiting_approval": "training", "awaiting_promotion": "promotion"}.get(self.state)

    @property
    def is_open(self) -> bool:
        return self.state not in CLOSED_STATES

    @property
    def is_running(self) -> bool:
        return self.state in RUNNING

    @property
    def is_about_to_change(self) -> bool:
        """Whether the next step is the machine's, so that a page had better look again."""
        voted = any(vote.stage == "promotion" and vote.decision == "approve" for vote in self.ballots)
        return self.is_running or self.state in ("promoted", "observing") or (self.stage == "promotion" and voted)

    @property
    def can_roll_back(self) -> bool:
        return self.state in SERVING and self.candidate == self.serving

    @property
    def is_replaced(self) -> bool:
        """Whether its version was confirmed and yet serves no more: a rollback, or a later proposal."""
        return self.state == "confirmed" and self.candidate != self.serving

    @property
    def can_promote_again(self) -> bool:
        return (self.state == "rolled_back" or self.is_replaced) and self.candidate not in (None, self.serving)

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """The culprits' values, then and now, as the evidence froze them."""
        return tuple(
            Histogram(
                feature=one["feature"],
                bins=pd.DataFrame({name: one[key] for name, key in _HISTOGRAM.items()}),
                n_reference=one["n_reference"],
                n_current=one["n_current"],
            )
            for one in (self.evidence.get("charts") or {}).get("histograms", ())
        )

    @property
    def metric_path(self) -> pd.DataFrame:
        """The metric up to the proposal, as the evidence froze it: name, starts, ends, verdict, value, low, high, n."""
        path = (self.evidence.get("charts") or {}).get("metric", ())
        rows = [
            {**one["metric"], "verdict": one["verdict"], "starts": one["starts"], "ends": one["ends"]} for one in path
        ]
        frame = pd.DataFrame(rows, columns=["name", "starts", "ends", "verdict", "value", "low", "high", "n"])
        return frame.assign(
            starts=pd.to_datetime(frame["starts"], utc=True), ends=pd.to_datetime(frame["ends"], utc=True)
        )

    @property
    def limit(self) -> float | None:
        """What the metric had to stay within when this was proposed."""
        limit: float | None = (self.evidence.get("metric") or {}).get("limit")
        return limit

    @property
    def if_not(self) -> str:
        """What goes on without a retraining."""
        metric = self.evidence.get("metric") or {}
        if metric.get("value") is None or self.limit is None:
            return f"{self.champion} serves on as it is."
        known = f"{metric['name']} {metric['value']:.3f} where the limit is {self.limit:.3f}"
        return f"{self.champion} serves on with {known}; let people decide its doubtful cases."

    @property
    def stress(self) -> str:
        """How robust the champion was when this was proposed; empty without a stress test."""
        campaign = self.evidence.get("campaign") or {}
        at, before = campaign.get("at_level") or {}, campaign.get("at_registration") or {}
        by_auc = at.get("robust_auc") is not None
        name, now = ("robust_auc", at["robust_auc"]) if by_auc else ("robust_accuracy", at.get("attacked"))
        if now is None or (not by_auc and "robust_accuracy" not in before):
            return ""
        since = f", {before[name]:.3f} at registration" if before.get(name) is not None else ""
        return f"{'robust AUC' if by_auc else 'robust accuracy'} {now:.3f} at {at['level']}{since}"

    @property
    def headline(self) -> str:
        words = STATE_SENTENCES[self.state].format(champion=self.champion, candidate=self.candidate)
        if self.is_replaced:
            words = f"served; {self.serving} has taken over since"
        return f"Proposal #{self.id} for {self.model} {words}"

    @property
    def failed_gates(self) -> tuple[Gate, ...]:
        return tuple(gate for gate in self.gates if not gate.passed)

    @property
    def worse(self) -> tuple[str, ...]:
        """What the candidate does worse, passed or not: a clean loss within its limit is a loss all the same."""
        gates = [gate.sentence for gate in self.gates if not gate.passed or (gate.name == "clean" and gate.is_loss)]
        return (*gates, *(one["sentence"] for one in self.comparison.get("slices", ())))

    @property
    def _worst_risk(self) -> str:
        """The slice in which the candidate loses most, if there is one."""
        slices = self.comparison.get("slices") or ()
        return f" Worst risk: {slices[0]['feature']} {slices[0]['slice']} (n = {slices[0]['n']:,})." if slices else ""

    @property
    def recommendation(self) -> str:
        """What the evidence says to do, in a sentence; empty where nothing is to be decided."""
        if self.state == "awaiting_approval":
            return f"Recommend: TRAIN a {self.recipe} candidate. {self.evidence.get('expected_benefit') or ''}".strip()
        rollback = self.comparison.get("rollback")
        if rollback and self.can_roll_back and self.state == "observing":
            return f"Recommend: ROLL BACK to {self.champion}. {rollback['sentence']}"
        if self.state != "awaiting_promotion":
            return ""
        if not self.failed_gates:
            return f"Recommend: PROMOTE. All {len(self.gates)} gates passed.{self._worst_risk}"
        names = ", ".join(gate.name for gate in self.failed_gates)
        return f"Recommend: REJECT. {len(self.failed_gates)} of {len(self.gates)} gates failed: {names}."


@dataclass(frozen=True, kw_only=True)
class ProposalLine:
    """A proposal as the history lists it."""

    id: int
    model: str
    state: str
    reason: str
    requested_by: str
    created_at: datetime

    @property
    def is_open(self) -> bool:
        return self.state not in CLOSED_STATES


def proposals(session: Session, *, model: str | None = None, limit: int = 100) -> tuple[ProposalLine, ...]:
    """Proposals of one model or of all: the open ones first, then the newest."""
    chosen = select(Proposal, Model.name).join(Model, Model.id == Proposal.model_id).order_by(Proposal.id.desc())
    if model is not None:
        chosen = chosen.where(Model.id == model_named(session, model).id)
    lines = [
        ProposalLine(
            id=proposal.id, model=name, state=proposal.state, reason=proposal.reason,
            requested_by=proposal.requested_by, created_at=proposal.created_at,
        )
        for proposal, name in session.execute(chosen.limit(limit))
    ]  # fmt: skip
    return tuple(sorted(lines, key=lambda line: not line.is_open))


def proposal_page(session: Session, proposal_id: int) -> ProposalPage | None:
    """One proposal, or None when there is none of this number."""
    proposal = session.get(Proposal, proposal_id)
    if proposal is None:
        return None
    model = session.get_one(Model, proposal.model_id)
    names = {
        version.id: version.name for version in session.scalars(select(Version).where(Version.model_id == model.id))
    }
    report = select(Report.id).where(Report.alert_id == proposal.alert_id, Report.state == "ready")
    return ProposalPage(
        id=proposal.id,
        model=model.name,
        tier=model.tier,
        solo=model.solo,
        state=proposal.state,
        champion=names[proposal.champion_id],
        candidate=names.get(proposal.candidate_id or 0),
        serving=names.get(model.champion_id or 0),
        alert_id=proposal.alert_id,
        reason=proposal.reason,
        verdict=proposal.verdict,
        requested_by=proposal.requested_by,
        evidence=proposal.evidence,
        evidence_sha256=proposal.evidence_sha256,
        recipe=proposal.recipe,
        snapshot=proposal.snapshot,
        gates=tuple(_gate(gate) for gate in proposal.gates),
        comparison=proposal.comparison,
        last_error=proposal.last_error,
        created_at=proposal.created_at,
        expires_at=proposal.expires_at,
        ballots=_ballots(session, proposal),
        timeline=_timeline(session, proposal, names.get(proposal.candidate_id or 0)),
        running=_running(session, proposal),
        report_id=session.scalar(report) if proposal.alert_id else None,
    )


def _gate(document: Mapping[str, Any]) -> Gate:
    return Gate(
        name=document["name"], value=document["value"], limit=document["limit"], passed=bool(document["passed"]),
        sentence=document.get("sentence", ""), low=document.get("low"), high=document.get("high"),
    )  # fmt: skip


def _ballots(session: Session, proposal: Proposal) -> tuple[Ballot, ...]:
    votes = session.scalars(select(Vote).where(Vote.proposal_id == proposal.id).order_by(Vote.at))
    return tuple(
        Ballot(
            stage=vote.stage, actor=vote.actor, decision=vote.decision, reason=vote.reason,
            self_approved=vote.self_approved, as_validator=vote.as_validator, at=vote.at,
        )
        for vote in votes
    )  # fmt: skip


def _timeline(session: Session, proposal: Proposal, candidate: str | None) -> tuple[Event, ...]:
    """The proposal's own acts, and what became of its version afterwards."""
    undone = and_(
        AuditEntry.subject == f"model:{proposal.model_id}", AuditEntry.action == "model.rolled_back",
        AuditEntry.details["before"].as_string() == candidate,
    )  # fmt: skip
    again = and_(
        AuditEntry.subject == f"version:{proposal.candidate_id}", AuditEntry.action == "version.promoted_again"
    )
    own = AuditEntry.subject == f"proposal:{proposal.id}"
    entries = session.scalars(select(AuditEntry).where(or_(own, undone, again)).order_by(AuditEntry.id))
    return tuple(dict.fromkeys(event_of(entry) for entry in entries))  # a vote and its step are one thing to people


def _running(session: Session, proposal: Proposal) -> Running | None:
    progress = session.scalar(
        select(Progress).where(Progress.proposal_id == proposal.id).order_by(Progress.updated_at.desc()).limit(1)
    )
    if progress is None:
        return None
    return Running(
        done=progress.done,
        total=progress.total,
        sentence=progress.sentence,
        curve=tuple(progress.curve),
        updated_at=progress.updated_at,
    )
