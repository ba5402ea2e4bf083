"""A drift stream for one level of a feature, declared by people: what is rare in all rows is seen in its own."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.acts.alerts import end_alert
from monitor.db.alerts import Alert
from monitor.db.audit import record
from monitor.db.registry import SEGMENT, Model, Monitor, Reference, feature_schema, newest_reference, schema_of
from monitor.db.segments import MOST_SEGMENTS, Segment, SegmentReference, segment_monitor, segments_of
from monitor.db.traces import read_traces
from monitor.drift import FeatureOverride, Profile, predictions_of
from monitor.drift import Reference as Normal
from monitor.drift.overrides import check_known
from monitor.drift.reference import MIN_ROWS, MIN_WINDOW_ROWS, MIN_WINDOWS
from monitor.errors import BadInput, NotEnoughData, NotFound
from monitor.governance import Action, Actor, authorize
from monitor.schema import Kind


def declare_segment(
    session: Session, model: Model, name: str, *, features: Mapping[str, FeatureOverride] | None = None, by: Actor,
    now: datetime,
) -> Segment:  # fmt: skip
    """Give a segment a drift stream of its own from the next window on, or other overrides to one that has it.

    The model's false-alarm budget is shared in equal parts over all rows and each segment. Saying what is said already
    changes nothing and is not recorded.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: no such level of a categorical feature, or more than 10 segments.
        NotEnoughData: the reference holds too few kept rows of it.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    asked, overrides = Segment.parse(name), features or {}
    schema = schema_of(feature_schema(session, model))
    if asked.feature not in schema.names or schema[asked.feature].kind not in (Kind.CATEGORICAL, Kind.BOOLEAN):
        able = [one.name for one in schema.features if one.kind in (Kind.CATEGORICAL, Kind.BOOLEAN)]
        raise BadInput(f"expected a level of {', '.join(able) or 'a categorical feature'}, got {name!r}")
    check_known(overrides, schema.names)
    monitor = segment_monitor(session, model) or _new_monitor(session, model)
    declared = segments_of(monitor)
    if asked.name not in declared and len(declared) >= MOST_SEGMENTS:
        raise BadInput(f"expected at most {MOST_SEGMENTS} segments of a model, got another one: remove one first")
    known = declared.get(asked.name)
    begins = known.since if known else (model.watermark.isoformat() if model.watermark else None)
    segment = Segment(
        feature=asked.feature, level=asked.level, since=begins,
        overrides={one: overrides[one].to_document() for one in sorted(overrides)},
    )  # fmt: skip
    reference = newest_reference(session, model)
    if reference is not None:
        _require_enough(learn_segment(session, model, reference, segment), segment)
    if segment != known:
        _write(session, model, monitor, declared | {segment.name: segment})
        record(
            session, "segment.declared", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
            segment=segment.name, overrides=segment.overrides,
        )  # fmt: skip
    return segment


def remove_segment(session: Session, model: Model, name: str, *, by: Actor, now: datetime) -> None:
    """End the drift stream of a segment, and its alert; what was found stays.

    Raises:
        NotAllowed: `by` may not configure.
        NotFound: no such segment is declared.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    monitor = segment_monitor(session, model)
    declared = segments_of(monitor) if monitor is not None else {}
    if monitor is None or name not in declared:
        raise NotFound(f"{model.name} has no segment {name!r}; it has: {', '.join(declared) or 'none'}")
    _write(session, model, monitor, {other: declared[other] for other in declared if other != name})
    live = select(Alert).where(Alert.model_id == model.id, Alert.cause == f"drift:{name}", Alert.state != "resolved")
    for alert in session.scalars(live):
        end_alert(
            session, alert, title=f"{name} is not watched by itself any more", by=by, now=now,
            resolution=f"the segment was removed by {by.name}", reason=name,
        )  # fmt: skip
    record(session, "segment.removed", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, segment=name)


def learn_segment(session: Session, model: Model, row: Reference, segment: Segment) -> Normal:
    """What is normal within a segment under a reference; learned once from the kept rows of its windows, then kept."""
    kept = session.get(SegmentReference, (row.id, segment.name))
    if kept is not None:
        return Normal.from_document(kept.document)
    whole = Normal.from_document(row.document)
    # What another version said is left out of a reference, and so of its segments.
    unsaid = [name for name in predictions_of(whole.schema) if not whole.total.counts_of(name).any()]
    entries = []
    for window in whole.windows:
        rows = segment.rows_of(read_traces(session, model, window))
        if len(rows):
            entries.append((window, Profile.of(rows, whole.binning).without(unsaid)))
    normal = Normal.from_profiles(entries, schema=whole.schema, binning=whole.binning)
    session.add(SegmentReference(reference_id=row.id, segment=segment.name, document=normal.to_document()))
    session.flush()
    return normal


def _require_enough(normal: Normal, segment: Segment) -> None:
    if not normal.is_sufficient:
        raise NotEnoughData(
            f"expected at least {MIN_WINDOWS} reference windows of {MIN_WINDOW_ROWS} kept rows and {MIN_ROWS:,} rows "
            f"together with {segment.name}, got {len(normal.windows)} windows and {normal.rows:,} rows: choose a more "
            "frequent level, or a longer reference"
        )


def _new_monitor(session: Session, model: Model) -> Monitor:
    monitor = Monitor(model_id=model.id, kind=SEGMENT)
    session.add(monitor)
    session.flush()
    return monitor


def _write(session: Session, model: Model, monitor: Monitor, segments: Mapping[str, Segment]) -> None:
    documents = {name: segment.to_document() for name, segment in segments.items()}
    monitor.settings = {**monitor.settings, "segments": documents}
    monitor.enabled = bool(documents)
    session.flush()
