"""Labels: the truth about a trace, when it comes. They join by id; a changed one is a revision."""

import pandas as pd
from sqlalchemy.orm import Session

from monitor.db.engine import database_now
from monitor.db.registry import Model
from monitor.db.traces import append_labels
from monitor.intake.ingest import latest_time, quarantine
from monitor.intake.validate import validate_labels


def ingest_labels(session: Session, model: Model, frame: pd.DataFrame, *, source: str = "labels") -> int:
    """Store labels (trace_id, label, and label_time where given); returns how many were new or changed.

    A late label needs no mark: `db.traces.label_revisions` of its window grows, and the window is measured again.
    """
    now = database_now(session)
    found = validate_labels(frame, latest=latest_time(model, now), now=now)
    quarantine(session, model, found.bad, source)
    return append_labels(session, model, found.good)
