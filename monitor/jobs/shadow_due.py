"""Which windows a shadow has yet to look at: closed ones for decisions, those with mature labels for losses."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from monitor.db.read_streams import Coverage, label_counts
from monitor.db.registry import Model, Version
from monitor.db.retraining import Shadow
from monitor.jobs.due import Streams
from monitor.windows import Window, grid

MOST_WINDOWS = 16  # of one job; the next one goes on


@dataclass(frozen=True, kw_only=True)
class ShadowDue:
    """Windows to look at, in order, and whether the period is over with them."""

    seen: tuple[Window, ...]
    judged: tuple[Window, ...]
    over: bool

    @property
    def anything(self) -> bool:
        return bool(self.seen or self.judged or self.over)


def shadow_due(session: Session, shadow: Shadow, model: Model) -> ShadowDue:
    """What stream time says is due."""
    streams, document = Streams(session, model), shadow.document
    ends, width = datetime.fromisoformat(document["ends"]), streams.width
    seen = tuple(_windows(document["seen_until"], min(streams.closed, ends), width))
    ripe = _windows(document["judged_until"], min(streams.closed, ends), width)
    judged = tuple(_mature(session, shadow, streams, list(ripe)))
    awaited = ends + timedelta(seconds=streams.settings.label_delay_seconds) + (ends - shadow.since)
    all_seen = not seen and datetime.fromisoformat(document["seen_until"]) >= ends
    all_judged = not judged and datetime.fromisoformat(document["judged_until"]) >= ends
    over = all_seen and not judged and (all_judged or streams.closed >= awaited)
    return ShadowDue(seen=seen[:MOST_WINDOWS], judged=judged[:MOST_WINDOWS], over=over)


def _windows(since: str, until: datetime, width: timedelta) -> Iterator[Window]:
    return grid(datetime.fromisoformat(since), until, width)


def _mature(session: Session, shadow: Shadow, streams: Streams, windows: list[Window]) -> Iterator[Window]:
    """In order: a window whose labels are awaited holds back the later ones."""
    if not windows:
        return
    champion = session.get_one(Version, shadow.champion_id)
    span = Window(windows[0].start, windows[-1].end)
    coverage = label_counts(session, streams.model, champion, span, streams.width)
    for window in windows:
        found = coverage.get(window.start, Coverage(kept=0, labelled=0))
        if found.kept and not streams.is_mature(window.end, found):
            return
        yield window
