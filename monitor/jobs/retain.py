"""Housekeeping once a day: profiles add up to one row a bucket, and finished jobs are forgotten after a month."""

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from monitor.db.jobs import Claimed, Job
from monitor.db.profiles import compact
from monitor.db.registry import Model, Reference, models
from monitor.drift.bins import Binning
from monitor.jobs.context import Tools, effect

_JOBS_KEPT = timedelta(days=30)


def run(tools: Tools, job: Claimed) -> None:
    """Compact every model's profiles and drop old finished jobs."""
    with effect(tools, job, point="retain") as session:
        for model in models(session):
            compact(session, model.id, _binnings(session, model))
        ended = Job.state.in_(("done", "cancelled")), Job.finished_at < func.now() - _JOBS_KEPT
        session.execute(delete(Job).where(*ended))


def _binnings(session: Session, model: Model) -> list[Binning]:
    """The binnings that intake may still be counting with."""
    chosen = select(Reference.document["binning"]).where(Reference.model_id == model.id, Reference.active)
    found = (Binning.from_document(document) for document in session.scalars(chosen))
    return list({binning.binning_id: binning for binning in found}.values())
