"""Models and versions come to be here: guard, write, record, in the transaction that the door opened."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.acts.tabular import require_tabular
from monitor.artifacts import Manifest
from monitor.db.audit import record
from monitor.db.base import Json
from monitor.db.registry import (
    MONITOR_KINDS,
    TASKS,
    FeatureSchema,
    Model,
    ModelSettings,
    Monitor,
    Version,
)
from monitor.db.traces import columns_for, create_trace_tables
from monitor.errors import BadInput, StaleDecision
from monitor.governance import POLICY, Action, Actor, authorize
from monitor.governance.audit_chain import canonical_json, sha256
from monitor.performance import check_classes
from monitor.schema import Schema

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def register_model(
    session: Session, *, name: str, owner: str, task: str, tier: int, schema: Schema, settings: ModelSettings,
    by: Actor, now: datetime, solo: bool = False,
) -> Model:  # fmt: skip
    """A new model with its schema, its trace tables and its four monitors.

    Raises:
        NotAllowed: `by` may not register models.
        BadInput: the name, task, classes or tier is unusable, or the name is taken.
    """
    authorize(by, Action.REGISTER)
    _check_declaration(session, name, task, tier)
    check_classes(settings.classes, task)
    model = Model(name=name, owner=owner, task=task, tier=tier, solo=solo, settings=settings.to_document())
    session.add(model)
    session.flush()
    declared = FeatureSchema(model_id=model.id, number=1, document=schema.to_document(), columns=columns_for(schema))
    session.add(declared)
    session.add_all(Monitor(model_id=model.id, kind=kind) for kind in MONITOR_KINDS)
    session.flush()
    create_trace_tables(session, model, declared)
    record(
        session, "model.registered", by=by.id, subject=f"model:{model.id}", at=now, model=name,
        owner=owner, task=task, tier=tier, solo=solo, features=len(schema),
    )  # fmt: skip
    return model


def register_version(
    session: Session, model: Model, *, manifest: Manifest | None, name: str | None = None, state: str = "registered",
    baseline: Json | None = None, by: Actor, now: datetime,
) -> Version:  # fmt: skip
    """A new version, named v<number> unless told otherwise; without a manifest its flavour is `none`.

    Raises:
        NotAllowed: `by` may not register versions.
        BadInput: the model has a version of this name, or rows with vectors, for which there is no artefact.
    """
    _authorize_version(by, state)
    _lock_numbering(session, model)
    if manifest is not None and manifest.flavour != "none":
        require_tabular(session, model)
    number = 1 + (session.scalar(select(func.max(Version.number)).where(Version.model_id == model.id)) or 0)
    chosen = name or f"v{number}"
    if session.scalar(select(Version.id).where(Version.model_id == model.id, Version.name == chosen)) is not None:
        raise BadInput(f"model {model.name} has a version {chosen!r} already: choose another name")
    document = manifest.to_document() if manifest is not None else {}
    version = Version(
        model_id=model.id,
        number=number,
        name=chosen,
        state=state,
        flavour=str(manifest.flavour) if manifest is not None else "none",
        manifest=document,
        manifest_sha256=sha256(canonical_json(document)),
        baseline=baseline or {},
    )
    session.add(version)
    session.flush()
    record(
        session, "version.registered", by=by.id, subject=f"version:{version.id}", at=now, model=model.name,
        name=chosen, flavour=version.flavour, manifest_sha256=version.manifest_sha256, state=state,
    )  # fmt: skip
    return version


def set_champion(session: Session, model: Model, version: Version, *, by: Actor, now: datetime) -> None:
    """Make `version` the first champion of a model that has none; later ones come by promotion.

    Raises:
        NotAllowed: `by` may not register.
        StaleDecision: the model has a champion already.
    """
    authorize(by, Action.REGISTER)
    session.refresh(model, with_for_update={"key_share": True})
    if model.champion_id is not None:
        raise StaleDecision(f"model {model.name} has a champion already: promote another version over it")
    model.champion_id = version.id
    version.state, version.promoted_at, version.confirmed_at = "champion", now, now
    session.flush()
    record(
        session, "model.champion_set", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
        version=version.name,
    )  # fmt: skip


def attach(session: Session, version: Version, manifest: Manifest, *, by: Actor, now: datetime) -> None:
    """Give an artefact to a version that has been monitored without one; what it reported so far stays its own.

    Raises:
        NotAllowed: `by` may not register.
        StaleDecision: the version has an artefact already; versions are immutable.
        BadInput: the model's rows hold vectors, for which there is no artefact.
    """
    authorize(by, Action.REGISTER)
    session.refresh(version, with_for_update={"key_share": True})
    if version.flavour != "none":
        raise StaleDecision(f"version {version.name} has a {version.flavour} artefact already: register a new version")
    model = session.get_one(Model, version.model_id)
    require_tabular(session, model)
    version.flavour, version.manifest = str(manifest.flavour), manifest.to_document()
    version.manifest_sha256 = sha256(canonical_json(version.manifest))
    session.flush()
    record(
        session, "version.attached", by=by.id, subject=f"version:{version.id}", at=now, model=model.name,
        flavour=version.flavour, manifest_sha256=version.manifest_sha256,
    )  # fmt: skip


def declare_mutable(session: Session, model: Model, names: Iterable[str], *, by: Actor, now: datetime) -> Schema:
    """Say which features an attacker or a fault may change; stress tests move these alone. Returns the schema.

    Raises:
        NotAllowed: `by` may not configure.
        SchemaMismatch: the model has no such feature.
    """
    return declare_threats(session, model, lambda schema: schema.with_mutable(names), by=by, now=now)


def declare_threats(
    session: Session, model: Model, declare: Callable[[Schema], Schema], *, by: Actor, now: datetime
) -> Schema:
    """Say what may change in rows and what must hold between features; stress tests keep to it. Returns the schema.

    `declare` gets the schema as it is declared. What the data are must stay: names, kinds, levels and units.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput, SchemaMismatch: the declaration cannot be.
    """
    authorize(by, Action.CONFIGURE)
    declared = session.scalars(select(FeatureSchema).where(FeatureSchema.model_id == model.id).with_for_update()).all()
    newest = max(declared, key=lambda row: row.number)
    before = Schema.from_document(newest.document)
    schema = before.with_threats_of(declare(before))
    newest.document = schema.to_document()  # what the data are is unchanged, so that references and traces stay
    session.flush()
    record(
        session, "model.threats_declared", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
        mutable=[feature.name for feature in schema.features if feature.mutable], relations=list(schema.relations),
        formulas={feature.name: feature.formula for feature in schema.features if feature.formula is not None},
    )  # fmt: skip
    return schema


def _authorize_version(by: Actor, state: str) -> None:
    """The platform itself may add the candidate of an approved retraining, and nothing else."""
    if state != "candidate" or by != POLICY:
        authorize(by, Action.REGISTER)


def _check_declaration(session: Session, name: str, task: str, tier: int) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(f"expected a model name of letters, digits, '_', '-' or '.', at most 63 long, got {name!r}")
    if task not in TASKS:
        raise BadInput(f"expected a task among {', '.join(TASKS)}, got {task!r}")
    if not 0 <= tier <= 3:
        raise BadInput(f"expected a risk tier from 0 to 3, got {tier}")
    if session.scalar(select(Model.id).where(Model.name == name)) is not None:
        raise BadInput(f"there is a model {name!r} already: choose another name")


def _lock_numbering(session: Session, model: Model) -> None:
    session.execute(select(Model.id).where(Model.id == model.id).with_for_update(key_share=True))
