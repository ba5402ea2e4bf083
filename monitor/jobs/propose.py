"""Whether an alert warrants retraining, and the evidence that a person will decide on."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.proposals import open_proposal
from monitor.acts.retraining import propose
from monitor.alerts import AlertKind
from monitor.db.alerts import Alert
from monitor.db.checks import Campaign, Finding
from monitor.db.registry import Model, ModelSettings, Version
from monitor.governance import POLICY, Evidence, should_propose
from monitor.jobs.facts import Known
from monitor.windows import Window

_MOST_FINDINGS = 12
_KINDS = (AlertKind.PERFORMANCE, AlertKind.ROBUSTNESS)


def propose_if_warranted(
    session: Session, model: Model, version: Version, known: Known, alert: Alert, now: datetime
) -> None:
    """Ask for a retraining if policy may, and the verdict is harmful or fragile."""
    verdict = known.judgement.verdict
    if alert.kind not in _KINDS or not ModelSettings.of(model).policy or version.id != model.champion_id:
        return
    decision = should_propose([verdict], frozen=model.frozen, open_proposal=open_proposal(session, model) is not None)
    if not decision.propose:
        return
    propose(
        session,
        model,
        evidence=_evidence(session, version, known),
        verdict=verdict,
        reason=known.judgement.sentence,
        alert_id=alert.id,
        snapshot=_snapshot(known),
        by=POLICY,
        now=now,
    )


def _evidence(session: Session, version: Version, known: Known) -> Evidence:
    runs = [run.id for run in known.runs.values()]
    chosen = select(Finding).where(Finding.check_run_id.in_(runs), Finding.fired).order_by(Finding.id)
    findings = session.scalars(chosen.limit(_MOST_FINDINGS))
    campaign = session.scalar(
        select(Campaign)
        .where(Campaign.version_id == version.id)
        .order_by(Campaign.ends.desc(), Campaign.id.desc())
        .limit(1)
    )
    return Evidence(
        verdict=known.judgement.verdict,
        sentence=known.judgement.sentence,
        findings=tuple(_finding(finding) for finding in findings),
        metric=known.metric | ({"limit": known.facts.limit} if known.facts.limit is not None else {}),
        campaign=_campaign(campaign) if campaign else {},
        snapshot=_snapshot(known),
        expected_benefit=_benefit(version, known),
        cost="One training run in a child process on this machine; nothing changes before a person promotes.",
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "subject": finding.subject, "metric": finding.metric, "statistic": finding.statistic, "effect": finding.effect,
        "low": finding.low, "high": finding.high, "threshold": finding.threshold, "sentence": finding.sentence,
    }  # fmt: skip


def _campaign(campaign: Campaign) -> dict[str, Any]:
    wanted = ("level", "clean", "attacked", "robust_auc", "clean_auc", "interval")
    levels = [{name: level.get(name) for name in wanted} for level in campaign.report.get("levels", ())]
    return {"id": campaign.id, "purpose": campaign.purpose, "ends": campaign.ends.isoformat(), "levels": levels}


def _snapshot(known: Known) -> dict[str, Any]:
    return _span(known.window)


def _span(window: Window) -> dict[str, Any]:
    return {"starts": window.start.isoformat(), "ends": window.end.isoformat()}


def _benefit(version: Version, known: Known) -> str:
    reference, realised = version.baseline.get("metric"), known.facts.realised
    if not reference or realised is None:
        return ""
    return f"Back towards {realised.name} {reference['value']:.3f}, from {realised.value:.3f} now."
