"""One stored stress test as the views show it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import pandas as pd

from monitor.db.checks import Campaign
from monitor.robustness.report import FragileFeature, FragileSlice, MinimumNorm
from monitor.robustness.wording import fragile_features

NOISE = ("family", "severity", "strength", "unit", "quality", "auc", "flip_rate", "calibration_error")
ATTACKS = ("level", "name", "quality", "alone", "infeasible", "gradient_rows", "queries", "seconds")
MOST_FEATURES = 10


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of attack of a campaign; accuracies in [0, 1], for regression mean absolute errors.

    `budgets` says in raw units how far each feature may move, such as "± 37 EUR".
    """

    level: str
    epsilon: float
    clean: float
    attacked: float
    certified: float | None
    certified_rows: int
    low: float
    high: float
    constant: float | None
    robust_auc: float | None
    worst_recall: float | None
    budget: tuple[str, ...]
    budgets: Mapping[str, str]
    swaps: int
    beyond_reality: bool

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """A level as `CampaignReport.to_document` holds it."""
        low, high = document.get("interval") or (document["attacked"], document["attacked"])
        entries = document.get("raw_budget", ())
        return cls(
            level=document["level"],
            epsilon=document["epsilon"],
            clean=document["clean"],
            attacked=document["attacked"],
            certified=document.get("certified"),
            certified_rows=document.get("certified_rows") or 0,
            low=low,
            high=high,
            constant=document.get("constant"),
            robust_auc=document.get("robust_auc"),
            worst_recall=document.get("worst_recall"),
            budget=tuple(entry["text"] for entry in entries),
            budgets={
                entry["feature"]: entry["text"].removeprefix(entry["feature"]).strip()
                for entry in entries
                if "feature" in entry
            },
            swaps=document.get("swaps") or 0,
            beyond_reality=bool(document.get("beyond_reality")),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class CampaignView:
    """One stress test; `noise` has one row a family and severity, `attacks` one a level and attack.

    `on` is recent or reference ("" for ticks), `lost` the share of rows that are right and lost to the attack at
    `lost_at`, `paired` McNemar's test against the last campaign on the same rows.
    """

    id: int
    version: str
    purpose: str
    plan: str
    starts: datetime
    ends: datetime
    made_at: datetime
    rows: int
    task: str
    clean: float
    clean_auc: float | None
    corrupted_auc: float | None
    levels: tuple[Level, ...]
    noise: pd.DataFrame
    attacks: pd.DataFrame
    flags: tuple[tuple[str, str], ...]
    seconds: float | None
    on: str
    note: str
    half_broken: float | None
    area: float | None
    minimum: MinimumNorm | None
    features: tuple[FragileFeature, ...]
    slices: tuple[FragileSlice, ...]
    snr_at_loss: Mapping[str, float | None]
    lost: float | None
    lost_at: str | None
    paired: Mapping[str, Any] | None

    @property
    def is_regression(self) -> bool:
        return self.task == "regression"

    @property
    def words(self) -> str:
        """What kind of campaign it is."""
        return WORDS.get(self.purpose, self.purpose)

    @property
    def movable(self) -> tuple[str, ...]:
        """The features with a budget at any level, the most fragile first."""
        known = {feature for level in self.levels for feature in level.budgets}
        fragile = [found.feature for found in self.features if found.feature in known]
        return (*fragile, *sorted(known - set(fragile)))

    def level(self, name: str) -> Level | None:
        return next((level for level in self.levels if level.level == name), None)


WORDS = {
    "registration": "at registration",
    "tick": "tick",
    "candidate": "of the candidate",
    "command": "on demand",
    "nightly": "night, recent rows",
    "nightly_reference": "night, reference",
}


def campaign_view(campaign: Campaign, version: str) -> CampaignView:
    """A campaign as its report holds it; what an older Holdfast did not write is empty."""
    report = campaign.report
    headline = report.get("headline") or {}
    return CampaignView(
        id=campaign.id,
        version=version,
        purpose=campaign.purpose,
        plan=campaign.plan,
        starts=campaign.starts,
        ends=campaign.ends,
        made_at=campaign.created_at,
        rows=report.get("n_rows", 0),
        task=report.get("task", "classification"),
        clean=report["clean"],
        clean_auc=report.get("clean_auc"),
        corrupted_auc=report.get("mean_corrupted_auc"),
        levels=tuple(Level.of(level) for level in report.get("levels", ())),
        noise=pd.DataFrame(report.get("noise", ()), columns=list(NOISE)),
        attacks=_attacks(report),
        flags=tuple((flag["name"], flag["sentence"]) for flag in report.get("audit", ())),
        seconds=(report.get("cost") or {}).get("seconds"),
        on=report.get("on", ""),
        note=report.get("note", ""),
        half_broken=report.get("half_broken"),
        area=report.get("area"),
        minimum=MinimumNorm(**report["minimum"]) if report.get("minimum") else None,
        features=fragile_features(report, MOST_FEATURES),
        slices=tuple(_slice(entry) for entry in report.get("fragile_slices") or ()),
        snr_at_loss=report.get("snr_at_loss") or {},
        lost=_lost_share(report.get("lost")),
        lost_at=headline.get("level"),
        paired=report.get("paired"),
    )


def _attacks(report: Mapping[str, Any]) -> pd.DataFrame:
    rows = [
        {"level": level["level"], **entry} for level in report.get("levels", ()) for entry in level.get("attacks") or ()
    ]
    return pd.DataFrame(rows, columns=list(ATTACKS))


def _slice(entry: Mapping[str, Any]) -> FragileSlice:
    low, high = entry["interval"]
    return FragileSlice(**{**entry, "interval": (low, high)})


def _lost_share(document: Mapping[str, Any] | None) -> float | None:
    """The share of marked rows in packed bits."""
    if not document or not document["rows"]:
        return None
    marked = sum(byte.bit_count() for byte in base64.b64decode(document["bits"]))
    return marked / int(document["rows"])
