"""A watched model's rows as the checks write them: ninety days of `fraud` with three events, up to a proposal."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from sqlalchemy import text
from sqlalchemy.orm import Session

from monitor.alerts import Message, Severity
from monitor.db.alerts import Alert
from monitor.db.checks import Campaign, CheckRun, Finding, WindowVerdict
from monitor.db.profiles import ProfileDelta
from monitor.db.registry import FeatureSchema, Model, ModelSettings, Monitor, Reference, Version
from monitor.db.retraining import Proposal
from monitor.drift.bins import Binning
from monitor.drift.profile import Profile
from monitor.drift.reference import Reference as Normal
from monitor.performance.verdict import ADVICE, Judgement, Verdict
from monitor.reports.evidence import collect
from monitor.robustness import ThreatModel, run_campaign
from monitor.schema import Schema
from monitor.windows import Window
from tests.unguarded import unguarded

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
REFERENCE_DAYS, DAYS = 28, 90
BREAK, HARMLESS, HARMFUL = 31, 47, 63
FEATURES = ("amount", "age", "hour", "merchant_category", "channel", "country", "card_age_days", "distance_km")


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """What the tests refer to."""

    model: Model
    champion: Version
    alert: Alert
    proposal: Proposal


def populate(session: Session, *, name: str = "fraud", seed: int = 0, days: int = DAYS) -> Seeded:
    """Write it all and flush; the caller commits."""
    rng = np.random.default_rng(seed)
    model, champion = _register(session, name, days)
    monitors = {kind: _monitor(session, model, kind) for kind in ("drift", "quality", "performance", "stress")}
    normal = _reference(session, model, champion, rng)
    for day in range(REFERENCE_DAYS, days):
        _checked_day(session, model, champion, monitors, normal, day, rng)
    _campaigns(session, model, champion, monitors["stress"])
    alert = _alert(session, model, champion, days)
    return Seeded(
        model=model, champion=champion, alert=alert, proposal=_proposal(session, model, champion, alert, days)
    )


def rows_of(day: int, rng: np.random.Generator, n: int = 250) -> pd.DataFrame:
    """One day's payments: cents on day `BREAK`, older people from `HARMLESS`, new merchants from `HARMFUL`."""
    late = day >= HARMFUL
    return pd.DataFrame(
        {
            "amount": rng.lognormal(3.5 + 0.3 * late, 1, n).round(2) * (100 if day == BREAK else 1),
            "age": rng.normal(41 + (4 if day >= HARMLESS else 0), 12, n).round(),
            "hour": rng.integers(0, 24, n),
            "merchant_category": rng.choice(
                ["food", "fuel", "online", "travel"], n, p=[0.2, 0.1, 0.5, 0.2] if late else [0.4, 0.2, 0.3, 0.1]
            ),
            "channel": rng.choice(["app", "web", "pos"], n, p=[0.4, 0.3, 0.3]),
            "country": rng.choice(["DE", "FR", "NL"], n, p=[0.7, 0.2, 0.1]),
            "card_age_days": rng.exponential(600, n).round(),
            "distance_km": rng.exponential(25 + 6 * late, n).round(1),
        }
    )


def verdict_of(day: int) -> Verdict:
    if day == BREAK:
        return Verdict.PIPELINE_BREAK
    if day >= HARMFUL:
        return Verdict.HARMFUL_COVARIATE_SHIFT
    return Verdict.HARMLESS_DRIFT if HARMLESS <= day < HARMLESS + 7 else Verdict.HEALTHY


def _register(session: Session, name: str, days: int) -> tuple[Model, Version]:
    model = Model(
        name=name, owner="payments-risk", task="classification", tier=1, settings=ModelSettings().to_document(),
        watermark=START + days * DAY, label_watermark=START + (days - 5) * DAY,
    )  # fmt: skip
    session.add(model)
    session.flush()
    baseline = {
        "metric": {"name": "auroc", "value": 0.912, "low": 0.9, "high": 0.924, "n": 4_000, "higher_is_better": True},
        "limit": 0.892,
        "stress": {"robust_auc": 0.74, "level": "S2", "low": 0.71, "high": 0.77},
    }
    champion = Version(
        model_id=model.id, number=1, name="v1", state="champion", flavour="torch", manifest_sha256="0" * 64,
        baseline=baseline, promoted_at=START, confirmed_at=START,
    )  # fmt: skip
    with unguarded(session):
        session.add(champion)
        session.flush()
        model.champion_id = champion.id
        session.execute(text("INSERT INTO guard.served VALUES (:id)"), {"id": champion.id})
    return model, champion


def _monitor(session: Session, model: Model, kind: str) -> Monitor:
    monitor = Monitor(model_id=model.id, kind=kind)
    session.add(monitor)
    session.flush()
    return monitor


def _reference(session: Session, model: Model, champion: Version, rng: np.random.Generator) -> Normal:
    frames = [rows_of(day, rng) for day in range(REFERENCE_DAYS)]
    whole = pd.concat(frames)
    schema = Schema.infer(whole, mutable=["amount", "hour", "distance_km"])
    entries = [(Window(START + day * DAY, START + (day + 1) * DAY), frame) for day, frame in enumerate(frames)]
    normal = Normal.fit(entries, schema=schema, binning=Binning.fit(whole, schema))
    row = FeatureSchema(
        model_id=model.id, number=1, document=schema.to_document(),
        columns={feature: f"f{number}" for number, feature in enumerate(schema.names)},
    )  # fmt: skip
    session.add(row)
    session.flush()
    session.add(
        Reference(
            model_id=model.id, version_id=champion.id, schema_id=row.id, binning_id=normal.binning.binning_id,
            starts=START, ends=START + REFERENCE_DAYS * DAY, rows=normal.rows, windows=REFERENCE_DAYS,
            document=normal.to_document(),
        )
    )  # fmt: skip
    return normal


def _checked_day(
    session: Session, model: Model, champion: Version, monitors: dict[str, Monitor], normal: Normal, day: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    starts, frame, verdict = START + day * DAY, rows_of(day, rng), verdict_of(day)
    profile = Profile.of(frame, normal.binning)
    session.add(
        ProfileDelta(
            model_id=model.id, version_id=champion.id, binning_id=normal.binning.binning_id, bucket=starts,
            rows=len(frame), counts=profile.to_bytes(),
        )
    )  # fmt: skip
    shared = {"model_id": model.id, "version_id": champion.id, "starts": starts, "ends": starts + DAY, "rows": 250}
    broken = verdict is Verdict.PIPELINE_BREAK
    fault = "amount ×100 on channel=app (38 % of rows)"
    quality = CheckRun(
        **shared, monitor_id=monitors["quality"].id, kind="quality", status="ok",
        sentence=fault if broken else "no fault found", document={"broken": broken},
    )  # fmt: skip
    drift = CheckRun(
        **shared, monitor_id=monitors["drift"].id, kind="drift", status="skipped" if broken else "ok",
        sentence=f"the data are broken ({fault}): the detector did not see them" if broken else "",
    )  # fmt: skip
    session.add_all([quality, drift])
    session.flush()
    if broken:
        session.add(Finding(check_run_id=quality.id, subject="amount", metric="unit", fired=True, sentence=fault))
    else:
        session.add_all(_findings(drift, day, rng))
    session.add(_judged(shared, day, verdict, rng))


def _findings(run: CheckRun, day: int, rng: np.random.Generator) -> list[Finding]:
    moved = {"age": 0.33} if HARMLESS <= day < HARMLESS + 7 else {}
    moved |= {"merchant_category": 0.61, "amount": 0.29, "distance_km": 0.22} if day >= HARMFUL else {}
    found = []
    for feature in FEATURES:
        effect = moved.get(feature, 0.0) + rng.normal(0, 0.04)
        words = f"{feature} rose by {effect:.2f}σ" if feature in moved else f"{feature} as in the reference"
        found.append(
            Finding(
                check_run_id=run.id, subject=feature, metric="drift", status="ok", effect=effect, low=effect - 0.09,
                high=effect + 0.09, threshold=0.15, p_value=1e-9 if feature in moved else 0.4,
                e_value=1e4 if feature in moved else 0.8, fired=feature in moved, sentence=words,
                detail={"magnitude": abs(effect)},
            )
        )  # fmt: skip
    return found


def _judged(shared: dict[str, object], day: int, verdict: Verdict, rng: np.random.Generator) -> WindowVerdict:
    value = (0.842 if day >= HARMFUL else 0.911) + rng.normal(0, 0.006)
    metric = {
        "name": "auroc", "value": value, "low": value - 0.022, "high": value + 0.02, "n": 240, "coverage": 0.96,
        "higher_is_better": True,
    }  # fmt: skip
    sentence = {
        Verdict.PIPELINE_BREAK: "amount ×100 on channel=app (38 % of rows).",
        Verdict.HARMLESS_DRIFT: "age moved; auroc is within tolerance.",
        Verdict.HARMFUL_COVARIATE_SHIFT: f"auroc {value:.3f} lies beyond 0.892. Moved: merchant_category, amount.",
    }.get(verdict, f"Nothing moved; auroc {value:.3f}.")
    do, dont = ADVICE[verdict]
    advice = Judgement(verdict=verdict, sentence=sentence, do=do, dont=dont).advice
    measured = day < DAYS - 5 and verdict is not Verdict.PIPELINE_BREAK
    return WindowVerdict(
        **shared, verdict=verdict.value, sentence=sentence, advice=advice, metric=metric if measured else {}
    )


def _campaigns(session: Session, model: Model, champion: Version, monitor: Monitor) -> None:
    for number, day in enumerate(range(28, 90, 14)):
        report = stress_report(2.0 if day >= HARMFUL else 1.0)
        at = next(level for level in report["levels"] if level["level"] == "S2")
        shared = {
            "model_id": model.id,
            "version_id": champion.id,
            "starts": START + day * DAY,
            "ends": START + (day + 7) * DAY,
        }
        run = CheckRun(
            **shared, monitor_id=monitor.id, kind="stress", status="ok", rows=report["n_rows"],
            sentence=f"robust AUC {at['robust_auc']:.2f} at S2",
        )  # fmt: skip
        session.add(run)
        session.flush()
        session.add(Finding(check_run_id=run.id, subject="S2", metric="robust_auc", statistic=at["robust_auc"]))
        session.add(
            Campaign(
                **shared, check_run_id=run.id, purpose="tick" if number else "registration", plan="tick", seed=0,
                report=report,
            )
        )  # fmt: skip
    _nights(session, model, champion)


def _nights(session: Session, model: Model, champion: Version) -> None:
    """The last night: 16 % of the recent rows are lost to the attack, and 9 % of the reference's."""
    recent, reference = (START + 83 * DAY, 7, 2.0, 80), (START, 28, 1.0, 45)
    for on, (begins, days, fragility, lost) in {"reference": reference, "recent": recent}.items():
        bits = base64.b64encode(np.packbits(np.arange(500) < lost).tobytes()).decode()
        kept = {"on": on, "note": "", "lost": {"rows": 500, "bits": bits}, "headline": {"level": "S2"}}
        session.add(
            Campaign(
                model_id=model.id, version_id=champion.id, plan="nightly", seed=0, starts=begins,
                purpose="nightly" if on == "recent" else "nightly_reference", ends=begins + days * DAY,
                report=stress_report(fragility) | kept,
            )
        )  # fmt: skip


class _Score(torch.nn.Module):
    """A linear logit of amount and distance, in raw units."""

    def __init__(self, fragility: float) -> None:
        super().__init__()
        weights = torch.zeros(len(FEATURES))
        weights[FEATURES.index("amount")] = 0.02 * fragility
        weights[FEATURES.index("distance_km")] = 0.04
        self.register_buffer("weights", weights)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.nan_to_num(rows) @ self.weights.to(rows.dtype) - 2.0


@cache
def stress_report(fragility: float = 1.0) -> dict[str, Any]:
    """A real tick on two days' rows; the larger `fragility`, the more the score leans on the amount."""
    rng = np.random.default_rng(1)
    frame = pd.concat([rows_of(day, rng) for day in (0, 1)])
    schema = Schema.infer(frame, mutable=["amount", "distance_km"])
    rows = schema.encode(frame)
    truth = rng.random(len(rows)) < torch.sigmoid(_Score(1.0)(torch.tensor(rows))).numpy()
    threat = ThreatModel.from_schema(schema, reference=rows, level="S2")
    with torch.random.fork_rng():
        report = run_campaign(_Score(fragility).eval(), rows, truth.astype(float), threat, plan="tick", schema=schema)
    return _told(report.to_document())


def _told(report: dict[str, Any]) -> dict[str, Any]:
    """What a nightly campaign tells beside, where this one did not."""
    told = {
        "half_broken": 0.31, "area": 0.58, "snr_at_loss": {"1 %": 31.0, "5 %": 22.5, "10 %": None},
        "minimum": {"q05": 0.02, "q25": 0.11, "median": 0.34, "unbroken": 0.22},
    }  # fmt: skip
    return report | {name: value for name, value in told.items() if not report.get(name)}


def _alert(session: Session, model: Model, champion: Version, days: int) -> Alert:
    message = Message(
        title=f"{model.name}: harmful covariate shift since 3 May", severity=Severity.PAGE,
        lines=("AUROC .91 → .84 [.82, .86]; labels 96 %.", "Cause: merchant_category, amount. Pipeline clean."),
        do="review proposal #1.", labels=("Acknowledge", "Playbook"),
    )  # fmt: skip
    broken = Alert(
        model_id=model.id, version_id=champion.id, kind="quality", cause="quality", severity="page", state="resolved",
        verdict="pipeline_break", starts=START + BREAK * DAY, ends=START + (BREAK + 1) * DAY, culprits=["amount"],
        resolved_at=START + (BREAK + 2) * DAY, feedback="useful",
        message=Message(
            title=f"{model.name}: pipeline break, not drift", severity=Severity.PAGE,
            lines=("amount ×100 on channel=app (38 % of rows).",), do="roll the feed back.", dont="retrain.",
        ).to_document(),
    )  # fmt: skip
    alert = Alert(
        model_id=model.id, version_id=champion.id, kind="performance", cause="performance", severity="page",
        state="firing", verdict="harmful_covariate_shift", starts=START + HARMFUL * DAY, ends=START + days * DAY,
        culprits=["merchant_category", "amount"], message=message.to_document(),
    )  # fmt: skip
    session.add_all([broken, alert])
    session.flush()
    return alert


def _proposal(session: Session, model: Model, champion: Version, alert: Alert, days: int) -> Proposal:
    last = START + (days - 6) * DAY
    snapshot = {
        "starts": START.isoformat(), "ends": (START + 85 * DAY).isoformat(), "rows": 21_250, "sha256": "9f3c" * 16,
    }  # fmt: skip
    reason = "auroc .912 → .842 since 3 May; not the pipeline, not the season"
    evidence = collect(
        session, model, champion, window=Window(last, last + DAY), verdict=Verdict.HARMFUL_COVARIATE_SHIFT,
        sentence=reason, culprits=alert.culprits, snapshot=snapshot,
    )  # fmt: skip
    proposal = Proposal(
        model_id=model.id, champion_id=champion.id, alert_id=alert.id, state="awaiting_approval",
        reason=reason, verdict="harmful_covariate_shift",
        requested_by="policy", evidence=evidence.to_document(), evidence_sha256=evidence.sha256,
        snapshot=snapshot,
        expires_at=datetime.now(UTC) + timedelta(hours=72),
    )  # fmt: skip
    with unguarded(session):
        session.add(proposal)
    return proposal
