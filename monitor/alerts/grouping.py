"""One cause, one incident: which signals belong together, and which are silenced by a cause further up."""

from collections.abc import Iterable
from dataclasses import dataclass

from monitor.alerts.rules import AlertKind, Signal
from monitor.windows import Window


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A cause that explains what follows from it: broken data, a stopped feed, a changed schema.

    `features` are those it touches; empty means all of them (the feed stopped, the schema changed).
    """

    model: str
    window: Window
    features: frozenset[str] = frozenset()
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """The signals of one model and one cause, in the order they came."""

    model: str
    cause: str
    signals: tuple[Signal, ...]


def group(signals: Iterable[Signal]) -> tuple[Grouped, ...]:
    """Signals by model and cause: each group is one incident and one message."""
    found: dict[tuple[str, str], list[Signal]] = {}
    for signal in signals:
        found.setdefault((signal.model, signal.cause), []).append(signal)
    return tuple(Grouped(model=model, cause=cause, signals=tuple(s)) for (model, cause), s in found.items())


def inhibited_by(signal: Signal, upstream: Iterable[Upstream]) -> Upstream | None:
    """The upstream cause that explains this drift or performance signal away, or None.

    It must be of the same model, overlap in time, and touch one of the culprits at least; where a signal names no
    culprit (performance) any upstream cause of the same windows explains it.
    """
    if signal.kind not in {AlertKind.DRIFT, AlertKind.PERFORMANCE}:
        return None
    for cause in upstream:
        if cause.model == signal.model and cause.window.overlaps(signal.window) and _explains(cause, signal):
            return cause
    return None


def _explains(cause: Upstream, signal: Signal) -> bool:
    return not cause.features or not signal.culprits or bool(cause.features & set(signal.culprits))
