"""How far each stream of checks has come, and what traffic there is to check."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Integer, exists, func, select, text
from sqlalchemy.orm import Session, aliased

from monitor.db.checks import CheckRun
from monitor.db.profiles import ProfileDelta
from monitor.db.registry import Model, Reference, Version
from monitor.windows import Window

Traffic = dict[int, dict[datetime, int]]  # version id → start of a window → rows
_LOOKED_BACK = 400  # windows whose labels may still come
_ORIGIN = datetime(1970, 1, 5, tzinfo=UTC)  # of the grid in monitor.windows


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many kept traces of a window have a label."""

    kept: int
    labelled: int

    @property
    def share(self) -> float:
        return self.labelled / self.kept if self.kept else 0.0


@dataclass(frozen=True, kw_only=True)
class ReferenceHead:
    """An active reference without its document."""

    id: int
    version_id: int
    binning_id: str
    starts: datetime
    ends: datetime


def traffic(session: Session, model: Model, width: timedelta) -> Traffic:
    """Rows of each version in each window: every row where there are profiles, else the kept ones."""
    window = func.date_bin(width, ProfileDelta.bucket, _ORIGIN).label("window")
    counted = session.execute(
        select(ProfileDelta.version_id, window, func.sum(ProfileDelta.rows).cast(Integer))
        .where(ProfileDelta.model_id == model.id)
        .group_by(ProfileDelta.version_id, window)
    )
    found: Traffic = defaultdict(dict)
    for version_id, bucket, rows in counted:
        found[version_id][bucket] = rows
    return found or _kept_traffic(session, model, width)


def _kept_traffic(session: Session, model: Model, width: timedelta) -> Traffic:
    rows = session.execute(
        text(
            "SELECT v.id, date_bin(:width, t.event_time, :origin), count(*)::int "
            f"FROM traces.m{model.id:d} t JOIN versions v ON v.model_id = :model AND v.name = t.version GROUP BY 1, 2"
        ),
        {"width": width, "origin": _ORIGIN, "model": model.id},
    )
    found: Traffic = defaultdict(dict)
    for version_id, bucket, count in rows:
        found[version_id][bucket] = count
    return found


def versions_with_traffic(session: Session, model: Model, seen: Collection[int]) -> list[Version]:
    """The versions of `seen`, oldest first."""
    chosen = select(Version).where(Version.model_id == model.id, Version.id.in_(list(seen))).order_by(Version.number)
    return list(session.scalars(chosen))


def active_references(session: Session, model: Model) -> dict[int, ReferenceHead]:
    """The active reference of each version."""
    rows = session.execute(
        select(Reference.id, Reference.version_id, Reference.binning_id, Reference.starts, Reference.ends).where(
            Reference.model_id == model.id, Reference.active
        )
    )
    heads = (ReferenceHead(**row._mapping) for row in rows)
    return {head.version_id: head for head in heads}


def frontiers(session: Session, model: Model) -> dict[tuple[int, int], datetime]:
    """The end of the newest window that each (version id, monitor id) has checked."""
    rows = session.execute(
        select(CheckRun.version_id, CheckRun.monitor_id, func.max(CheckRun.ends))
        .where(CheckRun.model_id == model.id)
        .group_by(CheckRun.version_id, CheckRun.monitor_id)
    )
    return {(version_id, monitor_id): ends for version_id, monitor_id, ends in rows}


def unjudged(
    session: Session, version_id: int, *, monitor_id: int, earlier_id: int, since: datetime | None
) -> list[Window]:
    """The windows from `since` on, in order, that the earlier monitor has checked and this one has not."""
    other = aliased(CheckRun)
    done = exists().where(
        other.version_id == CheckRun.version_id, other.monitor_id == monitor_id, other.starts == CheckRun.starts,
        other.ends == CheckRun.ends,
    )  # fmt: skip
    chosen = select(CheckRun.starts, CheckRun.ends).where(
        CheckRun.version_id == version_id, CheckRun.monitor_id == earlier_id, CheckRun.revision == 0, ~done
    )
    if since is not None:
        chosen = chosen.where(CheckRun.starts >= since)
    rows = session.execute(chosen.order_by(CheckRun.starts))
    return [Window(starts, ends) for starts, ends in rows]


def incomplete(session: Session, version_id: int, *, monitor_id: int) -> dict[Window, tuple[int, Coverage]]:
    """Checked windows whose labels had not all come: their newest revision and its coverage."""
    rows = session.execute(
        select(CheckRun.starts, CheckRun.ends, CheckRun.revision, CheckRun.document)
        .where(CheckRun.version_id == version_id, CheckRun.monitor_id == monitor_id)
        .order_by(CheckRun.starts.desc(), CheckRun.revision.desc())
        .limit(_LOOKED_BACK)
    ).all()
    found = {
        Window(starts, ends): (revision, Coverage(kept=document.get("kept", 0), labelled=document.get("labelled", 0)))
        for starts, ends, revision, document in reversed(rows)  # the newest revision comes last
    }
    return {window: (revision, seen) for window, (revision, seen) in found.items() if seen.labelled < seen.kept}


def label_counts(
    session: Session, model: Model, version: Version, span: Window, width: timedelta
) -> dict[datetime, Coverage]:
    """Kept and labelled traces of a version in each window of `span` that has any."""
    rows = session.execute(
        text(
            "SELECT date_bin(:width, t.event_time, :origin), count(*)::int, count(l.trace_id)::int "
            f"FROM traces.m{model.id:d} t "
            f"LEFT JOIN traces.l{model.id:d} l ON l.trace_id = t.trace_id AND l.superseded_at IS NULL "
            "WHERE t.event_time >= :start AND t.event_time < :end AND t.version = :version GROUP BY 1"
        ),
        {"width": width, "origin": _ORIGIN, "start": span.start, "end": span.end, "version": version.name},
    )
    return {start: Coverage(kept=kept, labelled=labelled) for start, kept, labelled in rows}


def has_labels(session: Session, model: Model) -> bool:
    """Whether any label has ever come."""
    return bool(session.scalar(text(f"SELECT EXISTS (SELECT 1 FROM traces.l{model.id:d})")))
