"""Housekeeping once a day: days that are over are dropped and days ahead are made, profiles add up to one row a bucket,
and finished jobs are forgotten after a month.
"""

from datetime import timedelta

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from monitor.db.jobs import Claimed, Job
from monitor.db.profiles import compact
from monitor.db.quarantine import Quarantined
from monitor.db.registry import Model, ModelSettings, models
from monitor.db.trace_tables import drop_before, ensure_partitions
from monitor.jobs.context import Tools, effect

_JOBS_KEPT = timedelta(days=30)
_AHEAD = 3  # days


def run(tools: Tools, job: Claimed) -> None:
    """Drop and make days, compact every model's profiles, and drop old finished jobs."""
    with effect(tools, job, point="retain") as session:
        for model in models(session):
            _days(session, model)
            compact(session, model.id)
        ended = Job.state.in_(("done", "cancelled")), Job.finished_at < func.now() - _JOBS_KEPT
        session.execute(delete(Job).where(*ended))


def _days(session: Session, model: Model) -> None:
    """Days of the model's own time: a history that is replayed is not old because of the clock."""
    if model.watermark is None or model.retired_at is not None:
        return
    today = model.watermark.date()
    ensure_partitions(session, model, [today + timedelta(days=ahead) for ahead in range(1, _AHEAD + 1)])
    kept = ModelSettings.of(model).keep_days
    if kept is not None:
        drop_before(session, model, model.watermark - timedelta(days=kept))
        old = Quarantined.model_id == model.id, Quarantined.received_at < func.now() - timedelta(days=kept)
        session.execute(delete(Quarantined).where(*old))
