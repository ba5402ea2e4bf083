"""The rows that a retraining would learn from: the newest labelled traces, without those of broken windows."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.base import Json
from monitor.db.checks import Campaign, WindowVerdict
from monitor.db.registry import Model, ModelSettings, Version
from monitor.db.traces import label_coverage, read_traces, span
from monitor.windows import Window

MOST_ROWS = 30_000
_CAMPAIGNS_READ = 8
_FIRST_REACH = 16  # windows looked back at first; doubled until there are rows enough


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRows:
    """Labelled kept traces in order of time, and what the snapshot of a proposal says about them.

    `kept` counts the kept traces of the span, labelled or not; `broken` are the windows that were left out because
    their data were judged broken.
    """

    window: Window
    frame: pd.DataFrame
    kept: int
    broken: tuple[Window, ...]

    @property
    def ids_sha256(self) -> str:
        """Of the trace ids in order: the same rows have the same hash."""
        return hashlib.sha256("\n".join(self.frame["trace_id"].astype(str)).encode()).hexdigest()

    def to_document(self) -> Json:
        """As a proposal stores it."""
        rows = len(self.frame)
        return {
            "starts": self.window.start.isoformat(),
            "ends": self.window.end.isoformat(),
            "rows": rows,
            "label_coverage": min(1.0, rows / self.kept) if self.kept else 0.0,
            "sha256": self.ids_sha256,
            "left_out": [[window.start.isoformat(), window.end.isoformat()] for window in self.broken],
        }


def newest_training_rows(session: Session, model: Model, until: datetime, *, most: int = MOST_ROWS) -> TrainingRows:
    """The newest `most` labelled traces before `until`; what is broken does not count."""
    seen = span(session, model)
    first = seen[0] if seen else until
    reach = timedelta(seconds=ModelSettings.of(model).window_seconds) * _FIRST_REACH
    found = training_rows(session, model, Window(until - reach, until))
    while len(found.frame) < most and found.window.start > first:
        reach *= 2
        found = training_rows(session, model, Window(until - reach, until))
    newest = found.frame.iloc[-most:].reset_index(drop=True)
    start = newest["event_time"].iloc[0].to_pydatetime() if len(newest) else found.window.start
    return training_rows(session, model, Window(start, until))


def training_rows(session: Session, model: Model, window: Window) -> TrainingRows:
    """The labelled traces of a span, whatever version scored them."""
    frame = read_traces(session, model, window, labelled=True)
    broken = broken_windows(session, model, window)
    for one in broken:
        frame = frame[(frame["event_time"] < one.start) | (frame["event_time"] >= one.end)]
    kept, _ = label_coverage(session, model, window)
    return TrainingRows(window=window, frame=frame.reset_index(drop=True), kept=kept, broken=broken)


def broken_windows(session: Session, model: Model, window: Window) -> tuple[Window, ...]:
    """The windows of a span that were last judged a pipeline break, whichever version they were judged for."""
    rows = session.scalars(
        select(WindowVerdict)
        .where(WindowVerdict.model_id == model.id, WindowVerdict.starts < window.end, WindowVerdict.ends > window.start)
        .order_by(WindowVerdict.revision)
    )
    newest = {(row.version_id, row.starts, row.ends): row.verdict for row in rows}  # the newest revision comes last
    found = {Window(starts, ends) for (_, starts, ends), verdict in newest.items() if verdict == "pipeline_break"}
    return tuple(sorted(found))


def newest_verdicts(
    session: Session, version_id: int, *, most: int, until: datetime | None = None
) -> list[WindowVerdict]:
    """The newest revision of each of a version's last `most` judged windows, oldest first."""
    chosen = select(WindowVerdict).where(WindowVerdict.version_id == version_id)
    if until is not None:
        chosen = chosen.where(WindowVerdict.ends <= until)
    rows = session.scalars(chosen.order_by(WindowVerdict.starts.desc(), WindowVerdict.revision.desc()))
    found: dict[datetime, WindowVerdict] = {}
    for row in rows.yield_per(most):
        if row.starts not in found and len(found) == most:
            break
        found.setdefault(row.starts, row)
    return list(reversed(found.values()))


def last_noise_report(session: Session, version: Version, *, before: datetime) -> Json | None:
    """The last campaign on a version that had a noise grid; later ones must not change a training that begins again."""
    asked = (
        select(Campaign.report)
        .where(Campaign.version_id == version.id, Campaign.created_at <= before)
        .order_by(Campaign.id.desc())
        .limit(_CAMPAIGNS_READ)
    )
    return next((report for report in session.scalars(asked) if report.get("noise")), None)
