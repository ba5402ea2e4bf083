"""What counts as normal for a version: a person, or the platform on its first reference, accepts it here."""

import math
from datetime import datetime

import pandas as pd
from sqlalchemy import update
from sqlalchemy.orm import Session

from monitor.acts.alerts import end_alert
from monitor.db.audit import record
from monitor.db.profiles import add_profile, read_profile
from monitor.db.read_baseline import checked_windows, open_drift_alert, sound_windows
from monitor.db.registry import (
    Model,
    ModelSettings,
    Reference,
    Version,
    champion,
    feature_schema,
    model_named,
    reference_for,
    schema_of,
)
from monitor.db.traces import read_traces
from monitor.drift import Profile, with_predictions
from monitor.drift import Reference as Normal
from monitor.drift.reference import MIN_ROWS, MIN_WINDOW_ROWS, MIN_WINDOWS
from monitor.errors import BadInput, NotEnoughData, NotFound, StaleDecision
from monitor.governance import POLICY, Action, Actor, authorize
from monitor.windows import Window, grid


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
        binning_id=reference.binning.binning_id,
        schema_id=feature_schema(session, model).id,
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


def accept_baseline(
    session: Session, model: Model, version: Version, *, span: Window | None = None, last: int | None = None,
    reason: str, by: Actor, now: datetime,
) -> Reference:  # fmt: skip
    """“This is the new normal”: the windows of `span` become the reference, over the bins of the one before it.

    Without a span or `last` windows, those since the open drift incident began, and without an incident as many of the
    newest as the present reference has. Windows with broken data or an expected event are left out. The profiles that
    were counted already are used, so that no row is read again; the detector starts afresh, and the open drift alert is
    resolved.

    Raises:
        NotAllowed: `by` may not accept baselines.
        BadInput: no reason, or the version has no reference yet.
        NotEnoughData: the windows do not suffice; it says how many more are needed.
        StaleDecision: exactly these windows are the reference already.
    """
    authorize(by, Action.ACCEPT_BASELINE)
    if not reason.strip():
        raise BadInput("expected a reason for the new baseline, got none: say why this is normal now")
    session.refresh(model, with_for_update={"key_share": True})
    present = reference_for(session, version)
    if present is None:
        raise BadInput(f"{version.name} of {model.name} has no reference yet: it is still learning what is normal")
    # in the order of the checks, which hold the reference while they judge: reference, alert, audit
    session.refresh(present, with_for_update={"key_share": True})
    alert = open_drift_alert(session, model)
    if alert is not None:
        session.refresh(alert, with_for_update=True)
    chosen = baseline_windows(session, model, version, span=span, last=last)
    reference = _learned(session, model, version, Normal.from_document(present.document), chosen)
    if (present.starts, present.ends, present.rows) == (chosen[0].start, chosen[-1].end, reference.rows):
        raise StaleDecision(f"these {len(chosen)} windows are the baseline of {version.name} already")
    accepted = accept_reference(session, model, version, reference, by=by, now=now)
    record(
        session, "baseline.accepted", by=by.id, subject=f"version:{version.id}", at=now, model=model.name,
        reference=accepted.id, reason=reason,
    )  # fmt: skip
    if alert is not None and alert.version_id == version.id:
        resolution = f"accepted as the new baseline by {by.name}"
        end_alert(
            session, alert, title="the drift is the new normal", resolution=resolution, reason=reason, by=by, now=now
        )  # fmt: skip
    return accepted


def baseline_windows(
    session: Session, model: Model, version: Version, *, span: Window | None = None, last: int | None = None
) -> list[Window]:
    """The windows that `accept_baseline` would learn from.

    Raises:
        BadInput: both a span and a number are given, or the number is not above 0.
        NotEnoughData: they are fewer than 14.
    """
    if span is not None and last is not None:
        raise BadInput("expected either a span of time or a number of windows, got both")
    if last is not None and last < 1:
        raise BadInput(f"expected a number of windows above 0, got {last}")
    checked = checked_windows(session, version)
    if not checked:
        raise NotEnoughData(f"no window of {version.name} was checked for drift yet: run holdfast check {model.name}")
    alert = None if span or last else open_drift_alert(session, model)
    if span is None and alert is not None and alert.version_id == version.id:
        span = Window(alert.starts, checked[-1].end)
    sound = sound_windows(session, model, version, span or Window(checked[0].start, checked[-1].end))
    if span is None:
        present = reference_for(session, version)
        sound = sound[-(last or (present.windows if present else MIN_WINDOWS)) :]
    if len(sound) < MIN_WINDOWS:
        raise NotEnoughData(_too_few(sound, len(sound), MIN_WINDOWS - len(sound)))
    return sound


def proposed_baseline(session: Session, name: str) -> str:
    """What `accept_baseline` would take for the champion of a model without further choice, or why it cannot."""
    model = model_named(session, name)
    try:
        version = champion(session, model)
        chosen = baseline_windows(session, model, version)
    except (BadInput, NotFound) as error:
        return str(error)
    alert = open_drift_alert(session, model)
    why = "those of the open incident" if alert is not None and alert.version_id == version.id else "the newest"
    return (
        f"{len(chosen)} windows, {why}, from {chosen[0].start:%-d %b %Y} to {chosen[-1].end:%-d %b %Y} (UTC), would "
        f"define what is normal for {version.name}."
    )


def _learned(session: Session, model: Model, version: Version, present: Normal, chosen: list[Window]) -> Normal:
    """The reference of these windows over the bins of the present one, from the counts that intake made.

    Where the schema has features that the present one does not know, from the rows that were kept, over bins of their
    own.
    """
    new = [name for name in schema_of(feature_schema(session, model)).names if name not in present.schema.names]
    if new:
        return _learned_anew(session, model, version, chosen, new)
    entries: list[tuple[Window, Profile]] = []
    for window in chosen:
        for tick in grid(window.start, window.end, ModelSettings.of(model).tick):
            counted = read_profile(
                session, model_id=model.id, version_id=version.id, binning=present.binning, window=tick
            )
            if counted is not None:
                entries.append((tick, counted))
    return _sufficient(Normal.from_profiles(entries, schema=present.schema, binning=present.binning), chosen)


def _learned_anew(session: Session, model: Model, version: Version, chosen: list[Window], new: list[str]) -> Normal:
    """Freeze bins on the kept rows of these windows, and count what was kept since over them."""
    tick = ModelSettings.of(model).tick
    ticks = [part for window in chosen for part in grid(window.start, window.end, tick)]
    frames = [(part, read_traces(session, model, part, version=version.name)) for part in ticks]
    rows = pd.concat([frame for _, frame in frames], ignore_index=True)
    for name in new:
        _require_in_all(name, rows, chosen)
    schema = with_predictions(schema_of(feature_schema(session, model)), rows)
    reference = _sufficient(Normal.fit(frames, schema=schema), chosen)
    last = max(model.watermark or chosen[-1].end, chosen[-1].end) + tick
    for part in grid(chosen[0].start, last, tick):
        frame = read_traces(session, model, part, version=version.name)
        if len(frame):
            add_profile(
                session, model_id=model.id, version_id=version.id, bucket=part.start,
                profile=Profile.of(frame, reference.binning),
            )  # fmt: skip
    return reference


def _require_in_all(name: str, rows: pd.DataFrame, chosen: list[Window]) -> None:
    """A new feature is normal in windows that have it: others would make its absence normal too."""
    there = [rows[name][rows["event_time"].between(one.start, one.end, inclusive="left")].notna() for one in chosen]
    has = [bool(values.any()) for values in there if len(values) >= MIN_WINDOW_ROWS]
    if not all(has):
        newest = next((count for count, found in enumerate(reversed(has)) if not found), 0)
        raise NotEnoughData(
            f"expected windows that have the new feature {name}, only the newest {newest} of these {len(has)} have it: "
            f"--last {max(newest, MIN_WINDOWS)}, once there are so many"
        )


def _sufficient(reference: Normal, chosen: list[Window]) -> Normal:
    if not reference.is_sufficient:
        usual = max(reference.rows / len(chosen), 1.0)
        by_rows = math.ceil((MIN_ROWS - reference.rows) / usual)
        raise NotEnoughData(_too_few(chosen, reference.rows, max(by_rows, reference.windows_missing, 1), unit="rows"))
    return reference


def _too_few(chosen: list[Window], got: int, missing: int, *, unit: str = "sound windows") -> str:
    span = f" from {chosen[0].start:%Y-%m-%d %H:%M} to {chosen[-1].end:%Y-%m-%d %H:%M} UTC" if chosen else ""
    more = f"{missing} more window{'s are' if missing != 1 else ' is'} needed"
    return (
        f"expected at least {MIN_WINDOWS} windows of {MIN_WINDOW_ROWS} rows and {MIN_ROWS:,} rows together, "
        f"got {got:,} {unit}{span}: {more}, wait for them or name a longer span"
    )
