"""Features come, go and change their names: what was declared becomes the next version of a model's schema."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.privacy import unstored_with
from monitor.acts.proposals import open_proposal
from monitor.acts.schema_files import DeclaredSchema
from monitor.db.audit import record
from monitor.db.profiles import ProfileDelta, add_profile
from monitor.db.registry import (
    EVIDENTLY,
    FeatureSchema,
    Model,
    ModelSettings,
    Monitor,
    Reference,
    Version,
    schema_of,
    versions,
)
from monitor.db.segments import segment_monitor, segments_of
from monitor.db.trace_tables import column_types, create_trace_tables
from monitor.drift import Reference as Normal
from monitor.drift.evolve import CarryOver
from monitor.drift.profile import Profile
from monitor.errors import BadInput, StaleDecision
from monitor.governance import Action, Actor, authorize
from monitor.schema import Schema


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """What a declaration changes in features, the summaries of vectors among them, and in vectors.

    `columns` is the trace column of each, `sentences` what follows. A vector of another size is retyped, and so are its
    summaries.
    """

    schema: Schema
    columns: dict[str, str]
    renamed: dict[str, str]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    retyped: tuple[str, ...]
    sentences: tuple[str, ...]

    @property
    def gone(self) -> set[str]:
        """Old names under which nothing goes on: whatever names them must not be left to speak of something else."""
        return {*self.removed, *self.retyped, *self.renamed.values()}


def evolution_of(session: Session, model: Model, declared: DeclaredSchema) -> Evolution:
    """What `evolve_schema` would do.

    Raises:
        BadInput: a feature is renamed from one that is not there or goes on itself; or people declared a segment or a
            monitor that names one which goes, and it must be removed first.
        StaleDecision: nothing would change.
    """
    rows = session.scalars(select(FeatureSchema).where(FeatureSchema.model_id == model.id)).all()
    newest = max(rows, key=lambda row: row.number)
    before, after = schema_of(newest), declared.schema
    origin = _origins(before, declared)
    if before == after and all(new == old for new, old in origin.items()):
        raise StaleDecision(f"{model.name} has this schema already: nothing would change")
    columns, retyped = _columns(rows, newest, after, origin)
    found = Evolution(
        schema=after, columns=columns, renamed={new: old for new, old in origin.items() if new != old},
        added=tuple(name for name in column_types(after) if name not in origin),
        removed=tuple(name for name in column_types(before) if name not in origin.values()), retyped=retyped,
        sentences=(),
    )  # fmt: skip
    _require_no_artefact(session, model, after)
    _require_nothing_names(session, model, found)
    return replace(found, sentences=tuple(_sentences(session, model, newest, found)))


def evolve_schema(session: Session, model: Model, declared: DeclaredSchema, *, by: Actor, now: datetime) -> Evolution:
    """Make the declaration the model's schema. A renamed feature keeps its trace column, its counts and its place in
    the references; an added or retyped one gets a column of its own; that of a removed one stays, out of sight.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput, StaleDecision: see `evolution_of`.
        SchemaMismatch: a feature has a name that every trace uses itself.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    session.scalars(select(FeatureSchema.id).where(FeatureSchema.model_id == model.id).with_for_update()).all()
    found = evolution_of(session, model, declared)
    number = 1 + max(
        session.scalars(select(FeatureSchema.number).where(FeatureSchema.model_id == model.id)), default=0
    )  # fmt: skip
    row = FeatureSchema(model_id=model.id, number=number, document=found.schema.to_document(), columns=found.columns)
    session.add(row)
    session.flush()
    create_trace_tables(session, model, row)
    model.settings = _renamed_settings(ModelSettings.of(model), found).to_document()
    carried = _carry_over(session, model, row, found)
    record(
        session, "schema.evolved", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, number=number,
        renamed=found.renamed, added=list(found.added), removed=list(found.removed), retyped=list(found.retyped),
        references=carried,
    )  # fmt: skip
    return found


def _origins(before: Schema, declared: DeclaredSchema) -> dict[str, str]:
    """The old name of each feature that goes on, by its new name."""
    was, known = {vector.name: vector for vector in before.vectors}, column_types(before)
    now = {vector.name: vector for vector in declared.schema.vectors}
    renamed = dict(declared.renamed)
    unknown = [old for new, old in renamed.items() if old not in (was if new in now else before.fields)]
    if unknown:
        raise BadInput(f"expected features renamed from {', '.join(before.fields)}, got {', '.join(unknown)}")
    for name, vector in now.items():
        if name in renamed:
            renamed |= zip(vector.summaries, was[renamed[name]].summaries, strict=False)
    origin = {
        name: renamed.get(name, name)
        for name in column_types(declared.schema)
        if name in renamed or (name in known and (name in was) == (name in now))
    }
    twice = sorted({old for old in origin.values() if list(origin.values()).count(old) > 1})
    if twice:
        raise BadInput(f"expected one feature to go on from {twice[0]}, several do: declare the others without it")
    return origin


def _columns(
    rows: Iterable[FeatureSchema], newest: FeatureSchema, after: Schema, origin: dict[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The trace column of each feature, and the features whose type changed. No column is ever used again."""
    before, now = _kinds(schema_of(newest)), _kinds(after)
    fresh = 1 + max(int(column[1:]) for row in rows for column in row.columns.values())
    columns, retyped = {}, []
    for name, kind in now.items():
        old = origin.get(name)
        if old is not None and before[old] == kind:
            columns[name] = newest.columns[old]
            continue
        if old is not None:
            retyped.append(name)
        columns[name] = f"f{fresh}"
        fresh += 1
    return columns, tuple(retyped)


def _kinds(schema: Schema) -> dict[str, tuple[str, str | None]]:
    """What must stay for a trace column to go on: its type, and of a summary that of the vector that it is of."""
    types = column_types(schema)
    of = {feature.name: feature.vector for feature in schema.features if feature.vector is not None}
    return {name: (kind, types.get(of[name]) if name in of else None) for name, kind in types.items()}


def _require_no_artefact(session: Session, model: Model, after: Schema) -> None:
    artefacts = [version.name for version in versions(session, model) if version.flavour != "none"]
    if not after.vectors:
        return
    if open_proposal(session, model) is not None:
        raise BadInput(
            f"{model.name} has an open proposal to retrain, and vectors are not retrained on: decide on it first"
        )
    if artefacts:
        raise BadInput(
            f"expected no vector in {model.name}, whose version {artefacts[-1]} has an artefact: what is stressed and "
            "retrained takes none. Register a model of another name for rows with vectors"
        )


def _require_nothing_names(session: Session, model: Model, found: Evolution) -> None:
    """Segments and monitors are what people said of features; they are not rewritten behind their backs."""
    monitor = segment_monitor(session, model)
    for segment in segments_of(monitor).values() if monitor else ():
        if segment.feature in found.gone or found.gone & set(segment.overrides):
            raise BadInput(f"the segment {segment.name} names a feature that goes: holdfast segment remove it first")
    others = select(Monitor).where(Monitor.model_id == model.id, Monitor.kind == EVIDENTLY, Monitor.enabled)
    for other in session.scalars(others):
        named = sorted(found.gone & set(_words(other.settings)))
        if named:
            raise BadInput(f"the monitor {other.name} names {named[0]}, which goes: holdfast monitor remove it first")


def _words(document: Any) -> Iterable[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from _words(value)
    elif isinstance(document, list):
        for value in document:
            yield from _words(value)


def _sentences(session: Session, model: Model, newest: FeatureSchema, found: Evolution) -> Iterable[str]:
    before, again = schema_of(newest), f"holdfast baseline accept {model.name}"
    for new, old in found.renamed.items():
        if new in found.schema.fields and new not in found.retyped:
            yield (
                f"{old} is {new} now: its column {found.columns[new]}, its history and its counts stay; rows must "
                f"call it {new} from now on"
            )
    for name in found.schema.fields:
        if name not in found.retyped:
            continue
        was = before.kind_of(found.renamed.get(name, name))
        yield (
            f"{name} was {was} and is {found.schema.kind_of(name)}: a new column {found.columns[name]}, whose history "
            f"begins now; it is watched once a baseline is accepted whose windows have it: {again}"
        )
    for name in found.schema.fields:
        if name not in found.added:
            continue
        yield (
            f"{name} ({found.schema.kind_of(name)}) is new: column {found.columns[name]}; it is watched once a "
            f"baseline is accepted whose windows have it: {again}"
        )
    for name in before.fields:
        if name in found.removed:
            yield f"{name} is no longer taken in, shown or watched; its column {newest.columns[name]} stays"
    for version, reference in _references(session, model):
        yield _about_reference(version, Normal.from_document(reference.document), found)
    artefacts = [version.name for version in versions(session, model) if version.flavour != "none"]
    if artefacts and (found.gone or found.added):
        yield (
            f"the artefact of {artefacts[-1]} takes the features that it was made for: register a version for the new "
            "ones before the next stress test"
        )


def _about_reference(version: Version, normal: Normal, found: Evolution) -> str:
    carried = CarryOver.of(normal.binning, found.schema, renamed=found.renamed, anew=found.retyped)
    if carried is None:
        return f"the reference of {version.name} has none of these features: normal is learned anew"
    if carried.binning.binning_id == normal.binning.binning_id:
        return f"the reference of {version.name} stays as it is"
    return (
        f"the reference of {version.name} goes on over {len(carried.kept)} of {len(normal.schema)} features; its drift "
        "stream starts afresh"
    )


def _references(session: Session, model: Model) -> list[tuple[Version, Reference]]:
    active = select(Version, Reference).join(Reference, Reference.version_id == Version.id)
    chosen = active.where(Reference.model_id == model.id, Reference.active).order_by(Reference.id)
    return [(version, reference) for version, reference in session.execute(chosen)]


def _carry_over(session: Session, model: Model, row: FeatureSchema, found: Evolution) -> dict[str, int | None]:
    """Put the references under the new schema, with the counts of all windows; the number of each by version."""
    carried: dict[str, int | None] = {}
    counted: set[str] = set()
    for version, reference in _references(session, model):
        normal = Normal.from_document(reference.document)
        over = CarryOver.of(normal.binning, found.schema, renamed=found.renamed, anew=found.retyped)
        if over is not None and over.binning.binning_id == normal.binning.binning_id:
            continue
        reference.active = False
        session.flush()
        carried[version.name] = None
        if over is None:
            continue
        if normal.binning.binning_id not in counted:
            _recount(session, model, normal, over)
            counted.add(normal.binning.binning_id)
        follower = Reference(
            model_id=model.id, version_id=version.id, schema_id=row.id, binning_id=over.binning.binning_id,
            starts=reference.starts, ends=reference.ends, rows=reference.rows, windows=reference.windows,
            document=over.reference(normal).to_document(),
        )  # fmt: skip
        session.add(follower)
        session.flush()
        carried[version.name] = follower.id
    return carried


def _recount(session: Session, model: Model, normal: Normal, over: CarryOver) -> None:
    """The counts of every window so far, over the new binning too: no row is read again."""
    chosen = select(ProfileDelta.version_id, ProfileDelta.bucket, ProfileDelta.counts).where(
        ProfileDelta.model_id == model.id, ProfileDelta.binning_id == normal.binning.binning_id
    )
    for version_id, bucket, counts in session.execute(chosen.order_by(ProfileDelta.id)).all():
        add_profile(
            session, model_id=model.id, version_id=version_id, bucket=bucket,
            profile=over.profile(Profile.from_bytes(counts, normal.binning)),
        )  # fmt: skip


def _renamed_settings(settings: ModelSettings, found: Evolution) -> ModelSettings:
    """What the owner declared about features goes with them."""
    hidden = {old: new for new, old in found.renamed.items()}  # whatever its type: what was hidden stays hidden
    now = {old: new for old, new in hidden.items() if new not in found.retyped}
    gone = {name for name in found.gone if name not in now}

    def listed(names: list[str]) -> list[str]:
        return [now.get(name, name) for name in names if name not in gone]

    return replace(
        settings, overrides={now.get(name, name): one for name, one in settings.overrides.items() if name not in gone},
        allow_leaks=listed(settings.allow_leaks), fairness_by=listed(settings.fairness_by),
        sampling_by=now.get(settings.sampling_by, settings.sampling_by),
        hashed=[hidden.get(name, name) for name in settings.hashed],
        unstored=unstored_with([hidden.get(name, name) for name in settings.unstored], found.schema),
    )  # fmt: skip
