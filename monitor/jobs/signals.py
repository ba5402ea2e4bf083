"""What each check of a window says to the alert of its cause."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.alerts import AlertKind, Condition, Rule, Severity, Signal
from monitor.db.checks import CheckRun
from monitor.drift.quality import QualityKind
from monitor.jobs.facts import Known
from monitor.performance import HARMFUL, Verdict

SCHEMA = "schema"  # the cause of an alert on columns that came into use
RULES = {  # the detector's own hysteresis decides when drift is over
    AlertKind.QUALITY: Rule(kind=AlertKind.QUALITY, severity=Severity.PAGE, keep_firing_windows=1),
    AlertKind.DRIFT: Rule(kind=AlertKind.DRIFT, severity=Severity.TICKET, keep_firing_windows=1),
    AlertKind.PERFORMANCE: Rule(kind=AlertKind.PERFORMANCE, severity=Severity.PAGE),
    AlertKind.ROBUSTNESS: Rule(kind=AlertKind.ROBUSTNESS, severity=Severity.TICKET),
    AlertKind.EVIDENTLY: Rule(kind=AlertKind.EVIDENTLY, severity=Severity.TICKET, keep_firing_windows=1),
}


def signals(session: Session, model_name: str, known: Known) -> Iterator[Signal]:
    """One signal for each cause that the window's runs can speak about; a broken feed explains all the others away."""
    quality = known.runs.get("quality")
    if quality is not None and quality.status == "ok":
        yield _quality(model_name, known)
        yield _schema(model_name, known)
    if known.is_broken:
        return
    drift = known.runs.get("drift")
    if drift is not None and drift.status == "ok":
        yield _drift(model_name, known)
    if known.facts.labels_mature and known.facts.limit is not None:
        yield _performance(model_name, known)
    fragile = known.judgement.verdict is Verdict.FRAGILE
    if fragile or (("stress" in known.runs or known.facts.labels_mature) and not _still_fragile(session, known)):
        yield _robustness(model_name, known, fragile=fragile)


def _quality(model: str, known: Known) -> Signal:
    breaks = [finding for finding in known.facts.quality if finding.breaks_pipeline]
    return Signal(
        model=model,
        cause="quality",
        window=known.window,
        condition=Condition.FIRING if breaks else Condition.CLEAR,
        kind=AlertKind.QUALITY,
        severity=Severity.PAGE,
        verdict=Verdict.PIPELINE_BREAK if breaks else known.judgement.verdict,
        effect=max((finding.share for finding in breaks), default=0.0),
        culprits=tuple(dict.fromkeys(finding.feature for finding in breaks if finding.feature)),
        sentence=known.judgement.sentence,
    )


def _schema(model: str, known: Known) -> Signal:
    """Columns that came into use: nothing is broken, and the feed is not what the model was built on."""
    new = [finding for finding in known.facts.quality if finding.kind is QualityKind.APPEARED]
    return Signal(
        model=model,
        cause=SCHEMA,
        window=known.window,
        condition=Condition.FIRING if new else Condition.CLEAR,
        kind=AlertKind.QUALITY,
        severity=Severity.TICKET,
        verdict=Verdict.PIPELINE_BREAK,
        effect=0.0,
        culprits=tuple(finding.feature for finding in new if finding.feature),
        sentence="; ".join(f"{finding.sentence}." for finding in new),
    )


def _drift(model: str, known: Known) -> Signal:
    features = known.runs["drift"].document.get("features", {})
    effects = [abs(features[name].get("effect") or 0.0) for name in known.facts.moved if name in features]
    return Signal(
        model=model,
        cause="drift",
        window=known.window,
        condition=Condition.FIRING if known.is_open else Condition.CLEAR,
        kind=AlertKind.DRIFT,
        severity=Severity.TICKET,
        verdict=known.judgement.verdict,
        effect=max(effects, default=0.0),
        culprits=known.leading,
        sentence=known.runs["drift"].sentence,
    )


def _performance(model: str, known: Known) -> Signal:
    facts = known.facts
    beyond = abs(facts.realised.value - facts.limit) if facts.realised and facts.limit is not None else 0.0
    harmful = known.judgement.verdict in HARMFUL
    return Signal(
        model=model,
        cause="performance",
        window=known.window,
        condition=Condition.FIRING if harmful else Condition.CLEAR,
        kind=AlertKind.PERFORMANCE,
        severity=Severity.PAGE,
        verdict=known.judgement.verdict,
        effect=beyond if harmful else 0.0,
        culprits=known.leading,
        sentence=known.judgement.sentence,
    )


def _robustness(model: str, known: Known, *, fragile: bool) -> Signal:
    return Signal(
        model=model,
        cause="robustness",
        window=known.window,
        condition=Condition.FIRING if fragile else Condition.CLEAR,
        kind=AlertKind.ROBUSTNESS,
        severity=Severity.PAGE if known.facts.realised_drop else Severity.TICKET,
        verdict=known.judgement.verdict,
        effect=known.facts.evasion.statistic if fragile and known.facts.evasion else 0.0,
        culprits=_leaned_on(known) if fragile else (),
        sentence=known.judgement.sentence,
    )


def _leaned_on(known: Known) -> tuple[str, ...]:
    """The feature in which somebody adapts to the model, else those that the attack leans on."""
    if known.evading:
        return (known.evading,)
    return tuple(entry["feature"] for entry in known.fragile.get("fragile", ()))


def _still_fragile(session: Session, known: Known) -> bool:
    """Whether the last stress test found the version below its registration: labels alone do not clear that."""
    any_run = next(iter(known.runs.values()))
    return bool(
        session.scalar(
            select(CheckRun.document["below_registration"].as_boolean())
            .where(
                CheckRun.version_id == any_run.version_id, CheckRun.kind == "stress", CheckRun.ends <= known.window.end
            )
            .order_by(CheckRun.ends.desc(), CheckRun.revision.desc())
            .limit(1)
        )
    )
