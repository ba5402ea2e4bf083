"""The drift check of single windows, as it is kept."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun
from monitor.db.jobs import LIVE, Job
from monitor.db.registry import SEGMENT, Model, Version
from monitor.windows import Window


@dataclass(frozen=True, kw_only=True)
class DriftCheck:
    """One window by its newest revision, of the version that served most of its rows."""

    version: str
    window: Window
    status: str
    sentence: str
    rows: int
    document: dict[str, Any]
    segments: dict[str, dict[str, Any]]  # the report of each declared segment, by its name

    @property
    def is_open(self) -> bool:
        """Whether a drift incident is open after this window."""
        return self.document.get("state") == "open"

    @property
    def report(self) -> dict[str, Any]:
        """The stored report; where the window was not judged at least status, sentence and rows."""
        return {"status": self.status, "sentence": self.sentence, "rows": self.rows, **self.document}


def newest_drift_checks(session: Session, model: Model, last: int) -> list[DriftCheck]:
    """The newest `last` windows, in order of time."""
    newest = _of(model).with_only_columns(CheckRun.starts).distinct().order_by(CheckRun.starts.desc()).limit(last)
    starts = list(session.scalars(newest))
    return _checks(session, _of(model).where(CheckRun.starts.in_(starts)))


def drift_checks_in(session: Session, model: Model, span: Window) -> list[DriftCheck]:
    """The windows that share a moment with `span`, in order of time."""
    return _checks(session, _of(model).where(CheckRun.starts < span.end, CheckRun.ends > span.start))


def checked_span(session: Session, model: Model) -> Window | None:
    """From the first to the last window whose drift was checked."""
    first, last = session.execute(
        select(func.min(CheckRun.starts), func.max(CheckRun.ends)).where(
            CheckRun.model_id == model.id, CheckRun.kind == "drift"
        )
    ).one()
    return Window(first, last) if first is not None else None


def is_being_checked(session: Session, versions: Iterable[int]) -> bool:
    """Whether a worker has checks of these versions, performance and stress aside, in hand."""
    live = select(Job.id).where(
        Job.state.in_(LIVE), Job.kind.in_(("check_quality", "check_drift", "check_segments")),
        Job.payload["version_id"].as_integer().in_(list(versions)),
    )  # fmt: skip
    return session.scalar(live.limit(1)) is not None


def _of(model: Model) -> Select[CheckRun, str]:
    return (
        select(CheckRun, Version.name)
        .join(Version, Version.id == CheckRun.version_id)
        .where(CheckRun.model_id == model.id, CheckRun.kind == "drift")
    )


def _checks(session: Session, chosen: Select[CheckRun, str]) -> list[DriftCheck]:
    """One a window: the last of most rows, then the newest revision."""
    rows = session.execute(chosen.order_by(CheckRun.starts, CheckRun.rows, CheckRun.revision)).all()
    segments = _segments(session, [run for run, _ in rows])
    newest = {
        run.starts: DriftCheck(
            version=name,
            window=Window(run.starts, run.ends),
            status=run.status,
            sentence=run.sentence,
            rows=run.rows,
            document=run.document,
            segments=segments.get((run.version_id, run.starts), {}),
        )
        for run, name in rows
    }
    return list(newest.values())


def _segments(session: Session, runs: list[CheckRun]) -> dict[tuple[int, datetime], dict[str, Any]]:
    """What was found in the segments of the same windows, by version and start."""
    if not runs:
        return {}
    chosen = select(CheckRun.version_id, CheckRun.starts, CheckRun.document["segments"]).where(
        CheckRun.model_id == runs[0].model_id,
        CheckRun.kind == SEGMENT,
        CheckRun.starts.in_({run.starts for run in runs}),
    )
    return {(version, starts): found or {} for version, starts, found in session.execute(chosen)}
