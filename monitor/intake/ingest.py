"""The way of a batch: validate, enter in the ledger, count every new row, keep some, all in one transaction."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from monitor.batch import Batch, keys_of
from monitor.db.audit import record
from monitor.db.engine import database_now
from monitor.db.profiles import Counted, add_counted, read_profile
from monitor.db.quarantine import Quarantined
from monitor.db.registry import Model, ModelSettings, Version, versions
from monitor.db.traces import storing
from monitor.drift.profile import Profile
from monitor.governance.audit_chain import canonical_json, sha256
from monitor.intake.facts import Facts, facts_of
from monitor.intake.fields import Rows
from monitor.intake.parts import parts
from monitor.intake.privacy import private_raw, private_reason, with_hashes, without_unstored
from monitor.intake.sampling import HALF, LOOKED_BACK, SamplingPlan, Usual, keep, probabilities
from monitor.intake.validate import BadRow, Validated, raw_row, validate
from monitor.performance.metrics import Task
from monitor.windows import Window

AHEAD = timedelta(days=1)  # how far past the watermark an event time may lie
MOST_VERSIONS = 500  # of one model; a producer that invents names must not fill the registry


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of a batch.

    `newest` is the latest event time among its good rows, new or not; `features` are the names that the schema knows.
    """

    accepted: int
    duplicate: int
    quarantined: int
    profiled: int
    kept: int
    newest: datetime | None
    features: tuple[str, ...]
    bad: tuple[BadRow, ...] = ()


def ingest(
    session: Session, model: Model, rows: Rows, *, source: str = "replay", now: datetime | None = None,
    keep_bad: bool = True,
) -> Ingested:  # fmt: skip
    """Take a batch of traces; a repeated row counts once, a bad one waits in quarantine.

    Args:
        rows: see `validate`; a version that is new to the registry is entered there.
        now: the database's time, unless given.
        keep_bad: put refused rows into quarantine; not those that come from there.
    """
    settings = ModelSettings.of(model)
    facts, database_time = facts_of(session, model)
    if keep_bad:  # what comes from quarantine was hashed before it went there
        rows = with_hashes(rows, settings.hashed, settings.hash_key)
    found = validate(
        rows,
        facts.schema,
        oldest=model.oldest_kept,
        latest=latest_time(model, now or database_time),
        version=facts.serving(model),
    )
    good, bad = found.good, found.bad
    if set(named := pc.unique(good.version).to_pylist()) - set(facts.versions):
        facts, refused = register_versions(session, model, named, now or database_time)
        if refused:
            good, bad = _without(found, rows, refused, f"{model.name} has {MOST_VERSIONS} versions already")
    if keep_bad:
        quarantine(session, model, bad, source, hashed=True)
    if not len(good):
        return Ingested(
            accepted=0,
            duplicate=0,
            quarantined=len(bad),
            profiled=0,
            kept=0,
            newest=None,
            features=facts.schema.fields,
            bad=bad,
        )
    keys = keys_of(good.trace_id.to_pylist())
    plan = sampling_plan(model, facts)
    chances = probabilities(good, plan, facts.schema, width=settings.width, usual=usual_of(session, model, facts))
    kept, weight = keep(keys, chances)
    stored = without_unstored(good, settings.unstored)
    with storing(
        session, model, facts.schema, facts.columns, stored, keys=keys, kept=kept, weight=weight
    ) as new:  # counted while the database stores
        counts = list(_counts(good.where(new), facts, settings.tick))
    for counted in counts:
        add_counted(session, model.id, counted)
    return Ingested(
        accepted=int(new.sum()),
        duplicate=int((~new).sum()),
        quarantined=len(bad),
        profiled=sum(counted.rows for counted in counts),
        kept=int((new & kept).sum()),
        newest=good.event_time.max().item().replace(tzinfo=UTC),
        features=facts.schema.fields,
        bad=bad,
    )


def latest_time(model: Model, now: datetime) -> datetime:
    """The latest event time that can be true: a day past the watermark or the database's time."""
    return max(now, model.watermark or now) + AHEAD


def advance_watermark(session: Session, model: Model, moment: datetime) -> None:
    """No row before `moment` is awaited any more. It never goes back, nor past what `latest_time` believes."""
    believed = min(moment, latest_time(model, database_now(session)))
    reached = func.greatest(func.coalesce(Model.watermark, believed), believed)
    session.execute(
        update(Model).where(Model.id == model.id).values(watermark=reached),
        execution_options={"synchronize_session": False},
    )
    session.refresh(model, ["watermark"])


def quarantine(session: Session, model: Model, bad: tuple[BadRow, ...], source: str, *, hashed: bool = False) -> None:
    """Keep refused rows with their reason, for a person to review; `hashed`: their fields were hashed before."""
    settings = ModelSettings.of(model)
    session.add_all(
        Quarantined(
            model_id=model.id, source=source, reason=private_reason(row.reason, settings.unstored),
            raw=private_raw(row.raw, settings, hashed=hashed),
        )
        for row in bad
    )  # fmt: skip


def register_versions(session: Session, model: Model, names: list[str], now: datetime) -> tuple[Facts, set[str]]:
    """Enter the versions that the traces report and nobody registered: the registry knows what production runs.

    Returns the facts with them, and the names that are too many.
    """
    session.refresh(model, with_for_update={"key_share": True})  # one numbering at a time
    facts, _ = facts_of(session, model)
    number = max((version.number for version in versions(session, model)), default=0)
    unknown = sorted(set(names) - set(facts.versions))
    room = max(0, MOST_VERSIONS - number)
    for name in unknown[:room]:
        number += 1
        version = Version(
            model_id=model.id, number=number, name=name, flavour="none", manifest_sha256=sha256(canonical_json({}))
        )
        session.add(version)
        session.flush()
        record(
            session, "version.reported", by="intake", subject=f"version:{version.id}", at=now, model=model.name,
            name=name,
        )  # fmt: skip
    return facts_of(session, model)[0], set(unknown[room:])


def _without(found: Validated, rows: Rows, versions: set[str], why: str) -> tuple[Batch, tuple[BadRow, ...]]:
    """The good rows but those of some versions, and all that are refused."""
    at_fault = np.asarray(pc.is_in(found.good.version, value_set=pa.array(sorted(versions))))
    more = tuple(
        BadRow(position=int(i), reason=f"version: {why}", raw=raw_row(rows, int(i))) for i in found.positions[at_fault]
    )
    bad = sorted((*found.bad, *more), key=lambda row: row.position)
    return found.good.where(~at_fault), tuple(bad)


def _counts(rows: Batch, facts: Facts, width: timedelta) -> Iterator[Counted]:
    """The profile of the rows of each version and bucket; those of a model without a reference are not counted."""
    for name, bucket, part in parts(rows, width):
        version = facts.versions[name]
        binning = facts.binnings.get(version, facts.binnings.get(None))
        if binning is not None:
            yield Counted.of(version, bucket, Profile.of(part, binning))


def plan_of(settings: ModelSettings, threshold: float | None = HALF) -> SamplingPlan:
    """How the owner wants rows to be chosen."""
    return SamplingPlan(
        rate=settings.sampling_rate, rows=settings.sampling_rows, by=settings.sampling_by,
        surprise=settings.sampling_surprise, threshold=threshold,
    )  # fmt: skip


def sampling_plan(model: Model, facts: Facts) -> SamplingPlan:
    """The same with the score at which the champion decides; one that does not decide between two classes has none."""
    return plan_of(ModelSettings.of(model), facts.threshold if model.task == Task.CLASSIFICATION else None)


def usual_of(session: Session, model: Model, facts: Facts) -> Usual:
    """What was counted of the serving version in the windows before one; looked up once a window and process."""
    version = facts.versions.get(facts.serving(model))
    binning = facts.binnings.get(version, facts.binnings.get(None))

    def counted(start: datetime) -> Profile | None:
        if version is None or binning is None:
            return None
        if start not in facts.usual:
            before = Window(start - LOOKED_BACK * ModelSettings.of(model).width, start)
            facts.usual[start] = read_profile(
                session, model_id=model.id, version_id=version, binning=binning, window=before
            )
        return facts.usual[start]

    return counted
