"""The way of a batch: validate, enter in the ledger, count every new row, keep some, all in one transaction."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.engine import database_now
from monitor.db.profiles import add_profile
from monitor.db.quarantine import Quarantined
from monitor.db.registry import (
    Model,
    ModelSettings,
    Reference,
    Version,
    feature_schema,
    schema_of,
    versions,
)
from monitor.db.traces import append
from monitor.drift.profile import Binning, Profile
from monitor.errors import BadInput
from monitor.governance.audit_chain import canonical_json, sha256
from monitor.intake.sampling import keep
from monitor.intake.validate import BadRow, validate
from monitor.windows import floor_to_grid

AHEAD = timedelta(days=1)  # how far past the watermark an event time may lie
MOST_VERSIONS = 500  # of one model; a producer that invents names must not fill the registry
_KNOWN: dict[str, Binning] = {}  # by binning_id, which is a hash of the content
_MOST_KNOWN = 100


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What became of a batch. `newest` is the latest event time among its good rows, new or not."""

    accepted: int
    duplicate: int
    quarantined: int
    profiled: int
    kept: int
    newest: datetime | None
    bad: tuple[BadRow, ...] = ()


def ingest(
    session: Session, model: Model, frame: pd.DataFrame, *, source: str = "replay", now: datetime | None = None
) -> Ingested:
    """Take a batch of traces; a repeated row counts once, a bad one waits in quarantine.

    Args:
        frame: see `validate`; a version that is new to the registry is entered there.
        now: the database's time, unless given.
    """
    features, settings = feature_schema(session, model), ModelSettings.of(model)
    known = {version.name: version for version in versions(session, model)}
    found = validate(
        frame,
        schema_of(features),
        oldest=model.oldest_kept,
        latest=latest_time(model, now or database_now(session)),
        version=_serving(model, known),
    )
    quarantine(session, model, found.bad, source)
    good = found.good
    if good.empty:
        return Ingested(
            accepted=0, duplicate=0, quarantined=len(found.bad), profiled=0, kept=0, newest=None, bad=found.bad
        )
    _register_unknown(session, model, list(good["version"].unique()), known, now or database_now(session))
    mask, weight = keep(good["trace_id"], settings.sampling_rate)
    new = append(session, model, features, good.assign(kept=mask, weight=weight))
    profiled = _count(session, model, good[new], known, settings.tick)
    return Ingested(
        accepted=int(new.sum()),
        duplicate=int((~new).sum()),
        quarantined=len(found.bad),
        profiled=profiled,
        kept=int((new & mask).sum()),
        newest=good["event_time"].max().to_pydatetime(),
        bad=found.bad,
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


def _serving(model: Model, known: dict[str, Version]) -> str:
    """The version that rows are counted under when they name none: the champion, else the newest."""
    champion = [name for name, version in known.items() if version.id == model.champion_id]
    return (champion or list(known)[-1:] or ["v1"])[0]


def quarantine(session: Session, model: Model, bad: tuple[BadRow, ...], source: str) -> None:
    """Keep refused rows with their reason, for a person to review."""
    session.add_all(Quarantined(model_id=model.id, source=source, reason=row.reason, raw=row.raw) for row in bad)


def _register_unknown(
    session: Session, model: Model, names: list[str], known: dict[str, Version], now: datetime
) -> None:
    """Enter the versions that the traces report and nobody registered: the registry knows what production runs."""
    if not set(names) - set(known):
        return
    session.refresh(model, with_for_update={"key_share": True})  # one numbering at a time
    known |= {version.name: version for version in versions(session, model)}
    for name in sorted(set(names) - set(known)):
        number = 1 + max((version.number for version in known.values()), default=0)
        if number > MOST_VERSIONS:
            raise BadInput(f"expected a known version, got {name!r}: {model.name} has {MOST_VERSIONS} versions already")
        known[name] = Version(
            model_id=model.id, number=number, name=name, flavour="none", manifest_sha256=sha256(canonical_json({}))
        )
        session.add(known[name])
        session.flush()
        record(
            session, "version.reported", by="intake", subject=f"version:{known[name].id}", at=now, model=model.name,
            name=name,
        )  # fmt: skip


def _count(session: Session, model: Model, rows: pd.DataFrame, known: dict[str, Version], width: timedelta) -> int:
    """Add the rows to the profile of their version and bucket; those of a model without a reference are not counted."""
    binnings = _binnings(session, model)
    counted = 0
    for name, bucket, part in _parts(rows, width):
        version = known[name]
        binning = binnings.get(version.id, binnings.get(None))
        if binning is None:
            continue
        add_profile(
            session, model_id=model.id, version_id=version.id, binning_id=binning.binning_id, bucket=bucket,
            profile=Profile.of(part, binning),
        )  # fmt: skip
        counted += len(part)
    return counted


def _parts(rows: pd.DataFrame, width: timedelta) -> Iterator[tuple[str, datetime, pd.DataFrame]]:
    """The rows of each version in each bucket of the model's ticks."""
    origin = pd.Timestamp(floor_to_grid(datetime.fromisoformat("1970-01-05T00:00:00+00:00"), width))
    numbers = (rows["event_time"] - origin) // pd.Timedelta(width)
    for number in np.unique(numbers):
        within = rows[numbers == number]
        for version in sorted(within["version"].unique()):
            bucket = origin + int(number) * pd.Timedelta(width)
            yield version, bucket.to_pydatetime(), within[within["version"] == version]


def _binnings(session: Session, model: Model) -> dict[int | None, Binning]:
    """The frozen bins of each version with a reference; under None those of the newest reference of all."""
    active = select(Reference.id, Reference.version_id, Reference.binning_id).where(
        Reference.model_id == model.id, Reference.active
    )
    found: dict[int | None, Binning] = {}
    for row in session.execute(active.order_by(Reference.id)):
        if row.binning_id not in _KNOWN:
            document = session.execute(select(Reference.document["binning"]).where(Reference.id == row.id)).scalar_one()
            if len(_KNOWN) >= _MOST_KNOWN:
                _KNOWN.clear()
            _KNOWN[row.binning_id] = Binning.from_document(document)
        found[row.version_id] = found[None] = _KNOWN[row.binning_id]
    return found
