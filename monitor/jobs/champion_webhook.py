"""Tell the serving side which version should serve: signed, tried again for three days, never out of order."""

import random
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog

from monitor.acts.serving import CHAMPION_CHANGED, is_current, owe, serving_told
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Claimed
from monitor.db.registry import Model, ModelSettings, Version
from monitor.jobs.context import Tools, effect
from monitor.jobs.deliver import pause
from monitor.notify.events import Event, post

log = structlog.get_logger()

MOST_TRIES = 100  # with the pauses between them, about three days
SECRET = "HOLDFAST_WEBHOOK_SECRET"


def run(tools: Tools, job: Claimed) -> None:
    """One try; at least once, and a repeat has the id of the first."""
    with transaction(tools.engine) as session:
        current = is_current(session, job.payload)
        now = database_now(session)
        model, version = session.get(Model, job.payload["model_id"]), session.get(Version, job.payload["version_id"])
        url = ModelSettings.of(model).champion_webhook if model is not None else ""
        event = _event(tools, model, version, job.payload) if current and url and model and version else None
    told = None
    if event is not None:
        tools.failpoints.reach("champion_webhook.before_send")
        told = post(url, event, secret=tools.secret(SECRET), now=now)
        tools.failpoints.reach("champion_webhook.after_send")
    with effect(tools, job, point="champion_webhook") as session:
        if told is not None and is_current(session, job.payload):
            now, tries = database_now(session), job.payload["tries"] + 1
            if told.ok or told.permanent or tries >= MOST_TRIES:
                serving_told(session, job.payload, detail=told.detail, ok=told.ok, now=now)
            else:
                owe(session, {**job.payload, "tries": tries}, run_at=now + pause(tries, random.random()))
                log.warning("the serving side was not told", why=told.detail, tries=tries)


def _event(tools: Tools, model: Model, version: Version, payload: Mapping[str, Any]) -> Event:
    """The id is that of this promotion of this version: promoted again, it is another event."""
    promoted_at = datetime.fromisoformat(payload["promoted_at"])
    data = {
        "model": model.name,
        "version": version.name,
        "flavour": version.flavour,
        "manifest_sha256": version.manifest_sha256,
        "promoted_at": promoted_at.isoformat(),
        "champion": f"{tools.link}/v1/models/{model.name}/champion",
    }
    return Event(
        id=f"champion-{version.id}-{promoted_at.isoformat()}", type=CHAMPION_CHANGED, source=tools.link or "holdfast",
        subject=model.name, time=promoted_at, data=data,
    )  # fmt: skip
