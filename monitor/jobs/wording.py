"""What people are told when an alert changes: from a window's facts to one message."""

from collections.abc import Sequence
from datetime import datetime

from monitor.alerts import AlertKind, AlertSnapshot, Message, Notice, Severity, Signal
from monitor.jobs.facts import Known
from monitor.jobs.signals import SCHEMA
from monitor.performance import Verdict
from monitor.robustness.report import FragileFeature
from monitor.robustness.wording import feature_sentence

_TITLES = {
    Verdict.PIPELINE_BREAK: "pipeline break, not drift",
    Verdict.FRAGILE: "more fragile",
    Verdict.HARMFUL_COVARIATE_SHIFT: "harmful drift",
    Verdict.CONCEPT_DRIFT: "concept drift",
    Verdict.HARMLESS_DRIFT: "harmless drift",
    Verdict.PENDING_LABELS: "features moved; labels will tell whether it hurts",
    Verdict.HEALTHY: "healthy",
}
_BUTTONS = ("Acknowledge", "Playbook", "Silence", "Useful | Expected | False")
_SHOWN_CULPRITS = 3
_SCHEMA_ADVICE = (
    "ask the source's owner what was released; accept a new baseline once the values can be trusted.",
    "retrain yet: there is too little of the new column to learn from.",
)


def fired_message(model: str, signal: Signal, known: Known, snapshot: AlertSnapshot, *, why: str, link: str) -> Message:
    """An alert began, or became worse."""
    do, dont = _SCHEMA_ADVICE if signal.cause == SCHEMA else _advice(known.judgement.advice)
    own = signal.sentence if signal.kind is AlertKind.EVIDENTLY or signal.cause == SCHEMA else ""
    told = (
        own,
        f"{known.judgement.sentence}" if signal.cause != SCHEMA else "",
        *_features(known, signal),
        *_fragile(known, signal),
        _since(snapshot),
        "" if snapshot.bad_windows == 1 else why,
    )
    return Message(
        title=f"{model}: {title_of(signal, evading=known.evading is not None)}{_when(snapshot)}",
        severity=Severity(snapshot.severity),
        lines=tuple(line for line in dict.fromkeys(told) if line),
        do=do,
        dont=dont,
        link=link,
        labels=_BUTTONS,
    )


def resolved_message(model: str, signal: Signal, known: Known, snapshot: AlertSnapshot, *, link: str) -> Message:
    """An alert is over."""
    lasted = snapshot.ends - snapshot.starts
    metric = f"{known.facts.realised}." if known.facts.realised is not None else ""
    return Message(
        title=f"{model}: {_over(signal, snapshot)} is over",
        severity=Severity(snapshot.severity),
        lines=tuple(line for line in (f"It lasted {_span(lasted.total_seconds())} of traffic.", metric) if line),
        link=link,
        resolved=True,
    )


def _over(signal: Signal, snapshot: AlertSnapshot) -> str:
    if signal.cause == SCHEMA:
        return "change of schema"
    return signal.cause if signal.kind is AlertKind.EVIDENTLY else _TITLES[snapshot.verdict]


def title_of(signal: Signal, *, evading: bool = False) -> str:
    """The problem in a few words; `evading` when somebody was seen to adapt to the model."""
    if signal.kind is AlertKind.EVIDENTLY:
        return f"Evidently's {signal.cause.partition(':')[2]} fired on {', '.join(signal.culprits[:_SHOWN_CULPRITS])}"
    if signal.cause == SCHEMA and signal.culprits:
        return f"{_and_more(signal.culprits)} came into use: the schema changed, not the world"
    if signal.kind is AlertKind.ROBUSTNESS and signal.culprits:
        adapts = f"somebody adapts to the model in {signal.culprits[0]}"
        return adapts if evading else f"more fragile than at registration, by {_and_more(signal.culprits)}"
    if signal.kind is AlertKind.DRIFT and signal.verdict is Verdict.PENDING_LABELS and signal.culprits:
        return f"{_and_more(signal.culprits)} moved; labels will tell whether it hurts"
    return _TITLES[signal.verdict]


def revised_title(model: str, culprits: Sequence[str], verdict: Verdict) -> str:
    """What a drift alert says once labels have told.

    >>> revised_title("fraud", ["age", "amount"], Verdict.HARMLESS_DRIFT)
    'fraud: age and 1 more moved: harmless drift'
    """
    return f"{model}: {_and_more(culprits)} moved: {_TITLES[verdict]}" if culprits else f"{model}: {_TITLES[verdict]}"


def _and_more(culprits: Sequence[str]) -> str:
    """The first, and how many others there are; at least one is expected."""
    return culprits[0] + (f" and {len(culprits) - 1} more" if len(culprits) > 1 else "")


def _when(snapshot: AlertSnapshot) -> str:
    return f" since {_day(snapshot.starts)} ({snapshot.bad_windows} windows)" if snapshot.bad_windows > 1 else ""


def _since(snapshot: AlertSnapshot) -> str:
    return f"Window {_moment(snapshot.starts)} – {_moment(snapshot.ends)} UTC." if snapshot.bad_windows == 1 else ""


def _features(known: Known, signal: Signal) -> list[str]:
    """A sentence for each of the worst culprits of the detector."""
    if "drift" not in known.runs or signal.kind is AlertKind.QUALITY:
        return []
    features = known.runs["drift"].document.get("features", {})
    told = [features[name].get("sentence", "") for name in known.facts.moved[:_SHOWN_CULPRITS] if name in features]
    return [f"{sentence}." for sentence in told if sentence]


def _fragile(known: Known, signal: Signal) -> list[str]:
    """What the attack leaned on, and how far it was allowed to move it."""
    if signal.kind is not AlertKind.ROBUSTNESS or not known.fragile:
        return []
    told = [feature_sentence(FragileFeature(**entry)) for entry in known.fragile.get("fragile", ())]
    budget = known.fragile.get("budget")
    moved = [f"An attacker may move {budget}."] if budget else []
    return [*(f"{sentence[0].upper()}{sentence[1:]}." for sentence in told), *moved]


def _advice(advice: str) -> tuple[str, str]:
    """What to do, and what not to do."""
    do, _, dont = advice.removeprefix("DO: ").partition("Do NOT ")
    return do.strip(), dont.strip()


def _day(moment: datetime) -> str:
    return f"{moment:%-d %b}"


def _moment(moment: datetime) -> str:
    return f"{moment:%-d %b %H:%M}"


def _span(seconds: float) -> str:
    """A stretch of time in its two largest units.

    >>> _span(2 * 86_400 + 4 * 3_600)
    '2 d 4 h'
    """
    days, rest = divmod(int(seconds), 86_400)
    hours, minutes = rest // 3_600, rest % 3_600 // 60
    parts = [f"{number} {unit}" for number, unit in ((days, "d"), (hours, "h"), (minutes, "min")) if number]
    return " ".join(parts[:2]) or "0 min"


def event_of(notice: Notice) -> str:
    """The outbox's word for a notice."""
    return notice.value
