"""What was measured on each window: check runs, findings, verdicts, campaigns, reports."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only

RUN_STATUSES = ("ok", "insufficient", "no_reference", "skipped", "error")


class CheckRun(Base):
    """One monitor on one window [starts, ends) of one version. A late label adds a revision, never updates."""

    __tablename__ = "check_runs"
    __table_args__ = (
        UniqueConstraint("version_id", "monitor_id", "starts", "ends", "revision"),
        only("status", RUN_STATUSES),
        CheckConstraint("starts < ends", name="window_forward"),
        Index("ix_check_runs_model_window", "model_id", "kind", "starts"),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    monitor_id: Mapped[int] = mapped_column(ForeignKey("monitors.id"))
    kind: Mapped[str]
    starts: Mapped[datetime]
    ends: Mapped[datetime]
    revision: Mapped[int] = mapped_column(default=0)
    status: Mapped[str]
    sentence: Mapped[str] = mapped_column(default="")
    rows: Mapped[int] = mapped_column(default=0)
    detector_state: Mapped[bytes | None]
    document: Mapped[Json] = mapped_column(default=dict)  # DriftReport / Measured … .to_document()
    created_at: Mapped[CreatedAt]


class Finding(Base):
    """One measured fact of a check run. `subject` is a feature or a metric."""

    __tablename__ = "findings"
    __table_args__ = (Index("ix_findings_run", "check_run_id"), Index("ix_findings_subject", "subject", "metric"))

    id: Mapped[Id]
    check_run_id: Mapped[int] = mapped_column(ForeignKey("check_runs.id", ondelete="CASCADE"))
    subject: Mapped[str]
    metric: Mapped[str]  # drift, missing, unseen, range, unit, auroc, robust_auc, …
    status: Mapped[str] = mapped_column(default="ok")
    statistic: Mapped[float | None]
    p_value: Mapped[float | None]
    e_value: Mapped[float | None]
    effect: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    threshold: Mapped[float | None]
    fired: Mapped[bool] = mapped_column(default=False)
    sentence: Mapped[str] = mapped_column(default="")
    detail: Mapped[Json] = mapped_column(default=dict)


class WindowVerdict(Base):
    """What a window amounts to, in words. A late label revises it; the earlier verdict stays as a lower revision."""

    __tablename__ = "window_verdicts"
    __table_args__ = (
        UniqueConstraint("version_id", "starts", "ends", "revision"),
        Index("ix_window_verdicts_model", "model_id", "starts"),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    starts: Mapped[datetime]
    ends: Mapped[datetime]
    revision: Mapped[int] = mapped_column(default=0)
    verdict: Mapped[str]
    sentence: Mapped[str]
    advice: Mapped[str]
    rows: Mapped[int] = mapped_column(default=0)
    metric: Mapped[Json] = mapped_column(default=dict)  # {name, value, low, high, n, coverage} or {}
    created_at: Mapped[CreatedAt]


class Campaign(Base):
    """One stress test of one version on the rows of a window.

    `purpose`: registration, tick, candidate, drill, command, nightly (recent rows), nightly_reference.
    """

    __tablename__ = "campaigns"
    __table_args__ = (Index("ix_campaigns_version", "version_id", "starts"),)

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    check_run_id: Mapped[int | None] = mapped_column(ForeignKey("check_runs.id"))
    purpose: Mapped[str]
    plan: Mapped[str]
    starts: Mapped[datetime]
    ends: Mapped[datetime]
    seed: Mapped[int]
    report: Mapped[Json]  # CampaignReport.to_document(); outside ticks also which rows, and which of them were lost
    created_at: Mapped[CreatedAt]


class Report(Base):
    """A rendered report (Evidently) of a window; its files lie in the artefact store by hash."""

    __tablename__ = "reports"
    __table_args__ = (
        only("state", ("queued", "ready", "failed")),
        Index(
            "uq_reports_window",
            "model_id",
            "kind",
            "starts",
            "ends",
            unique=True,
            postgresql_where=text("state <> 'failed'"),
        ),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    alert_id: Mapped[int | None] = mapped_column(ForeignKey("alerts.id"))
    kind: Mapped[str] = mapped_column(default="evidently")  # or "evidently:<preset>"
    starts: Mapped[datetime]
    ends: Mapped[datetime]
    state: Mapped[str] = mapped_column(default="queued")
    html_sha256: Mapped[str | None]
    json_sha256: Mapped[str | None]
    snapshot_sha256: Mapped[str | None]  # what Evidently itself can open again
    sentence: Mapped[str] = mapped_column(default="")
    created_at: Mapped[CreatedAt]
