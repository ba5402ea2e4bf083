"""How long rows are kept, what of them is never stored, and the deletion of everything about somebody."""

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.quarantine import Quarantined
from monitor.db.registry import Model, ModelSettings, feature_schema, schema_of
from monitor.db.traces import entity_keys, erase
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize
from monitor.schema import Schema
from monitor.vectors import PROJECTIONS


@dataclass(frozen=True, kw_only=True)
class Erased:
    """How much of somebody was deleted."""

    traces: int
    labels: int
    quarantined: int

    @property
    def sentence(self) -> str:
        return (
            f"{self.traces:,} traces, {self.labels:,} labels and {self.quarantined:,} refused rows are deleted; counts "
            "of windows stay, and files that were exported or backed up are yours to delete"
        )


def configure_privacy(
    session: Session, model: Model, *, keep_days: int | None = None, unstored: Collection[str] | None = None,
    hashed: Collection[str] | None = None, by: Actor, now: datetime,
) -> ModelSettings:  # fmt: skip
    """Change what is given and keep the rest; it holds for rows that come from now on. `keep_days` 0: for ever.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: no such feature, a number to be hashed, or a span that no window fits in.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    before, schema = ModelSettings.of(model), schema_of(feature_schema(session, model))
    known = dict.fromkeys((*schema.fields, *schema.names))
    for name in (*(unstored or ()), *(hashed or ())):
        if name not in known:
            raise BadInput(f"expected a feature of {model.name} ({', '.join(known)}), got {name!r}")
    if vectors := [vector.name for vector in schema.vectors if vector.name in (hashed or ())]:
        raise BadInput(
            f"expected categories to hash, got the vector {vectors[0]}: nothing could be watched of its hash; leave it "
            "unstored"
        )
    if numbers := [name for name in hashed or () if not schema[name].is_categorical]:
        raise BadInput(
            f"expected categories to hash, got the number {numbers[0]}: its hash would be none; leave it unstored"
        )
    if keep_days and keep_days * 86_400 < 3 * before.window_seconds:
        raise BadInput(f"expected rows to be kept for at least three windows, got {keep_days} days")
    after = replace(
        before,
        keep_days=before.keep_days if keep_days is None else keep_days or None,
        unstored=before.unstored if unstored is None else unstored_with(unstored, schema),
        hashed=before.hashed if hashed is None else sorted(set(hashed)),
        hash_key=before.hash_key or (secrets.token_hex(16) if hashed else ""),
    )
    changed = {
        name: {"before": old, "after": new}
        for name in ("keep_days", "unstored", "hashed")
        if (old := getattr(before, name)) != (new := getattr(after, name))
    }
    if changed:
        model.settings = after.to_document()
        session.flush()
        record(
            session, "model.privacy_configured", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
            **changed,
        )  # fmt: skip
    return after


def unstored_with(unstored: Collection[str], schema: Schema) -> list[str]:
    """The names, and of vectors of few numbers the projections too: they are these numbers."""
    short = [vector for vector in schema.vectors if vector.name in unstored and vector.size <= PROJECTIONS]
    return sorted({*unstored, *(name for vector in short for name in vector.summaries)})


def erase_entity(session: Session, model: Model, entity: str, *, reason: str, by: Actor, now: datetime) -> Erased:
    """Delete the traces, labels and refused rows about somebody. The record names them by a hash alone.

    Raises:
        NotAllowed: `by` may not delete rows.
        BadInput: nobody is named, or no reason is given.
    """
    authorize(by, Action.CONFIGURE)
    if not entity.strip() or not reason.strip():
        raise BadInput("expected whose rows are to be deleted, and a reason for the record")
    traces, labels = erase(session, model, entity)
    refused = [row.id for row in _about(session, model, entity)]
    session.execute(delete(Quarantined).where(Quarantined.id.in_(refused)))
    record(
        session, "entity.erased", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
        entity_key=entity_keys([entity])[0], traces=traces, labels=labels, quarantined=len(refused),
        reason=reason.strip(),
    )  # fmt: skip
    return Erased(traces=traces, labels=labels, quarantined=len(refused))


def _about(session: Session, model: Model, entity: str) -> list[Quarantined]:
    """Refused rows that say they are about somebody; text that was cut is matched by what it holds."""
    told = json.dumps(entity)
    rows = session.scalars(
        select(Quarantined).where(Quarantined.model_id == model.id, Quarantined.raw.contains(told, autoescape=True))
    )
    return list(rows)
