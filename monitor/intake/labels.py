"""Labels: the truth about a trace, when it comes. They join by id; a changed one is a revision."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from monitor.db.engine import database_now
from monitor.db.registry import Model
from monitor.db.traces import append_labels
from monitor.intake.fields import Rows
from monitor.intake.ingest import latest_time, quarantine
from monitor.intake.validate import BadRow, validate_labels


@dataclass(frozen=True, kw_only=True)
class LabelsTaken:
    """How many labels were good, how many of those were new or changed, and the refused ones."""

    good: int
    changed: int
    bad: tuple[BadRow, ...]


def take_labels(
    session: Session, model: Model, rows: Rows, *, source: str = "labels", keep_bad: bool = True
) -> LabelsTaken:
    """Store labels (trace_id, label, and label_time where given).

    A late label needs no mark: `db.traces.label_revisions` of its window grows, and the window is measured again.
    """
    now = database_now(session)
    found = validate_labels(rows, latest=latest_time(model, now), now=now)
    if keep_bad:
        quarantine(session, model, found.bad, source)
    changed = append_labels(session, model, found.good)
    return LabelsTaken(good=len(found.good), changed=changed, bad=found.bad)


def ingest_labels(session: Session, model: Model, rows: Rows, *, source: str = "labels") -> int:
    """`take_labels`; how many were new or changed."""
    return take_labels(session, model, rows, source=source).changed
