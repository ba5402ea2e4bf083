"""Proposals to retrain, votes on them, and the gates that a candidate met."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only

PROPOSAL_STATES = (
    "draft", "proposed", "awaiting_approval", "approved", "queued", "training", "trained", "validating",
    "awaiting_promotion", "promoted", "observing", "confirmed",
    "rejected", "expired", "cancelled", "failed", "superseded", "rolled_back",
)  # fmt: skip
CLOSED_STATES = ("confirmed", "rejected", "expired", "cancelled", "failed", "superseded", "rolled_back")
_CLOSED = ", ".join(repr(state) for state in CLOSED_STATES)


class Proposal(Base):
    """A request to retrain, with evidence. At most one open a model; `observing` and `promoted` count as open."""

    __tablename__ = "proposals"
    __table_args__ = (
        only("state", PROPOSAL_STATES),
        Index("uq_proposals_one_open", "model_id", unique=True, postgresql_where=text(f"state NOT IN ({_CLOSED})")),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    champion_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    candidate_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id"))
    state: Mapped[str]
    reason: Mapped[str]  # the sentence why
    verdict: Mapped[str]
    requested_by: Mapped[str]
    evidence: Mapped[Json]
    evidence_sha256: Mapped[str]
    recipe: Mapped[str] = mapped_column(default="hardened")
    snapshot: Mapped[Json] = mapped_column(default=dict)  # training data: starts, ends, rows, sha256
    gates: Mapped[list[Json]] = mapped_column(default=list)
    comparison: Mapped[Json] = mapped_column(default=dict)  # clean and robust: {metric, value, low, high, champion}
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]


class Vote(Base):
    """A person's recorded decision on a stage (`training` or `promotion`), bound to the evidence they were shown."""

    __tablename__ = "votes"
    __table_args__ = (
        UniqueConstraint("proposal_id", "stage", "actor"),
        only("stage", ("training", "promotion")),
        only("decision", ("approve", "reject")),
    )

    id: Mapped[Id]
    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id"))
    stage: Mapped[str]
    actor: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str]
    evidence_sha256: Mapped[str]
    self_approved: Mapped[bool] = mapped_column(default=False)
    as_validator: Mapped[bool] = mapped_column(default=False)  # the voter was a validator when voting
    at: Mapped[CreatedAt]


class Progress(Base):
    """How far a running training or campaign is; one row a job, replaced as it advances."""

    __tablename__ = "progress"

    job_id: Mapped[int] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    proposal_id: Mapped[int | None] = mapped_column(ForeignKey("proposals.id"))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    sentence: Mapped[str] = mapped_column(default="")
    curve: Mapped[list[Json]] = mapped_column(default=list)  # one entry an epoch: loss, clean, robust
    updated_at: Mapped[CreatedAt]
