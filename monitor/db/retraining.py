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
        Index("ix_proposals_candidate_id", "candidate_id"),
        Index("ix_proposals_model_id_id", "model_id", "id"),
        Index("uq_proposals_one_open", "model_id", unique=True, postgresql_where=text(f"state NOT IN ({_CLOSED})")),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    champion_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    candidate_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id"))
    envelope_id: Mapped[int | None] = mapped_column(ForeignKey("envelopes.id"))  # inside which policy decided
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


class Envelope(Base):
    """What may change at tier 0 without a vote, as an approver signed it: a `governance.Envelope` document."""

    __tablename__ = "envelopes"
    __table_args__ = (
        Index("uq_envelopes_one_signed", "model_id", unique=True, postgresql_where=text("revoked_at IS NULL")),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    document: Mapped[Json]
    document_sha256: Mapped[str]
    signed_by: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    revoked_by: Mapped[str | None]
    revoked_at: Mapped[datetime | None]


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


class Shadow(Base):
    """Champion and candidate on the same live traces, until a confidence sequence decides or the period ends."""

    __tablename__ = "shadows"
    __table_args__ = (only("state", ("running", "decided", "ended")),)

    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id"), primary_key=True)
    champion_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    candidate_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    state: Mapped[str] = mapped_column(default="running")
    rows: Mapped[int] = mapped_column(default=0)
    since: Mapped[datetime]  # stream time of the first row compared
    until: Mapped[datetime | None]  # up to when rows have been compared
    document: Mapped[Json] = mapped_column(default=dict)  # sums, interval, share of decisions changed, examples
    updated_at: Mapped[CreatedAt]


class OutsideTraining(Base):
    """A training that a command or a service of the user does; its answer comes with the token that it was handed."""

    __tablename__ = "outside_trainings"
    __table_args__ = (only("state", ("asked", "delivered", "failed", "abandoned")),)

    id: Mapped[Id]
    proposal_id: Mapped[int] = mapped_column(ForeignKey("proposals.id"))
    token_sha256: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(default="asked")
    document: Mapped[Json] = mapped_column(default=dict)  # what was asked, and what was answered
    artefact_sha256: Mapped[str | None]
    asked_at: Mapped[CreatedAt]
    deadline: Mapped[datetime]
    answered_at: Mapped[datetime | None]


class Freeze(Base):
    """Every automatic act of the platform is stopped from `frozen_at` until somebody lifts it."""

    __tablename__ = "freezes"

    id: Mapped[Id]
    frozen_by: Mapped[str]
    reason: Mapped[str]
    frozen_at: Mapped[CreatedAt]
    lifted_by: Mapped[str | None]
    lifted_at: Mapped[datetime | None]
