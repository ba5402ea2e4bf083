"""Stress tests that people order, and the nights on which the long ones run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.tabular import require_tabular
from monitor.db.audit import record
from monitor.db.jobs import LIVE, Job, enqueue, request_cancel
from monitor.db.registry import Model, ModelSettings, Version
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize
from monitor.robustness.plan import plan_named

COMMAND, NIGHTLY, NIGHTLY_REFERENCE = "command", "nightly", "nightly_reference"  # purposes of campaigns
JOB = "campaign"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a campaign job is to do; `on` is recent, reference, or None: recent, else the reference."""

    version_id: int
    purpose: str = COMMAND
    plan: str = "tick"
    on: str | None = None

    @property
    def stream(self) -> str:
        return f"campaign:{self.version_id}:{self.purpose}"

    def to_payload(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> Self:
        return cls(**payload)


def order_stress_test(
    session: Session, model: Model, version: Version, *, plan: str = "tick", on: str | None = None, by: Actor,
    now: datetime,
) -> int | None:  # fmt: skip
    """Queue a stress test of a version for the workers; its job, or None when one is queued or running already.

    Raises:
        NotAllowed: `by` may not run stress tests.
        BadInput: the version has no artefact, or there is no such plan.
    """
    authorize(by, Action.STRESS)
    require_artefact(session, model, version)
    order = Order(version_id=version.id, plan=plan_named(plan).name, on=on)
    job_id = enqueue(session, JOB, stream=order.stream, payload=order.to_payload(), by=by.id)
    if job_id is not None:
        record_stress_test(session, model, version, plan=plan, by=by, now=now)
    return job_id


def record_stress_test(
    session: Session, model: Model, version: Version, *, plan: str, by: Actor, now: datetime
) -> None:
    """Write into the audit trail that somebody ran one."""
    record(
        session, "version.stressed", by=by.id, subject=f"version:{version.id}", at=now, model=model.name,
        version=version.name, plan=plan,
    )  # fmt: skip


def cancel_stress_tests(session: Session, model: Model, *, by: Actor) -> int:
    """Stop the campaigns of the model's versions that are queued or running; how many."""
    authorize(by, Action.STRESS)
    versions = select(Version.id).where(Version.model_id == model.id)
    live = select(Job.id).where(
        Job.kind == JOB, Job.state.in_(LIVE), Job.payload["version_id"].as_integer().in_(versions)
    )
    return sum(request_cancel(session, job_id) for job_id in session.scalars(live).all())


def require_artefact(session: Session, model: Model, version: Version) -> None:
    """A stress test needs the model itself."""
    require_tabular(session, model)
    if version.flavour == "none":
        raise BadInput(
            f"version {version.name} of {model.name} has no artefact to stress: give it one with "
            f"holdfast model attach {model.name} FILE"
        )


def configure_nights(
    session: Session, model: Model, *, hour: int | None, every_days: int = 1, by: Actor, now: datetime
) -> ModelSettings:
    """Run the long stress tests at `hour` (UTC) every so many days; None: never.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: no such hour, or less than a day.
    """
    authorize(by, Action.CONFIGURE)
    if (hour is not None and not 0 <= hour <= 23) or every_days < 1:
        raise BadInput(f"expected an hour from 0 to 23 and at least 1 day, got {hour} and {every_days}")
    session.refresh(model, with_for_update={"key_share": True})
    before = ModelSettings.of(model)
    after = replace(before, nightly_hour=hour, nightly_every_days=every_days)
    if after != before:
        model.settings = after.to_document()
        session.flush()
        record(
            session, "model.nights_configured", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
            hour=hour, every_days=every_days,
        )  # fmt: skip
    return after
