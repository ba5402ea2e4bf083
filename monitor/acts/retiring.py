"""Retire a version or a model: it stays on record and nothing is done with it any more."""

from datetime import datetime

from sqlalchemy.orm import Session

from monitor.acts.attempts import attempt
from monitor.acts.proposals import open_proposal
from monitor.acts.retraining import cancel
from monitor.db.audit import record
from monitor.db.registry import Model, Version
from monitor.errors import BadInput, NotAllowed, StaleDecision
from monitor.governance import Action, Actor, ProposalState, authorize

_SERVED_BY = (ProposalState.PROMOTED, ProposalState.OBSERVING)


def retire_version(session: Session, version: Version, *, by: Actor, reason: str, now: datetime) -> None:
    """Never let this version serve again; its artefact and its history stay.

    Raises:
        NotAllowed: `by` may not retire; or the version serves, or is what a rollback or an open proposal leads to.
        StaleDecision: it is retired already.
    """
    authorize(by, Action.RETIRE)
    _require_reason(reason)
    model = session.get_one(Model, version.model_id, with_for_update={"key_share": True}, populate_existing=True)
    session.refresh(version, with_for_update={"key_share": True})
    if version.state == "retired":
        raise StaleDecision(f"version {version.name} is retired already")
    _require_unneeded(session, model, version)
    version.state = "retired"
    session.flush()
    record(
        session, "version.retired", by=by.id, subject=f"version:{version.id}", at=now, model=model.name, reason=reason,
        version=version.name,
    )  # fmt: skip


def retire_model(session: Session, model: Model, *, by: Actor, reason: str, now: datetime) -> None:
    """Check, alert and retrain no more; the history stays. An open proposal is cancelled.

    Raises:
        NotAllowed: `by` may not retire; or a promotion is being observed.
        StaleDecision: it is retired already.
    """
    attempt(session, "retire", by=by, subject=f"model:{model.id}", model=model.name)
    authorize(by, Action.RETIRE)
    _require_reason(reason)
    session.refresh(model, with_for_update={"key_share": True})
    if model.retired_at is not None:
        raise StaleDecision(f"model {model.name} is retired already")
    standing = open_proposal(session, model)
    if standing is not None and standing.state in _SERVED_BY:
        raise NotAllowed(f"proposal {standing.id} is being observed: roll back, or wait until it is confirmed")
    if standing is not None:
        cancel(session, standing, by=by, reason=f"The model is retired: {reason}", now=now)
    model.retired_at = now
    session.flush()
    record(
        session, "model.retired", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, reason=reason
    )  # fmt: skip


def _require_unneeded(session: Session, model: Model, version: Version) -> None:
    if version.id == model.champion_id:
        raise NotAllowed(f"{version.name} serves: promote another version first, or retire the model")
    serving = session.get(Version, model.champion_id) if model.champion_id is not None else None
    if serving is not None and serving.replaced_id == version.id and serving.confirmed_at is None:
        raise NotAllowed(
            f"{version.name} is where a rollback of {serving.name} leads, which no trace has confirmed yet"
        )
    standing = open_proposal(session, model)
    if standing is not None and version.id in (standing.champion_id, standing.candidate_id):
        raise NotAllowed(f"proposal {standing.id} is about {version.name}: close it first")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise BadInput("expected a reason: a retirement is for good, and others will ask")
