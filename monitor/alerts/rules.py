"""When a finding becomes an alert: kind, severity, cause, and how many windows it must last."""

from dataclasses import dataclass
from enum import StrEnum

from monitor.performance.verdict import HARMFUL, Verdict
from monitor.windows import Window


class AlertKind(StrEnum):
    """What an alert is about."""

    DRIFT = "drift"
    QUALITY = "quality"
    PERFORMANCE = "performance"
    ROBUSTNESS = "robustness"
    EVIDENTLY = "evidently"  # a conventional test that an owner wants to hear of


class Severity(StrEnum):
    """How it reaches people: a page wakes someone, a ticket waits for the morning, info is only shown."""

    PAGE = "page"
    TICKET = "ticket"
    INFO = "info"

    def at_least(self, other: "Severity") -> bool:
        """Whether this is as urgent as `other`, or more."""
        return _URGENCY[self] >= _URGENCY[other]


_URGENCY = {Severity.INFO: 0, Severity.TICKET: 1, Severity.PAGE: 2}


class Condition(StrEnum):
    """What the check of a window said."""

    FIRING = "firing"
    CLEAR = "clear"
    NO_DATA = "no_data"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How long a condition must last before it fires, and stay clear before it resolves, in windows of stream time."""

    kind: AlertKind
    severity: Severity
    for_windows: int = 1
    keep_firing_windows: int = 3


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One window's outcome for one cause of one model; `effect` grows with how bad it is."""

    model: str
    cause: str
    window: Window
    condition: Condition
    kind: AlertKind
    severity: Severity
    verdict: Verdict
    effect: float = 0.0
    culprits: tuple[str, ...] = ()
    sentence: str = ""


def severity_of(kind: AlertKind, verdict: Verdict, *, realised_drop: bool = False) -> Severity:
    """Page for a pipeline break, a harmful verdict, and fragility that already costs performance; else a ticket.

    Moved features without harm are a ticket: they are evidence, and nobody gets up for them.

    >>> severity_of(AlertKind.DRIFT, Verdict.HARMLESS_DRIFT)
    <Severity.TICKET: 'ticket'>
    """
    if verdict is Verdict.HEALTHY:
        return Severity.INFO
    if verdict is Verdict.PIPELINE_BREAK:
        return Severity.PAGE if kind is AlertKind.QUALITY else Severity.TICKET
    if verdict in HARMFUL:
        return Severity.PAGE
    if verdict is Verdict.FRAGILE and realised_drop:
        return Severity.PAGE
    return Severity.TICKET


def kind_of(verdict: Verdict) -> AlertKind:
    """The kind of alert that a verdict raises."""
    if verdict is Verdict.PIPELINE_BREAK:
        return AlertKind.QUALITY
    if verdict is Verdict.FRAGILE:
        return AlertKind.ROBUSTNESS
    return AlertKind.PERFORMANCE if verdict in HARMFUL else AlertKind.DRIFT


def rule_for(verdict: Verdict, *, realised_drop: bool = False, for_windows: int = 1) -> Rule | None:
    """The alert that a verdict asks for, or None when nothing is wrong."""
    if verdict is Verdict.HEALTHY:
        return None
    kind = kind_of(verdict)
    severity = severity_of(kind, verdict, realised_drop=realised_drop)
    return Rule(kind=kind, severity=severity, for_windows=for_windows)
