"""What it takes to break a model: its newest campaigns, what runs just now, and how ticks went over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from monitor.db.checks import Campaign, CheckRun
from monitor.db.jobs import LIVE, Job
from monitor.db.read_campaign import WORDS, CampaignView, Level, campaign_view
from monitor.db.registry import ModelSettings, Version, feature_schema, model_named, schema_of
from monitor.db.retraining import Progress
from monitor.performance.intervals import wilson

__all__ = ["CampaignView", "Level", "Recency", "RobustnessHistory", "Running", "robustness_history", "running_tests"]


@dataclass(frozen=True, kw_only=True)
class Recency:
    """The share of rows lost to the attack on recent rows and on the reference; `difference` with its 95 % interval."""

    level: str
    recent: float
    reference: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.recent - self.reference

    @property
    def sentence(self) -> str:
        """Whether the model is more fragile on today's data."""
        verdict = "more fragile" if self.low > 0 else "less fragile" if self.high < 0 else "no more fragile"
        difference, low, high = (f"{100 * share:+.1f}" for share in (self.difference, self.low, self.high))
        return (
            f"At {self.level} {100 * self.recent:.1f} % of recent rows are lost to the attack, "
            f"{100 * self.reference:.1f} % of the reference's ({difference} points [{low}, {high}]): "
            f"{verdict} on today's data."
        ).replace("-", "−")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A stress test that is queued or running, or the last one that ended without a campaign."""

    job_id: int
    purpose: str
    plan: str
    version: str
    state: str
    asked_by: str
    share: float
    sentence: str

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustnessHistory:
    """The newest campaign of each purpose of the champion, that of the newest candidate, and the figure of every tick.

    `registered` is the champion's robust AUC at `level` when it was registered; `stream` what the last tick says of the
    stream of lost rows: lost, registered, evidence, needed, alarm.
    """

    model: str
    level: str
    campaigns: tuple[CampaignView, ...]
    newest: CampaignView | None
    registered: float | None
    candidate: CampaignView | None
    ticks: pd.DataFrame
    stream: dict[str, Any]
    tabular: bool = True  # whether its rows hold no vectors, so that it can be attacked

    @property
    def headline(self) -> str:
        return self.headline_of(self.newest)

    def headline_of(self, shown: CampaignView | None) -> str:
        """What a campaign says at the level that gates."""
        if shown is None:
            return "No stress test has run yet"
        at = shown.level(self.level)
        if at is None:
            return f"This campaign did not attack at {self.level}"
        if shown.is_regression:
            return f"At {self.level} the mean absolute error grows {at.clean:.3g} → {at.attacked:.3g}"
        if at.robust_auc is not None and shown.clean_auc is not None:
            return f"At {self.level} the AUC falls {shown.clean_auc:.2f} → {at.robust_auc:.2f}{self._since(at)}"
        return f"At {self.level} {at.attacked:.0%} of decisions are still right, of {at.clean:.0%}"

    @property
    def recency(self) -> Recency | None:
        """The newest night on recent rows against the newest on the reference, where both are of one level."""
        of = {campaign.purpose: campaign for campaign in self.campaigns}
        recent, reference = of.get("nightly"), of.get("nightly_reference")
        if recent is None or reference is None or recent.lost is None or reference.lost is None:
            return None
        if recent.lost_at is None or recent.lost_at != reference.lost_at or recent.version != reference.version:
            return None
        low, high = _newcombe(recent.lost, recent.rows, reference.lost, reference.rows)
        return Recency(level=recent.lost_at, recent=recent.lost, reference=reference.lost, low=low, high=high)

    def _since(self, now: Level) -> str:
        if self.registered is None or now.robust_auc is None:
            return ""
        change = now.robust_auc - self.registered
        return (
            ", as at registration" if abs(change) < 0.005 else f" ({change:+.2f} since registration)".replace("-", "−")
        )


def robustness_history(session: Session, name: str, *, last: int = 90) -> RobustnessHistory:
    """Campaigns of a model, the newest `last` of them in the history."""
    model = model_named(session, name)
    level = ModelSettings.of(model).stress_level
    rows = session.execute(
        select(Campaign, Version.name)
        .join(Version, Version.id == Campaign.version_id)
        .where(Campaign.model_id == model.id, Campaign.purpose != "drill")
        .order_by(Campaign.id.desc())
        .limit(last)
    ).all()
    champion = session.get(Version, model.champion_id) if model.champion_id else None
    campaigns = _newest_of_each([row for row in rows if row[0].version_id == model.champion_id])
    candidates = [row for row in rows if row[0].purpose == "candidate" and row[0].version_id != model.champion_id]
    return RobustnessHistory(
        model=model.name,
        level=level,
        campaigns=campaigns,
        newest=_leading(campaigns, level),
        registered=_registered(champion, level),
        candidate=campaign_view(*candidates[0]) if candidates else None,
        ticks=_ticks(rows, level),
        stream=_stream(session, champion),
        tabular=not schema_of(feature_schema(session, model)).vectors,
    )


def running_tests(session: Session, name: str) -> list[Running]:
    """The model's stress tests that are queued or running, else the last that a person asked for and that failed."""
    model = model_named(session, name)
    rows = session.execute(
        select(Job, Version.name, Progress)
        .join(Version, Version.id == Job.payload["version_id"].as_integer())
        .outerjoin(Progress, Progress.job_id == Job.id)
        .where(Job.kind == "campaign", Version.model_id == model.id)
        .order_by(Job.id.desc())
        .limit(12)
    ).all()
    live = [_running(*row) for row in rows if row[0].state in LIVE]
    if live or not rows:
        return live[::-1]
    newest = _running(*rows[0])
    told = newest.state == "dead" or (newest.state == "done" and rows[0][2] is not None and rows[0][2].total == 0)
    return [newest] if told and newest.purpose == "command" else []


def _running(job: Job, version: str, progress: Progress | None) -> Running:
    said = progress.sentence if progress else "waiting for a worker" if job.state == "queued" else "begins"
    return Running(
        job_id=job.id,
        purpose=job.payload["purpose"],
        plan=job.payload["plan"],
        version=version,
        state=job.state,
        asked_by=job.created_by,
        share=progress.done / progress.total if progress and progress.total else 0.0,
        sentence=(job.last_error or said) if job.state == "dead" else said,
    )


def _newest_of_each(rows: Sequence[Row[Campaign, str]]) -> tuple[CampaignView, ...]:
    """The newest campaign of each purpose, the newest first."""
    newest: dict[str, CampaignView] = {}
    for campaign, version in rows:
        if campaign.purpose not in newest:
            newest[campaign.purpose] = campaign_view(campaign, version)
    return tuple(newest.values())


def _leading(campaigns: Sequence[CampaignView], level: str) -> CampaignView | None:
    """The newest that attacked at the level that gates; one on the reference only for want of another."""
    preferred = [one for one in campaigns if one.on != "reference"]
    at_level = [one for one in preferred if one.level(level) is not None]
    return next(iter([*at_level, *preferred, *campaigns]), None)


def _registered(champion: Version | None, level: str) -> float | None:
    """The champion's robust AUC at the level when it was registered."""
    stress = (champion.baseline if champion else {}).get("stress") or {}
    known: float | None = stress.get("robust_auc") if stress.get("level") == level else None
    return known


def _stream(session: Session, champion: Version | None) -> dict[str, Any]:
    if champion is None:
        return {}
    chosen = select(CheckRun.document["stream"]).where(CheckRun.version_id == champion.id, CheckRun.kind == "stress")
    found: dict[str, Any] | None = session.scalar(chosen.order_by(CheckRun.ends.desc(), CheckRun.id.desc()).limit(1))
    return found or {}


def _ticks(rows: Sequence[Row[Campaign, str]], level: str) -> pd.DataFrame:
    """One row a campaign: robust AUC at the level that gates, or accuracy (error) where the task has no AUC."""
    found = []
    for campaign, version in rows:
        report = campaign.report
        at = next((entry for entry in report.get("levels", ()) if entry["level"] == level), None)
        aside = report.get("on") == "reference" and campaign.purpose != "nightly_reference"
        if at is not None and not aside:  # rows of long ago are no part of how it went
            by_auc = at.get("robust_auc") is not None
            clean, robust = (report.get("clean_auc"), at["robust_auc"]) if by_auc else (at["clean"], at["attacked"])
            words = WORDS.get(campaign.purpose, campaign.purpose)
            figure = "AUC" if by_auc else "error" if report.get("task") == "regression" else "accuracy"
            found.append(
                (campaign.ends, version, campaign.purpose, words, clean, robust, report.get("n_rows", 0), figure)
            )  # fmt: skip
    frame = pd.DataFrame(found, columns=["ends", "version", "purpose", "words", "clean", "robust", "rows", "figure"])
    return frame.sort_values("ends", ignore_index=True, kind="stable")


def _newcombe(p: float, n: int, q: float, m: int) -> tuple[float, float]:
    """Newcombe's hybrid 95 % interval of p − q for independent shares of n and m rows (Stat. Med. 17, 1998)."""
    (low_p, high_p), (low_q, high_q) = wilson(p * n, n), wilson(q * m, m)
    difference = p - q
    return difference - math.hypot(p - low_p, high_q - q), difference + math.hypot(high_p - p, q - low_q)
