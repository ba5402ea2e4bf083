"""Models, their versions, schemas and references: what is monitored, and what normal looked like."""

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, CreatedAt, Id, Json, only
from monitor.errors import NotFound
from monitor.performance import Labels, Task
from monitor.schema import Schema

TASKS = tuple(str(task) for task in Task)
MONITOR_KINDS = ("drift", "quality", "performance", "stress")  # every model has one of each
EVIDENTLY = "evidently"  # a kind of which a model has any number
SEGMENT = "segment"  # one monitor for all declared segments of a model, once there is one
VERSION_STATES = ("registered", "candidate", "champion", "retired")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What the owner declared about a model, stored as `Model.settings`.

    Times are seconds. The drift detector advances by ticks that divide the window (None: one a window); of few and long
    windows it could not tell drift from season. `positive` is the label of the positive class as text (None:
    regression, several classes, or labels are 0 and 1); `classes` are the several classes as text, in the order of
    their numbers, which is that of a model's outputs. `limit` is the owner's tolerance in units of the metric (None:
    the default of `monitor.performance.tolerance`). `sampling_rate`, `sampling_rows`, `sampling_by` and
    `sampling_surprise` say which rows are kept as traces (`monitor.intake.sampling.SamplingPlan`); profiles count all.
    `incidents` and `per_days` are the false-alarm budget of feature drift, `overrides` holds a
    `monitor.drift.FeatureOverride` document by feature. `stress_level` is the level that alerts and gates read.
    `nightly_hour` is the hour of the day (UTC, by the clock) at which the long stress tests begin, every
    `nightly_every_days` days; None: never.

    Traces are kept for `keep_days` before the newest (None: for ever). Of the features in `unstored` values are counted
    and not stored; of those in `hashed` only a keyed hash of each value is counted and stored (`hash_key`).

    A proposal waits `proposal_hours` for a decision, an approved training `approval_hours` for its begin.
    `retrain_every_windows` proposes on schedule (None: never). A promotion is confirmed after `observed_windows` judged
    windows without harm. Before people are asked to promote, the candidate scores the live traces of `shadow_windows`
    windows beside the champion; its mean loss may be `shadow_limit` higher. `trainer` is a `TrainerSettings` document
    (empty: Holdfast trains), `network` are settings of the factory, `allow_leaks` are features that may predict the
    label almost perfectly, `fairness_by` features whose groups the fairness gate compares, `champion_webhook` the URL
    that is told which version should serve.
    """

    window_seconds: int = 86_400
    tick_seconds: int | None = None
    grace_seconds: int = 0
    label_delay_seconds: int = 0
    label_maturity: float = 0.9
    positive: str | None = None
    classes: list[str] = field(default_factory=list)
    limit: float | None = None
    sampling_rate: float = 1.0
    sampling_rows: int | None = None
    sampling_by: str = ""
    sampling_surprise: float = 0.0
    incidents: float = 1.0
    per_days: float = 365.0
    sensitivity: str = "balanced"
    overrides: Json = field(default_factory=dict)
    stress_level: str = "S2"
    stress_every_windows: int = 7
    nightly_hour: int | None = 2
    nightly_every_days: int = 1
    policy: bool = True  # may propose retraining by itself
    proposal_hours: float = 72.0
    approval_hours: float = 24.0
    retrain_every_windows: int | None = None
    observed_windows: int = 3
    shadow_windows: int = 0
    shadow_limit: float = 0.005
    trainer: Json = field(default_factory=dict)
    network: Json = field(default_factory=dict)
    allow_leaks: list[str] = field(default_factory=list)
    fairness_by: list[str] = field(default_factory=list)
    champion_webhook: str = ""
    keep_days: int | None = None
    unstored: list[str] = field(default_factory=list)
    hashed: list[str] = field(default_factory=list)
    hash_key: str = ""

    @property
    def width(self) -> timedelta:
        """The width of a window."""
        return timedelta(seconds=self.window_seconds)

    @property
    def tick(self) -> timedelta:
        """The width of a tick of the drift detector, and of a bucket of profiles."""
        return timedelta(seconds=self.tick_seconds or self.window_seconds)

    def labels(self, task: str) -> Labels:
        """How labels and predictions of the model become numbers."""
        return Labels(task=Task(task), positive=self.positive, classes=tuple(self.classes))

    def to_document(self) -> Json:
        return asdict(self)

    @classmethod
    def of(cls, model: "Model") -> "ModelSettings":
        return cls(**model.settings)


class Model(Base):
    """A named predictor.

    Its sampled traces live in `traces.m<id>`, its ledger in `traces.ledger_m<id>`, its labels in `traces.l<id>`.
    `settings` is a `ModelSettings` document. `watermark` is stream time: no row with an earlier event time is awaited;
    `label_watermark` is the same for labels. Traces before `oldest_kept` were dropped and are not taken again.
    """

    __tablename__ = "models"
    __table_args__ = (only("task", TASKS), CheckConstraint("tier BETWEEN 0 AND 3", name="tier_range"))

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    owner: Mapped[str]
    task: Mapped[str]
    tier: Mapped[int] = mapped_column(default=1)
    solo: Mapped[bool] = mapped_column(default=False)
    frozen: Mapped[bool] = mapped_column(default=False)
    settings: Mapped[Json] = mapped_column(default=dict)
    champion_id: Mapped[int | None] = mapped_column(
        ForeignKey("versions.id", use_alter=True, name="fk_models_champion_id_versions")
    )
    watermark: Mapped[datetime | None]
    label_watermark: Mapped[datetime | None]
    oldest_kept: Mapped[datetime | None]
    retired_at: Mapped[datetime | None]  # nothing is checked any more
    created_at: Mapped[CreatedAt]


class FeatureSchema(Base):
    """A version of a model's schema. `columns` maps each feature's name to its trace column `f<ordinal>`."""

    __tablename__ = "schemas"
    __table_args__ = (UniqueConstraint("model_id", "number"),)

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    document: Mapped[Json]
    columns: Mapped[Json]
    created_at: Mapped[CreatedAt]


class Version(Base):
    """One immutable artefact of a model, described by its manifest. Without an artefact the flavour is `none`."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        only("state", VERSION_STATES),
        Index("uq_versions_one_champion", "model_id", unique=True, postgresql_where=text("state = 'champion'")),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    name: Mapped[str]  # what the traces report: "v1"
    state: Mapped[str] = mapped_column(default="registered")
    flavour: Mapped[str]
    manifest: Mapped[Json] = mapped_column(default=dict)
    manifest_sha256: Mapped[str]
    baseline: Mapped[Json] = mapped_column(
        default=dict
    )  # reference performance, operating threshold, stress at registration
    promoted_at: Mapped[datetime | None]
    confirmed_at: Mapped[datetime | None]  # when traces first reported this version after its promotion
    replaced_id: Mapped[int | None] = mapped_column(
        ForeignKey("versions.id")
    )  # the champion it took over from: where a rollback leads
    created_at: Mapped[CreatedAt]


class Reference(Base):
    """The traces that define normal for a version: a frozen binning and what was fitted on its windows."""

    __tablename__ = "references"
    __table_args__ = (Index("uq_references_one_active", "version_id", unique=True, postgresql_where=text("active")),)

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    schema_id: Mapped[int] = mapped_column(ForeignKey("schemas.id"))
    binning_id: Mapped[str]
    starts: Mapped[datetime]
    ends: Mapped[datetime]
    rows: Mapped[int]
    windows: Mapped[int]
    document: Mapped[Json]  # monitor.drift.Reference.to_document()
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[CreatedAt]


class Monitor(Base):
    """A configured check on a model. One stream of check runs per (version, monitor).

    A monitor that was removed keeps its runs, is off, and has given up its name.
    """

    __tablename__ = "monitors"
    __table_args__ = (UniqueConstraint("model_id", "name"), only("kind", (*MONITOR_KINDS, SEGMENT, EVIDENTLY)))

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    kind: Mapped[str]
    name: Mapped[str] = mapped_column(default=lambda context: context.get_current_parameters()["kind"])
    enabled: Mapped[bool] = mapped_column(default=True)
    settings: Mapped[Json] = mapped_column(default=dict)
    created_at: Mapped[CreatedAt]


class Source(Base):
    """Where a model's traces come from, with the flags given once and a bookmark to go on from.

    `mapping` is a `monitor.intake.columns.Columns` document, `settings` what the kind wants to know beside. The
    bookmark holds a mark for each of the source's `pieces`, and the `newest` event time that was taken in. With
    `every_seconds` it is read whenever it is `due_at`. `failures` counts the looks in a row at which something could
    not be read; `last_error` says what.
    """

    __tablename__ = "sources"
    __table_args__ = (
        UniqueConstraint("model_id", "name"),
        CheckConstraint("every_seconds > 0", name="every_positive"),
    )

    id: Mapped[Id]
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str]
    kind: Mapped[str]  # one of `monitor.intake.sources.registry`
    location: Mapped[str]
    mapping: Mapped[Json] = mapped_column(default=dict)
    settings: Mapped[Json] = mapped_column(default=dict, server_default=text("'{}'::jsonb"))
    bookmark: Mapped[Json] = mapped_column(default=dict)
    every_seconds: Mapped[int | None]
    paused: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    due_at: Mapped[datetime | None]
    pulled_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]


def models(session: Session) -> list[Model]:
    """Every model, by name."""
    return list(session.scalars(select(Model).order_by(Model.name)))


def model_named(session: Session, name: str) -> Model:
    """The model of this name."""
    model = session.scalar(select(Model).where(Model.name == name))
    if model is None:
        known = ", ".join(other.name for other in models(session)) or "none yet"
        raise NotFound(f"no model {name!r}; there are: {known}")
    return model


def champion(session: Session, model: Model) -> Version:
    """The version that should serve."""
    version = session.get(Version, model.champion_id) if model.champion_id is not None else None
    if version is None:
        raise NotFound(f"model {model.name} has no champion yet: register a version and make it the champion")
    return version


def versions(session: Session, model: Model) -> list[Version]:
    """Every version of the model, oldest first."""
    return list(session.scalars(select(Version).where(Version.model_id == model.id).order_by(Version.number)))


def version_named(session: Session, model: Model, name: str) -> Version:
    """The newest version that the traces call `name`."""
    found = [version for version in versions(session, model) if version.name == name]
    if not found:
        known = ", ".join(version.name for version in versions(session, model)) or "none yet"
        raise NotFound(f"model {model.name} has no version {name!r}; there are: {known}")
    return found[-1]


def feature_schema(session: Session, model: Model) -> FeatureSchema:
    """The newest schema of the model."""
    newest = select(FeatureSchema).where(FeatureSchema.model_id == model.id).order_by(FeatureSchema.number.desc())
    row = session.scalar(newest.limit(1))
    if row is None:
        raise NotFound(f"model {model.name} has no schema yet")
    return row


def schema_of(row: FeatureSchema) -> Schema:
    """The features that a schema row declares."""
    return Schema.from_document(row.document)


def reference_for(session: Session, version: Version) -> Reference | None:
    """What normal looks like for this version, None while it is still being learned."""
    return session.scalar(select(Reference).where(Reference.version_id == version.id, Reference.active))


def newest_reference(session: Session, model: Model) -> Reference | None:
    """The reference accepted last for any version of the model: what a version without one is counted against."""
    active = select(Reference).where(Reference.model_id == model.id, Reference.active)
    return session.scalar(active.order_by(Reference.id.desc()).limit(1))


def source_of(session: Session, model: Model, name: str) -> Source:
    """The source of that name."""
    found = session.scalar(select(Source).where(Source.model_id == model.id, Source.name == name))
    if found is None:
        known = ", ".join(session.scalars(select(Source.name).where(Source.model_id == model.id))) or "none yet"
        raise NotFound(f"model {model.name} has no source {name!r}; it has: {known}")
    return found


def sources_of(session: Session, model: Model) -> list[Source]:
    """Every source of the model, by name."""
    return list(session.scalars(select(Source).where(Source.model_id == model.id).order_by(Source.name)))


def due_sources(session: Session, now: datetime) -> list[Source]:
    """The sources that are read by schedule and whose time has come."""
    due = select(Source).join(Model, Source.model_id == Model.id).where(Source.due_at <= now, ~Source.paused)
    return list(session.scalars(due.where(Model.retired_at.is_(None)).order_by(Source.due_at)))
