"""Which windows of which stream are due. Stream time decides: the watermark of traces, and that of labels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.read_streams import (
    Coverage,
    ReferenceHead,
    Traffic,
    active_references,
    frontiers,
    has_labels,
    incomplete,
    label_counts,
    traffic,
    unjudged,
    versions_with_traffic,
)
from monitor.db.registry import EVIDENTLY, SEGMENT, Model, ModelSettings, Monitor, Version
from monitor.db.segments import segments_of
from monitor.drift.reference import MIN_ROWS, MIN_WINDOWS
from monitor.reports.config import EvidentlyConfig, stored_config
from monitor.windows import Window, floor_to_grid, grid

_LABELS_AWAITED = 400  # windows after which nobody waits for the first labels any more
# A window is judged as a whole: performance waits until it is known whether features moved.
_BEFORE = {"drift": ("quality",), "performance": ("drift", "quality"), SEGMENT: ("drift",)}
GROWTH = 0.05  # more labels than before by which a window is measured again


@dataclass(frozen=True, kw_only=True)
class Due:
    """A window to check, and the revision that it becomes."""

    window: Window
    revision: int = 0
    coverage: Coverage | None = None


class Streams:
    """All that decides what is due for one model; each part is read once, when it is first needed."""

    def __init__(self, session: Session, model: Model) -> None:
        self.session = session
        self.model = model
        self.settings = ModelSettings.of(model)

    @cached_property
    def monitors(self) -> dict[str, Monitor]:
        """The enabled monitors that every model has, by kind."""
        return {monitor.kind: monitor for monitor in self._enabled if monitor.kind != EVIDENTLY}

    def of_kind(self, kind: str) -> list[Monitor]:
        """The enabled monitors of a kind: one, or any number of Evidently's."""
        return [monitor for monitor in self._enabled if monitor.kind == kind]

    @cached_property
    def _enabled(self) -> list[Monitor]:
        chosen = select(Monitor).where(Monitor.model_id == self.model.id, Monitor.enabled)
        return list(self.session.scalars(chosen.order_by(Monitor.id)))

    @cached_property
    def traffic(self) -> Traffic:
        """Rows of each version by the start of the window."""
        return traffic(self.session, self.model, self.width)

    @cached_property
    def versions(self) -> list[Version]:
        """The versions that traces have reported, oldest first."""
        return versions_with_traffic(self.session, self.model, self.traffic)

    @cached_property
    def references(self) -> dict[int, ReferenceHead]:
        return active_references(self.session, self.model)

    @cached_property
    def frontiers(self) -> dict[tuple[int, int], datetime]:
        return frontiers(self.session, self.model)

    @cached_property
    def has_labels(self) -> bool:
        return has_labels(self.session, self.model)

    def due(self, version: Version, kind: str) -> list[Due]:
        """The windows of a stream that are due, in order."""
        if kind not in self.monitors:
            return []
        match kind:
            case "quality":
                return [Due(window=window) for window in self._quality(version)]
            case "drift":
                return [Due(window=window) for window in self._drift(version)]
            case "performance":
                return list(self._performance(version))
            case "segment":
                return [Due(window=window) for window in self._segments(version)]
            case _:
                return [Due(window=window) for window in self._stress(version)]

    def due_of(self, version: Version, monitor: Monitor) -> list[Due]:
        """The windows that a version owes to one monitor, in order."""
        if monitor.kind != EVIDENTLY:
            return self.due(version, monitor.kind)
        return [Due(window=window) for window in self._evidently(version, monitor)] if monitor.enabled else []

    def wants_reference(self, version: Version) -> bool:
        """Whether a version without a reference has seen enough to fit one."""
        if version.id in self.references:
            return False
        whole = {start: rows for start, rows in self.traffic[version.id].items() if start + self.width <= self.closed}
        return len(whole) >= MIN_WINDOWS and sum(whole.values()) >= MIN_ROWS

    @property
    def width(self) -> timedelta:
        return timedelta(seconds=self.settings.window_seconds)

    @property
    def closed(self) -> datetime:
        """Windows that end by then are ready."""
        watermark = self.model.watermark or datetime.fromisoformat("1970-01-01T00:00:00+00:00")
        return watermark - timedelta(seconds=self.settings.grace_seconds)

    def _frontier(self, version: Version, kind: str) -> datetime | None:
        monitor = self.monitors.get(kind)
        return self.frontiers.get((version.id, monitor.id)) if monitor else None

    def _quality(self, version: Version) -> Iterator[Window]:
        """Windows with rows of this version, and the champion's windows in which nobody sent any."""
        own, reference = self.traffic[version.id], self.references.get(version.id)
        known = [self._frontier(version, "quality"), reference.ends if reference else None]
        begin = max([min(own), *(moment for moment in known if moment is not None)])
        for window in grid(begin, self.closed, self.width):
            silent = version.id == self.model.champion_id and not self._anybody(window.start)
            if window.start in own or silent:
                yield window

    def _anybody(self, start: datetime) -> bool:
        return any(start in rows for rows in self.traffic.values())

    def _drift(self, version: Version) -> list[Window]:
        reached, frontier = self._frontier(version, "quality"), self._frontier(version, "drift")
        if reached is None or (frontier is not None and frontier >= reached):
            return []
        return self._unjudged(version, "drift", since=frontier)

    def _evidently(self, version: Version, monitor: Monitor) -> Iterator[Window]:
        """Every so many of the windows that the drift check (without one: the quality check) has seen."""
        earlier = self.monitors.get("drift") or self.monitors.get("quality")
        if earlier is None:
            return
        config = stored_config(monitor.settings) or EvidentlyConfig()
        last = self.frontiers.get((version.id, monitor.id))
        since = config.since if last is None else last + (config.every_windows - 1) * self.width
        for window in unjudged(
            self.session, version.id, monitor_id=monitor.id, earlier_id=earlier.id, since=since
        ):  # fmt: skip
            if since is None or window.start >= since:
                yield window
                since = window.end + (config.every_windows - 1) * self.width

    def _segments(self, version: Version) -> list[Window]:
        """What the drift check has looked at since the first segment was declared."""
        begun = [one.begins for one in segments_of(self.monitors[SEGMENT]).values()]
        since = self._frontier(version, SEGMENT) or min((at for at in begun if at is not None), default=None)
        return self._unjudged(version, SEGMENT, since=since)

    def _unjudged(self, version: Version, kind: str, *, since: datetime | None) -> list[Window]:
        """What the check before this one has seen and this one has not: quality, then drift, then performance."""
        earlier = [self.monitors[name] for name in _BEFORE[kind] if name in self.monitors]
        if not earlier:
            return []
        monitor = self.monitors[kind]
        return unjudged(self.session, version.id, monitor_id=monitor.id, earlier_id=earlier[0].id, since=since)

    def _performance(self, version: Version) -> Iterator[Due]:
        """Windows whose labels are mature, and measured ones whose labels went on coming."""
        if not self.has_labels:
            return
        unmeasured = self._unjudged(version, "performance", since=self.closed - _LABELS_AWAITED * self.width)
        fresh = [window for window in unmeasured if not self._awaits_labels(window.end)]
        measured = incomplete(self.session, version.id, monitor_id=self.monitors["performance"].id)
        coverage = self._coverage(version, [*fresh, *measured])
        for window in sorted([*fresh, *measured]):
            now = coverage.get(window.start)
            if now is None or not now.labelled:
                continue
            if window not in measured and self.is_mature(window.end, now):
                yield Due(window=window, coverage=now)
            elif window in measured and self._grew(measured[window][1], now):
                yield Due(window=window, revision=measured[window][0] + 1, coverage=now)

    def _awaits_labels(self, end: datetime) -> bool:
        """Whether a source that tells up to when its labels are complete has not come so far yet: no need to count."""
        told = self.model.label_watermark
        return told is not None and told < end + timedelta(seconds=self.settings.label_delay_seconds)

    def is_mature(self, end: datetime, coverage: Coverage) -> bool:
        """Whether enough labels of a window that ended at `end` have come, or no more are awaited."""
        awaited_until = end + timedelta(seconds=self.settings.label_delay_seconds)
        over = self.model.label_watermark is not None and self.model.label_watermark >= awaited_until
        return over or coverage.share >= self.settings.label_maturity

    def _grew(self, before: Coverage, now: Coverage) -> bool:
        maturity = self.settings.label_maturity
        return now.labelled > before.labelled * (1 + GROWTH) or before.share < maturity <= now.share

    def _coverage(self, version: Version, windows: Iterable[Window]) -> dict[datetime, Coverage]:
        ordered = sorted(windows)
        if not ordered:
            return {}
        span = Window(ordered[0].start, max(window.end for window in ordered))
        return label_counts(self.session, self.model, version, span, self.width)

    def _stress(self, version: Version) -> Iterator[Window]:
        """Whole periods of `stress_every_windows` windows with mature labels; only of versions with an artefact."""
        reached = self._frontier(version, "quality")
        if version.flavour == "none" or reached is None or not self.has_labels:
            return
        period = self.width * self.settings.stress_every_windows
        reference = self.references.get(version.id)
        begin = self._frontier(version, "stress") or max(
            [min(self.traffic[version.id]), *([reference.ends] if reference else [])]
        )
        for window in grid(floor_to_grid(begin, period), reached, period):
            coverage = Coverage(kept=0, labelled=0) if self._awaits_labels(window.end) else self._sum(version, window)
            if coverage.labelled and self.is_mature(window.end, coverage):
                yield window
            else:
                return  # in order: a later period waits for this one

    def _sum(self, version: Version, window: Window) -> Coverage:
        found = label_counts(self.session, self.model, version, window, self.width).values()
        return Coverage(kept=sum(one.kept for one in found), labelled=sum(one.labelled for one in found))
