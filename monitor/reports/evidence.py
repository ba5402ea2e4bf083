"""The evidence bundle of a proposal: what a person is shown before they decide, and what their vote binds to."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.base import Json
from monitor.db.checks import Campaign, CheckRun, Finding
from monitor.db.read_drift import Histogram, histogram
from monitor.db.read_training import newest_verdicts
from monitor.db.registry import Model, ModelSettings, Version
from monitor.governance import Evidence
from monitor.performance.verdict import Verdict
from monitor.windows import Window

SHOWN_CULPRITS = 4
SHOWN_WINDOWS = 30
_MOST_FINDINGS = 20


def collect(
    session: Session, model: Model, version: Version, *, window: Window, verdict: Verdict | str, sentence: str,
    culprits: Sequence[str], snapshot: Mapping[str, Any],
) -> Evidence:  # fmt: skip
    """Everything that speaks for or against retraining `version`, as it is known in `window`."""
    history = _history(session, version, window)
    metric = _metric(version, history)
    return Evidence(
        verdict=Verdict(verdict),
        sentence=sentence,
        findings=_findings(session, version, window),
        metric=metric,
        campaign=_campaign(session, version, ModelSettings.of(model).stress_level),
        snapshot=plain(snapshot),
        charts={
            "histograms": _histograms(session, model, window, culprits),
            "metric": [entry for entry in history if entry["metric"]],
            "verdicts": [{key: entry[key] for key in ("starts", "ends", "verdict")} for entry in history],
        },
        expected_benefit=benefit_sentence(metric),
        cost=cost_sentence(snapshot),
    )


def benefit_sentence(metric: Mapping[str, Any]) -> str:
    """What retraining can win back at most: the way from today's figure to the one at registration.

    >>> benefit_sentence({"name": "auroc", "value": 0.84, "reference": 0.91, "limit": 0.89})
    'auroc 0.840 now, 0.910 at registration (limit 0.890): retraining can win back up to 0.070.'
    """
    value, reference = metric.get("value"), metric.get("reference")
    if value is None:
        return "No labels have come for these windows: the benefit cannot be told before the gates."
    limit = f" (limit {metric['limit']:.3f})" if metric.get("limit") is not None else ""
    if reference is None:
        return f"{metric['name']} {value:.3f} now{limit}; the figure at registration is not known."
    gap = abs(reference - value)
    return (
        f"{metric['name']} {value:.3f} now, {reference:.3f} at registration{limit}: "
        f"retraining can win back up to {gap:.3f}."
    )


def cost_sentence(snapshot: Mapping[str, Any]) -> str:
    """What the training would use and touch.

    >>> cost_sentence({"rows": 12_000, "starts": "2026-01-05T00:00:00+00:00", "ends": "2026-03-05T00:00:00+00:00"})
    'Two candidates learn the newest labelled rows (12,000 by now, from 2026-01-05 on); none serves before promotion.'
    """
    rows, since = int(snapshot.get("rows", 0)), str(snapshot.get("starts", ""))[:10] or "their beginning"
    return (
        f"Two candidates learn the newest labelled rows ({rows:,} by now, from {since} on); "
        "none serves before promotion."
    )


def plain(value: Any) -> Any:
    """The value as finite plain JSON: NaN and infinities become null, times ISO text, tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else value


def _findings(session: Session, version: Version, window: Window) -> list[Json]:
    """What fired on the window, strongest first; of the newest revision of each check."""
    runs = session.execute(
        select(CheckRun.kind, CheckRun.id)
        .where(CheckRun.version_id == version.id, CheckRun.ends == window.end)
        .order_by(CheckRun.revision, CheckRun.id)
    )
    kinds = {run_id: kind for kind, run_id in dict(runs.all()).items()}  # the newest revision comes last
    rows = session.scalars(
        select(Finding)
        .where(Finding.check_run_id.in_(list(kinds)), Finding.fired)
        .order_by(Finding.statistic.desc().nulls_last(), Finding.id)
        .limit(_MOST_FINDINGS)
    )
    shown = ("subject", "metric", "statistic", "effect", "low", "high", "p_value", "e_value", "threshold", "sentence")
    return [
        plain({"kind": kinds[finding.check_run_id]} | {name: getattr(finding, name) for name in shown})
        for finding in rows
    ]


def _history(session: Session, version: Version, window: Window) -> list[Json]:
    """Verdicts and figures of the newest windows up to `window`, oldest first."""
    rows = newest_verdicts(session, version.id, most=SHOWN_WINDOWS, until=window.end)
    return [
        plain({"starts": row.starts, "ends": row.ends, "verdict": row.verdict, "metric": row.metric}) for row in rows
    ]


def _metric(version: Version, history: list[Json]) -> Json:
    """The newest figure, beside the one at registration and the tolerance."""
    figures = [entry["metric"] for entry in history if entry["metric"]]
    baseline = version.baseline
    reference = (baseline.get("metric") or {}).get("value")
    latest: Json = figures[-1] if figures else {}
    return {**latest, "reference": reference, "limit": baseline.get("limit")} if latest else {}


def _campaign(session: Session, version: Version, level: str) -> Json:
    """The last stress test in short, beside the one at registration."""
    last = session.scalar(
        select(Campaign)
        .where(Campaign.version_id == version.id, Campaign.purpose.in_(("registration", "tick", "candidate")))
        .order_by(Campaign.starts.desc(), Campaign.id.desc())
    )
    if last is None:
        return {}
    at_level: Json = next((one for one in last.report.get("levels", ()) if one.get("level") == level), {})
    shown = ("level", "clean", "attacked", "certified", "interval", "robust_auc", "worst_recall", "constant")
    document: Json = plain(
        {
            "starts": last.starts,
            "ends": last.ends,
            "plan": last.plan,
            "purpose": last.purpose,
            "at_level": {name: at_level.get(name) for name in shown} if at_level else {},
            "clean_auc": last.report.get("clean_auc"),
            "mean_corrupted_auc": last.report.get("mean_corrupted_auc"),
            "at_registration": version.baseline.get("stress") or {},
        }
    )
    return document


def _histograms(session: Session, model: Model, window: Window, culprits: Sequence[str]) -> list[Json]:
    found = (histogram(session, model.name, name, window.start, window.end) for name in list(culprits)[:SHOWN_CULPRITS])
    return [_histogram_document(one) for one in found if one is not None]


def _histogram_document(one: Histogram) -> Json:
    return {
        "feature": one.feature,
        "bins": [str(label) for label in one.bins["bin"]],
        "reference": [round(float(share), 6) for share in one.bins["reference"]],
        "current": [round(float(share), 6) for share in one.bins["current"]],
        "n_reference": int(one.n_reference),
        "n_current": int(one.n_current),
    }
