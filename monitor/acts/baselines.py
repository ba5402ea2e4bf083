"""What counts as normal for a version: a person, or the platform on its first reference, accepts it here."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.registry import Model, Reference, Version, feature_schema
from monitor.drift import Reference as Normal
from monitor.errors import NotEnoughData
from monitor.governance import POLICY, Action, Actor, authorize


def accept_reference(
    session: Session, model: Model, version: Version, reference: Normal, *, by: Actor, now: datetime
) -> Reference:
    """Make `reference` the active one of a version; the one before it is kept, inactive.

    Policy may set a version's first reference; to replace one takes a person.

    Raises:
        NotAllowed: `by` may not accept baselines.
        NotEnoughData: the reference is too short to tell what is normal.
    """
    if not reference.windows:
        raise NotEnoughData("expected a reference with at least one window of 50 rows, got none: send more good rows")
    replaced = session.execute(
        update(Reference)
        .where(Reference.version_id == version.id, Reference.active)
        .values(active=False)
        .returning(Reference.id)
    ).scalar()
    if by != POLICY or replaced is not None:
        authorize(by, Action.ACCEPT_BASELINE)
    accepted = Reference(
        model_id=model.id,
        version_id=version.id,
        schema_id=feature_schema(session, model).id,
        binning_id=reference.binning.binning_id,
        starts=reference.windows[0].start,
        ends=reference.windows[-1].end,
        rows=reference.rows,
        windows=len(reference.windows),
        document=reference.to_document(),
    )
    session.add(accepted)
    session.flush()
    record(
        session, "reference.accepted", by=by.id, subject=f"version:{version.id}", at=now, model=model.name,
        reference=accepted.id, replaced=replaced, windows=accepted.windows, rows=accepted.rows,
        starts=accepted.starts.isoformat(), ends=accepted.ends.isoformat(),
    )  # fmt: skip
    return accepted
