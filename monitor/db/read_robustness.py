"""What it takes to break a model: the newest campaign by level, the noise grid, and how ticks went over time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import pandas as pd
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from monitor.db.checks import Campaign
from monitor.db.registry import ModelSettings, Version, model_named

NOISE = ("family", "severity", "strength", "unit", "quality", "auc", "flip_rate")


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of attack of a campaign; accuracies in [0, 1], for regression mean absolute errors."""

    level: str
    epsilon: float
    clean: float
    attacked: float
    certified: float | None
    low: float
    high: float
    constant: float | None
    robust_auc: float | None
    worst_recall: float | None
    budget: tuple[str, ...]
    beyond_reality: bool

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """A level as `CampaignReport.to_document` holds it."""
        low, high = document.get("interval") or (document["attacked"], document["attacked"])
        return cls(
            level=document["level"],
            epsilon=document["epsilon"],
            clean=document["clean"],
            attacked=document["attacked"],
            certified=document.get("certified"),
            low=low,
            high=high,
            constant=document.get("constant"),
            robust_auc=document.get("robust_auc"),
            worst_recall=document.get("worst_recall"),
            budget=tuple(entry["text"] for entry in document.get("raw_budget", ())),
            beyond_reality=bool(document.get("beyond_reality")),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CampaignView:
    """One stress test as the views show it; `noise` has one row a family and severity."""

    id: int
    version: str
    purpose: str
    plan: str
    starts: datetime
    ends: datetime
    rows: int
    task: str
    clean: float
    clean_auc: float | None
    corrupted_auc: float | None
    levels: tuple[Level, ...]
    noise: pd.DataFrame
    flags: tuple[tuple[str, str], ...]
    seconds: float | None

    @property
    def is_regression(self) -> bool:
        return self.task == "regression"

    def level(self, name: str) -> Level | None:
        return next((level for level in self.levels if level.level == name), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustnessHistory:
    """The newest campaign of the champion, that of the newest candidate, and the headline figure of every tick.

    `registered` is the champion's robust AUC at `level` when it was registered.
    """

    model: str
    level: str
    newest: CampaignView | None
    registered: float | None
    candidate: CampaignView | None
    ticks: pd.DataFrame

    @property
    def headline(self) -> str:
        if self.newest is None:
            return "No stress test has run yet"
        at = self.newest.level(self.level)
        if at is None:
            return f"The newest campaign did not attack at {self.level}"
        if self.newest.is_regression:
            return f"At {self.level} the mean absolute error grows {at.clean:.3g} → {at.attacked:.3g}"
        if at.robust_auc is not None and self.newest.clean_auc is not None:
            return f"At {self.level} the AUC falls {self.newest.clean_auc:.2f} → {at.robust_auc:.2f}{self._since()}"
        return f"At {self.level} {at.attacked:.0%} of decisions are still right, of {at.clean:.0%}"

    def _since(self) -> str:
        now = self.newest.level(self.level) if self.newest else None
        if self.registered is None or now is None or now.robust_auc is None:
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
        .where(Campaign.model_id == model.id)
        .order_by(Campaign.starts.desc(), Campaign.id.desc())
        .limit(last)
    ).all()
    serving = [row for row in rows if row[0].version_id == model.champion_id and row[0].purpose != "drill"]
    champion = session.get(Version, model.champion_id) if model.champion_id else None
    candidates = [row for row in rows if row[0].purpose == "candidate" and row[0].version_id != model.champion_id]
    return RobustnessHistory(
        model=model.name,
        level=level,
        newest=_view(*serving[0]) if serving else None,
        registered=_registered(champion, level),
        candidate=_view(*candidates[0]) if candidates else None,
        ticks=_ticks([row for row in rows if row[0].purpose != "drill"], level),
    )


def _registered(champion: Version | None, level: str) -> float | None:
    """The champion's robust AUC at the level when it was registered."""
    stress = (champion.baseline if champion else {}).get("stress") or {}
    known: float | None = stress.get("robust_auc") if stress.get("level") == level else None
    return known


def _view(campaign: Campaign, version: str) -> CampaignView:
    report = campaign.report
    return CampaignView(
        id=campaign.id,
        version=version,
        purpose=campaign.purpose,
        plan=campaign.plan,
        starts=campaign.starts,
        ends=campaign.ends,
        rows=report.get("n_rows", 0),
        task=report.get("task", "classification"),
        clean=report["clean"],
        clean_auc=report.get("clean_auc"),
        corrupted_auc=report.get("mean_corrupted_auc"),
        levels=tuple(Level.of(level) for level in report.get("levels", ())),
        noise=pd.DataFrame(report.get("noise", ()), columns=list(NOISE)),
        flags=tuple((flag["name"], flag["sentence"]) for flag in report.get("audit", ())),
        seconds=(report.get("cost") or {}).get("seconds"),
    )


def _ticks(rows: Sequence[Row[Campaign, str]], level: str) -> pd.DataFrame:
    """One row a campaign: robust AUC at the level that gates, or accuracy (error) where the task has no AUC."""
    found = []
    for campaign, version in rows:
        at = _view(campaign, version).level(level)
        if at is not None:
            robust = at.attacked if at.robust_auc is None else at.robust_auc
            clean = at.clean if at.robust_auc is None else campaign.report.get("clean_auc")
            found.append((campaign.starts, version, campaign.purpose, clean, robust, campaign.report.get("n_rows", 0)))
    frame = pd.DataFrame(found, columns=["starts", "version", "purpose", "clean", "robust", "rows"])
    return frame.sort_values("starts", ignore_index=True)
