"""The serving side: told of each new champion, and reminded of one that it never took up."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.alerts import Message, Severity
from monitor.db.alerts import queue_messages
from monitor.db.audit import record
from monitor.db.checks import CheckRun
from monitor.db.jobs import enqueue
from monitor.db.registry import Model, ModelSettings, Version, champion
from monitor.db.retraining import Proposal
from monitor.governance import POLICY, ProposalState
from monitor.notify.addresses import host_of

CHAMPION_CHANGED = "holdfast.champion.changed"
JOB = "champion_webhook"


def notify_serving(session: Session, model: Model, version: Version, now: datetime) -> None:
    """Owe the serving side one request that says which version should serve, in the transaction that made it so.

    Without a webhook nothing is owed. It is one row: nothing here can hold up a promotion or a rollback.
    """
    if ModelSettings.of(model).champion_webhook:
        owe(session, {"model_id": model.id, "version_id": version.id, "promoted_at": now.isoformat(), "tries": 0})


def owe(session: Session, payload: dict[str, Any], *, run_at: datetime | None = None) -> None:
    """Queue the request; each further try is a job of its own."""
    stream = f"{JOB}:{payload['version_id']}:{payload['promoted_at']}:{payload['tries']}"
    enqueue(session, JOB, stream=stream, payload=payload, by=POLICY.id, run_at=run_at)


def is_current(session: Session, payload: dict[str, Any]) -> bool:
    """Whether that promotion still is the last one: a request that comes late must not undo a later one."""
    version = session.get(Version, payload["version_id"])
    model = session.get(Model, payload["model_id"])
    if version is None or model is None or model.champion_id != version.id or version.promoted_at is None:
        return False
    return version.promoted_at == datetime.fromisoformat(payload["promoted_at"])


def serving_told(session: Session, payload: dict[str, Any], *, detail: str, ok: bool, now: datetime) -> None:
    """Put on the record how the request ended; people are told when it will not be made again."""
    version, model = session.get_one(Version, payload["version_id"]), session.get_one(Model, payload["model_id"])
    record(
        session, "version.serving_told" if ok else "version.serving_not_told", by=POLICY.id,
        subject=f"version:{version.id}", at=now, model=model.name, version=version.name, sentence=detail,
        tries=payload["tries"] + 1,
    )  # fmt: skip
    if ok:
        return
    host = host_of(ModelSettings.of(model).champion_webhook)
    _ticket(
        session, model, f"version:{version.id}:not_told:{payload['promoted_at']}", event="serving_not_told",
        title=f"the serving side was not told of {version.name}", lines=(detail,),
        do=f"let it ask for the champion over the API, or mend {host}.",
    )  # fmt: skip


def remind_serving(session: Session, model: Model, reported: Version, now: datetime) -> bool:
    """A ticket when several windows were checked since a promotion and the traces still report another version.

    True the first time after a promotion. It counts windows, and compares database times with database times alone.
    """
    current = champion(session, model)
    if current.id == reported.id or current.confirmed_at is not None or current.promoted_at is None:
        return False
    counted = select(func.count(func.distinct(CheckRun.starts))).where(
        CheckRun.version_id == reported.id, CheckRun.kind == "quality", CheckRun.rows > 0, CheckRun.revision == 0,
        CheckRun.created_at > current.promoted_at,
    )  # fmt: skip
    windows, awaited = session.scalar(counted) or 0, ModelSettings.of(model).observed_windows
    if windows < awaited:
        return False
    return bool(
        _ticket(
            session, model, f"version:{current.id}:not_serving:{current.promoted_at.isoformat()}",
            event="not_serving", title=f"serving still reports {reported.name}",
            lines=(f"{windows} windows were checked since {current.name} was promoted; none holds a row of it.",),
            do=f"let the serving side load {current.name}, or roll back.",
        )
    )  # fmt: skip


def recommend_rollback(
    session: Session, model: Model, version: Version, *, verdict: str, sentence: str, now: datetime
) -> bool:
    """Say on its proposal, and by a page, that an observed promotion does harm; True the first time.

    Nothing is rolled back: an operator decides.
    """
    chosen = select(Proposal).where(Proposal.candidate_id == version.id, Proposal.state == ProposalState.OBSERVING)
    proposal = session.scalar(chosen.with_for_update(key_share=True))
    if proposal is None or proposal.comparison.get("rollback"):
        return False
    previous = session.get(Version, version.replaced_id) if version.replaced_id else None
    back_to = previous.name if previous else "another version"
    said = f"{version.name} does harm since it serves: {sentence}"
    proposal.comparison = {
        **proposal.comparison, "rollback": {"verdict": verdict, "sentence": said, "at": now.isoformat()},
    }  # fmt: skip
    session.flush()
    record(
        session, "proposal.rollback_recommended", by=POLICY.id, subject=f"proposal:{proposal.id}", at=now,
        model=model.name, sentence=said, verdict=verdict,
    )  # fmt: skip
    message = Message(
        title=f"{model.name}: roll back {version.name}? (proposal #{proposal.id})", severity=Severity.PAGE,
        lines=(said,), do=f"roll back to {back_to}, one click on proposal #{proposal.id}; nothing is done by itself.",
        labels=("Review",),
    )  # fmt: skip
    queue_messages(
        session, event="rollback_recommended", message=message.to_document(), severity=Severity.PAGE,
        model_id=model.id, key=f"proposal:{proposal.id}:rollback_recommended",
    )  # fmt: skip
    return True


def _ticket(
    session: Session, model: Model, key: str, *, event: str, title: str, lines: tuple[str, ...], do: str
) -> int:  # fmt: skip
    """How many routes are owed it; none the second time."""
    message = Message(title=f"{model.name}: {title}", severity=Severity.TICKET, lines=lines, do=do)
    return queue_messages(
        session, event=event, message=message.to_document(), severity=Severity.TICKET, model_id=model.id, key=key
    )
