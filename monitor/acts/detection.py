"""What an owner asks of the drift detector: budget, sensitivity, and what single features are worth."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.registry import Model, ModelSettings, feature_schema, schema_of
from monitor.drift import FalseAlarmBudget
from monitor.drift.detector import Sensitivity
from monitor.drift.overrides import FeatureOverride, check_known
from monitor.drift.predictions import PREDICTIONS
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize


def configure_detection(
    session: Session, model: Model, *, sensitivity: str | None = None, incidents: float | None = None,
    per_days: float | None = None, features: Mapping[str, FeatureOverride | None] | None = None, by: Actor,
    now: datetime,
) -> ModelSettings:  # fmt: skip
    """Change what is given and keep the rest; an override of None takes the feature's back.

    It holds from the next window on: the detector's memory is kept, and no window is judged again. Saying what is said
    already changes nothing and is not recorded.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: no such sensitivity, an impossible budget, or features that the model does not have.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    before = ModelSettings.of(model)
    overrides = _merged(session, model, before, features or {})
    after = replace(
        before,
        sensitivity=before.sensitivity if sensitivity is None else sensitivity,
        incidents=before.incidents if incidents is None else incidents,
        per_days=before.per_days if per_days is None else per_days,
        overrides={name: overrides[name].to_document() for name in sorted(overrides)},
    )
    _check(after)
    changed = {
        name: {"before": old, "after": new}
        for name in ("sensitivity", "incidents", "per_days", "overrides")
        if (old := getattr(before, name)) != (new := getattr(after, name))
    }
    if changed:
        model.settings = after.to_document()
        session.flush()
        record(
            session, "model.detection_configured", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
            **changed,
        )  # fmt: skip
    return after


def _merged(
    session: Session, model: Model, before: ModelSettings, asked: Mapping[str, FeatureOverride | None]
) -> dict[str, FeatureOverride]:
    """The overrides that hold after the change; one that says nothing is left out."""
    check_known(
        {name: override or FeatureOverride() for name, override in asked.items()},
        (*schema_of(feature_schema(session, model)).names, *PREDICTIONS),
    )
    merged = {name: FeatureOverride.from_document(document) for name, document in before.overrides.items()}
    merged |= {name: override or FeatureOverride() for name, override in asked.items()}
    return {name: override for name, override in merged.items() if override != FeatureOverride()}


def _check(settings: ModelSettings) -> None:
    if settings.sensitivity not in list(Sensitivity):
        raise BadInput(f"expected a sensitivity of {', '.join(Sensitivity)}, got {settings.sensitivity!r}")
    if not (math.isfinite(settings.incidents) and math.isfinite(settings.per_days)):
        raise BadInput(f"expected a finite budget, got {settings.incidents:g} incidents in {settings.per_days:g} days")
    FalseAlarmBudget(incidents=settings.incidents, per_days=settings.per_days)
