"""Refused rows under review: taken after all, taken under other names, tried again, or thrown away. Nothing is lost."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.quarantine import Quarantined, group_of
from monitor.db.registry import Model, ModelSettings
from monitor.errors import BadInput, SchemaMismatch
from monitor.governance import Action, Actor, authorize
from monitor.intake.fields import Records, Rows
from monitor.intake.ingest import ingest
from monitor.intake.labels import take_labels
from monitor.intake.privacy import with_hashes
from monitor.intake.validate import BadRow, parse_event_times

MOST_ROWS = 5_000  # of one decision, which is one transaction
DISCARDED, TAKEN = "discarded", "taken"


@dataclass(frozen=True, kw_only=True)
class Retaken:
    """What came of rows that were tried again: stored (`known`: they were there already), or refused still, and why."""

    taken: int
    known: int
    refused: int
    reasons: Mapping[str, int]

    @property
    def sentence(self) -> str:
        said = "1 row was taken" if self.taken == 1 else f"{self.taken:,} rows were taken"
        said += f", {self.known:,} were known already" if self.known else ""
        if not self.refused:
            return said
        why = "; ".join(f"{count:,} × {reason}" for reason, count in self.reasons.items())
        return f"{said}, {self.refused:,} {'waits' if self.refused == 1 else 'wait'} still: {why}"


def waiting(session: Session, model: Model, *, group: str | None = None, ids: Sequence[int] = ()) -> list[Quarantined]:
    """Rows of a model that nobody decided on: of groups of reasons that begin so, or of these numbers; at most 5,000.

    Raises:
        BadInput: there is none.
    """
    chosen = select(Quarantined).where(Quarantined.model_id == model.id, Quarantined.reviewed_at.is_(None))
    if group is not None:
        chosen = chosen.where(group_of(Quarantined.reason).startswith(group, autoescape=True))
    if ids:
        chosen = chosen.where(Quarantined.id.in_(ids))
    rows = list(session.scalars(chosen.order_by(Quarantined.id).limit(MOST_ROWS).with_for_update()))
    if not rows:
        raise BadInput(f"expected rows of {model.name} that wait in quarantine, there are none such")
    return rows


def discard(
    session: Session, model: Model, rows: Sequence[Quarantined], *, reason: str, by: Actor, now: datetime
) -> int:
    """Throw rows away: they stay on record as discarded, with who did it and why.

    Raises:
        NotAllowed: `by` may not decide on rows.
        BadInput: no reason is given.
    """
    authorize(by, Action.CONFIGURE)
    if not reason.strip():
        raise BadInput("expected a reason: rows that are thrown away are not counted anywhere")
    for row in rows:
        row.reviewed_at, row.decision = now, DISCARDED
    _note(session, model, "quarantine.discarded", rows, by=by, now=now, reason=reason.strip())
    return len(rows)


def retake(
    session: Session, model: Model, rows: Sequence[Quarantined], *, rename: Mapping[str, str] | None = None,
    trust_time: bool = False, by: Actor, now: datetime,
) -> Retaken:  # fmt: skip
    """Try rows again as the model's schema is now; those that are refused again wait on, with the new reason.

    Args:
        rename: fields that came under another name, old → new.
        trust_time: take event times that lie ahead of the clock: somebody looked, and they are right.

    Raises:
        NotAllowed: `by` may not decide on rows.
    """
    authorize(by, Action.CONFIGURE)
    settings, names = ModelSettings.of(model), dict(rename or {})
    fresh = set(settings.hashed) & set(names.values())  # what was under another name was not hashed yet
    read = {row.id: found for row in rows if (found := _fields(row.raw, names)) is not None}
    unread = [row for row in rows if row.id not in read]
    for row in unread:
        row.reason = "raw text: expected a whole JSON object; what was kept of the row is not one"
    traces = [row for row in rows if row.id in read and not _is_label(read[row.id])]
    labels = [row for row in rows if row.id in read and _is_label(read[row.id])]
    clock = max([now, *_times(read[row.id] for row in traces)]) if trust_time else now
    taken = known = 0
    for part, take in ((traces, _take_traces), (labels, _take_labels)):
        if part:
            records = with_hashes(_records([read[row.id] for row in part]), fresh, settings.hash_key)
            stored, repeated = take(session, model, part, records, clock, now)
            taken, known = taken + stored, known + repeated
    refused = [row for row in rows if row.reviewed_at is None]
    reasons = Counter(row.reason.partition(", got")[0] for row in refused)
    _note(
        session, model, "quarantine.retaken", rows, by=by, now=now, taken=taken, known=known, refused=len(refused),
        rename=names, trust_time=trust_time,
    )  # fmt: skip
    return Retaken(taken=taken, known=known, refused=len(refused), reasons=dict(reasons.most_common(5)))


def discarded_sentence(rows: int) -> str:
    """What a person is told."""
    return "1 row is discarded" if rows == 1 else f"{rows:,} rows are discarded"


def _take_traces(
    session: Session, model: Model, rows: Sequence[Quarantined], records: Rows, clock: datetime, now: datetime,
) -> tuple[int, int]:  # fmt: skip
    try:
        found = ingest(session, model, records, source="review", now=clock, keep_bad=False)
    except SchemaMismatch as error:
        return _refuse_all(rows, str(error))
    _settle(rows, found.bad, now)
    return found.accepted, found.duplicate


def _take_labels(
    session: Session, model: Model, rows: Sequence[Quarantined], records: Rows, clock: datetime, now: datetime,
) -> tuple[int, int]:  # fmt: skip
    try:
        found = take_labels(session, model, records, source="review", keep_bad=False)
    except SchemaMismatch as error:
        return _refuse_all(rows, str(error))
    _settle(rows, found.bad, now)
    return found.changed, found.good - found.changed


def _refuse_all(rows: Sequence[Quarantined], why: str) -> tuple[int, int]:
    for row in rows:
        row.reason = why
    return 0, 0


def _settle(rows: Sequence[Quarantined], bad: Sequence[BadRow], now: datetime) -> None:
    against = {row.position: row.reason for row in bad}
    for position, row in enumerate(rows):
        if position in against:
            row.reason = against[position]
        else:
            row.reviewed_at, row.decision = now, TAKEN


def _fields(raw: str, rename: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    return {rename.get(name, name): value for name, value in found.items()} if isinstance(found, dict) else None


def _is_label(fields: Mapping[str, Any]) -> bool:
    return "label" in fields and "event_time" not in fields


def _times(rows: Iterable[Mapping[str, Any]]) -> list[datetime]:
    times = parse_event_times(pd.Series([str(row.get("event_time")) for row in rows], dtype=object)).dropna()
    return [time.to_pydatetime() for time in times]


def _records(fields: list[dict[str, Any]]) -> Records:
    names = dict.fromkeys(name for row in fields for name in row)
    return Records({name: [row.get(name) for row in fields] for name in names}, len(fields))


def _note(
    session: Session,
    model: Model,
    action: str,
    rows: Sequence[Quarantined],
    *,
    by: Actor,
    now: datetime,
    **details: Any,
) -> None:
    session.flush()
    record(
        session, action, by=by.id, subject=f"model:{model.id}", at=now, model=model.name, rows=len(rows),
        first=rows[0].id, last=rows[-1].id, **details,
    )  # fmt: skip
