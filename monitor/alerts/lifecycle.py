"""The states of one alert, advanced window by window. Counts are in windows of stream time, so a replay is exact.

pending → firing → acknowledged → resolved; no_data and error are states of their own, left as soon as data speak again.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from monitor.alerts.rules import AlertKind, Condition, Rule, Severity, Signal
from monitor.errors import IllegalTransition
from monitor.performance.verdict import Verdict
from monitor.windows import Window


class AlertState(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    NO_DATA = "no_data"
    ERROR = "error"


OPEN = frozenset({AlertState.FIRING, AlertState.ACKNOWLEDGED})


class Notice(StrEnum):
    """What people are told about a transition."""

    FIRED = "fired"
    UPDATED = "updated"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class AlertSnapshot:
    """All that the next step needs to know. `starts` and `ends` span the windows that fired."""

    state: AlertState
    kind: AlertKind
    severity: Severity
    verdict: Verdict
    starts: datetime
    ends: datetime
    seen_until: datetime
    bad_windows: int = 0
    clear_windows: int = 0
    notified_effect: float = 0.0
    culprits: tuple[str, ...] = ()
    revised: bool = False
    was_open: bool = False  # before data stopped or the check failed

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        times = {name: getattr(self, name).isoformat() for name in ("starts", "ends", "seen_until")}
        return {**asdict(self), **times, "culprits": list(self.culprits)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "AlertSnapshot":
        """The snapshot that `to_document` wrote."""
        times = {name: datetime.fromisoformat(document[name]) for name in ("starts", "ends", "seen_until")}
        enums = {"state": AlertState, "kind": AlertKind, "severity": Severity, "verdict": Verdict}
        typed = {name: kind(document[name]) for name, kind in enums.items()}
        return cls(**{**document, **times, **typed, "culprits": tuple(document["culprits"])})


@dataclass(frozen=True, kw_only=True)
class Transition:
    """The alert after a window, what to tell people about it (None: nothing), and why."""

    snapshot: AlertSnapshot
    notice: Notice | None
    why: str


_GRAVEST_FIRST = (
    Verdict.PIPELINE_BREAK,
    Verdict.HARMFUL_COVARIATE_SHIFT,
    Verdict.CONCEPT_DRIFT,
    Verdict.FRAGILE,
    Verdict.HARMLESS_DRIFT,
    Verdict.PENDING_LABELS,
    Verdict.HEALTHY,
)


def advance(current: AlertSnapshot | None, signal: Signal, rule: Rule) -> Transition | None:
    """The step that one window's signal makes; None where nothing changes.

    A window that was already seen changes nothing but through `revise`. A resolved alert is over: pass None to begin
    a new one.
    """
    live = None if current is None or current.state is AlertState.RESOLVED else current
    if live is not None and signal.window.end <= live.seen_until:
        return None
    match signal.condition:
        case Condition.FIRING:
            return _worse(live, signal, rule)
        case Condition.CLEAR:
            return None if live is None else _better(live, signal, rule)
        case Condition.NO_DATA:
            return _silent(live, signal, AlertState.NO_DATA)
        case Condition.ERROR:
            return _silent(live, signal, AlertState.ERROR)


def acknowledge(current: AlertSnapshot) -> Transition:
    """A person has taken it; only a firing alert can be taken."""
    if current.state is not AlertState.FIRING:
        raise IllegalTransition(f"expected a firing alert to acknowledge, got one that is {current.state}")
    return Transition(
        snapshot=replace(current, state=AlertState.ACKNOWLEDGED), notice=None, why="a person acknowledged it"
    )


def revise(current: AlertSnapshot, signal: Signal) -> Transition:
    """A late label changed a window that was judged before: marked revised, never unsent."""
    return Transition(
        snapshot=replace(current, verdict=signal.verdict, revised=True),
        notice=None,
        why=f"the window that began {signal.window.start:%-d %b %Y} was judged again: {signal.verdict.in_words}",
    )


def _worse(live: AlertSnapshot | None, signal: Signal, rule: Rule) -> Transition:
    begun = live or _begin(signal, AlertState.PENDING)
    counted = replace(
        begun,
        ends=signal.window.end,
        seen_until=signal.window.end,
        bad_windows=begun.bad_windows + 1,
        clear_windows=0,
        severity=_worst(begun.severity, signal.severity),
    )
    if begun.state in OPEN or begun.was_open:
        return _still_firing(counted, signal, why=notify_again(begun, signal))
    if counted.bad_windows < rule.for_windows:
        waiting = replace(counted, state=AlertState.PENDING, verdict=signal.verdict)
        return Transition(snapshot=waiting, notice=None, why=f"{counted.bad_windows} of {rule.for_windows} windows")
    fired = replace(
        counted,
        state=AlertState.FIRING,
        kind=signal.kind,
        verdict=signal.verdict,
        culprits=signal.culprits,
        notified_effect=signal.effect,
    )
    return Transition(snapshot=fired, notice=Notice.FIRED, why=f"held for {counted.bad_windows} windows")


def _still_firing(counted: AlertSnapshot, signal: Signal, *, why: str | None) -> Transition:
    state = counted.state if counted.state in OPEN else AlertState.FIRING
    back = replace(counted, state=state, verdict=gravest((counted.verdict, signal.verdict)), was_open=False)
    if why is None:
        return Transition(snapshot=back, notice=None, why="still firing")
    told = replace(
        back,
        state=AlertState.FIRING,  # whoever acknowledged it did not acknowledge this
        kind=counted.kind if counted.kind is AlertKind.PERFORMANCE else signal.kind,
        notified_effect=max(counted.notified_effect, signal.effect),
        culprits=tuple(dict.fromkeys(signal.culprits + counted.culprits)),  # what is largest now comes first
    )
    return Transition(snapshot=told, notice=Notice.UPDATED, why=why)


def gravest(verdicts: Collection[Verdict]) -> Verdict:
    """What an alert over windows of these verdicts amounts to: the first that applies; awaited labels tell nothing yet.

    >>> gravest([Verdict.PENDING_LABELS, Verdict.HARMLESS_DRIFT])
    <Verdict.HARMLESS_DRIFT: 'harmless_drift'>
    """
    return next(verdict for verdict in _GRAVEST_FIRST if verdict in verdicts)


def notify_again(current: AlertSnapshot, signal: Signal) -> str | None:
    """Why people must hear of an open alert again: more urgent, performance fell, doubled, a new culprit. Else None."""
    if signal.severity.at_least(current.severity) and signal.severity is not current.severity:
        return f"a {current.severity} became a {signal.severity}"
    if signal.kind is AlertKind.PERFORMANCE and current.kind is not AlertKind.PERFORMANCE:
        return "performance now falls too"
    if current.notified_effect > 0 and signal.effect >= 2 * current.notified_effect:
        return f"the effect doubled: {current.notified_effect:.2g} → {signal.effect:.2g}"
    new = [culprit for culprit in signal.culprits if culprit not in current.culprits]
    return f"new culprit: {', '.join(new)}" if new else None


def _better(live: AlertSnapshot, signal: Signal, rule: Rule) -> Transition:
    seen = replace(live, seen_until=signal.window.end, clear_windows=live.clear_windows + 1)
    if not (live.state in OPEN or live.was_open):
        over = replace(seen, state=AlertState.RESOLVED)
        return Transition(snapshot=over, notice=None, why="cleared before it fired")
    state = live.state if live.state in OPEN else AlertState.FIRING
    if seen.clear_windows < rule.keep_firing_windows:
        held = replace(seen, state=state, was_open=False)
        return Transition(
            snapshot=held, notice=None, why=f"clear for {seen.clear_windows} of {rule.keep_firing_windows}"
        )
    over = replace(seen, state=AlertState.RESOLVED, was_open=False)
    return Transition(snapshot=over, notice=Notice.RESOLVED, why=f"clear for {seen.clear_windows} windows")


def _silent(live: AlertSnapshot | None, signal: Signal, state: AlertState) -> Transition:
    begun = live or _begin(signal, state)
    kept = replace(
        begun,
        state=state,
        seen_until=signal.window.end,
        was_open=begun.was_open or begun.state in OPEN,
    )
    return Transition(
        snapshot=kept, notice=None, why="no data came" if state is AlertState.NO_DATA else "the check failed"
    )


def _begin(signal: Signal, state: AlertState) -> AlertSnapshot:
    window: Window = signal.window
    return AlertSnapshot(
        state=state, kind=signal.kind, severity=signal.severity, verdict=signal.verdict,
        starts=window.start, ends=window.end, seen_until=window.start,
    )  # fmt: skip


def _worst(one: Severity, other: Severity) -> Severity:
    return one if one.at_least(other) else other
