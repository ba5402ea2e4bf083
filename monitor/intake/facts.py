"""What intake has to know of a model for every batch, read anew only when it changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.db.bulk import driver
from monitor.db.registry import Model, Reference, feature_schema, schema_of, versions
from monitor.drift.profile import Binning, Profile
from monitor.intake.sampling import HALF
from monitor.schema import Schema

_STAMP = (  # every batch asks: past the making of a statement, which takes longer than the answer
    "SELECT now(), (SELECT max(id) FROM schemas WHERE model_id = %(model)s), "
    "(SELECT max(id) FROM versions WHERE model_id = %(model)s), "
    "(SELECT (baseline->>'operating_threshold')::float FROM versions WHERE id = %(champion)s), "
    "(SELECT array_agg(id || ':' || binning_id ORDER BY id) FROM \"references\" WHERE model_id = %(model)s AND active)"
)
_KEPT: WeakKeyDictionary[Engine, dict[int, "Facts"]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The newest schema of a model, its versions, and what their rows are counted over.

    `binnings` holds the frozen bins of each version with a reference, under None those of the newest reference of all.
    """

    stamp: list[Any]
    schema: Schema
    columns: Mapping[str, str]  # the trace column of each feature
    versions: Mapping[str, int]  # ids by name, oldest first
    binnings: Mapping[int | None, Binning]
    threshold: float = HALF  # the score at which the champion decides
    usual: dict[datetime, Profile | None] = field(default_factory=dict)  # counts before a window, once looked up

    def serving(self, model: Model) -> str:
        """The version that rows are counted under when they name none: the champion, else the newest."""
        champion = [name for name, version in self.versions.items() if version == model.champion_id]
        return (champion or list(self.versions)[-1:] or ["v1"])[0]


def facts_of(session: Session, model: Model) -> tuple[Facts, datetime]:
    """The facts as they are now, and the database's time."""
    told = driver(session).execute(_STAMP, {"model": model.id, "champion": model.champion_id}).fetchone()
    assert told is not None
    now, *stamp = told
    kept = _KEPT.setdefault(session.get_bind().engine, {})
    if model.id not in kept or kept[model.id].stamp != stamp:
        kept[model.id] = _read(session, model, stamp)
    return kept[model.id], now


def _read(session: Session, model: Model, stamp: list[Any]) -> Facts:
    features = feature_schema(session, model)
    return Facts(
        stamp=stamp,
        schema=schema_of(features),
        columns=dict(features.columns),
        versions={version.name: version.id for version in versions(session, model)},
        binnings=_binnings(session, model),
        threshold=HALF if stamp[2] is None else float(stamp[2]),
    )


def _binnings(session: Session, model: Model) -> dict[int | None, Binning]:
    active = select(Reference.version_id, Reference.binning_id, Reference.document["binning"]).where(
        Reference.model_id == model.id, Reference.active
    )
    made: dict[str, Binning] = {}
    found: dict[int | None, Binning] = {}
    for version_id, binning_id, document in session.execute(active.order_by(Reference.id)):
        if binning_id not in made:
            made[binning_id] = Binning.from_document(document)
        found[version_id] = found[None] = made[binning_id]
    return found
