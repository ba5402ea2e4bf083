"""Reads what is new in a source, part by part; what cannot be read is written down and tried again."""

import time

import structlog

from monitor.db.engine import database_now
from monitor.db.jobs import Claimed
from monitor.db.registry import Model
from monitor.errors import NotFound
from monitor.intake.pulling import Pull, Pulled, settle
from monitor.jobs.context import Tools, effect
from monitor.jobs.plan import plan_model

SECONDS = 60.0  # of one job; a source that has more gives way to the others and goes on after them
log = structlog.get_logger()


def run(tools: Tools, job: Claimed) -> None:
    """Look at one source. A failing one is no failed job: the source says why, and is due again later."""
    source_id, until = int(job.payload["source_id"]), time.monotonic() + SECONDS
    pull = Pull(
        transaction=lambda: effect(tools, job, last=False, point="pull"), source_id=source_id, secret=tools.secret,
        should_stop=lambda: tools.stopping() or time.monotonic() > until,
    )  # fmt: skip
    try:
        pulled = pull.run()
    except NotFound:
        pulled = Pulled()  # removed meanwhile
    with effect(tools, job, point="pull") as session:
        source = settle(session, source_id, pulled, database_now(session))
        if source is not None:
            plan_model(session, session.get_one(Model, source.model_id))
    if pulled.faults:
        log.warning("a source could not be read", source=source_id, error=pulled.sentence)
