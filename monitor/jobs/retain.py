"""Housekeeping once a day: profiles add up to one row a bucket, and finished jobs are forgotten after a month."""

from datetime import timedelta

from sqlalchemy import delete, func

from monitor.db.jobs import Claimed, Job
from monitor.db.profiles import compact
from monitor.db.registry import models
from monitor.jobs.context import Tools, effect

_JOBS_KEPT = timedelta(days=30)


def run(tools: Tools, job: Claimed) -> None:
    """Compact every model's profiles and drop old finished jobs."""
    with effect(tools, job, point="retain") as session:
        for model in models(session):
            compact(session, model.id)
        ended = Job.state.in_(("done", "cancelled")), Job.finished_at < func.now() - _JOBS_KEPT
        session.execute(delete(Job).where(*ended))
