"""Which rows of a model are kept as traces: declared by its owner, for rows that come from now on."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.registry import Model, ModelSettings, feature_schema, schema_of
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize
from monitor.intake.ingest import plan_of

_FIELDS = ("sampling_rate", "sampling_rows", "sampling_by", "sampling_surprise")


def configure_sampling(
    session: Session, model: Model, *, rate: float | None = None, rows: int | None = None,
    by_feature: str | None = None, surprise: float | None = None, by: Actor, now: datetime,
) -> ModelSettings:  # fmt: skip
    """Change what is given and keep the rest; `rows` 0 goes back to the rate, an empty `by_feature` to no strata.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: a rate outside (0, 1], no such feature, or strata without a number of rows.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    before = ModelSettings.of(model)
    after = replace(
        before,
        sampling_rate=before.sampling_rate if rate is None else rate,
        sampling_rows=before.sampling_rows if rows is None else rows or None,
        sampling_by=before.sampling_by if by_feature is None else by_feature,
        sampling_surprise=before.sampling_surprise if surprise is None else surprise,
    )
    names = schema_of(feature_schema(session, model)).names
    if after.sampling_by and after.sampling_by not in names:
        raise BadInput(f"expected a feature of {model.name} ({', '.join(names)}), got {after.sampling_by!r}")
    plan_of(after)
    changed = {
        name: {"before": old, "after": new}
        for name in _FIELDS
        if (old := getattr(before, name)) != (new := getattr(after, name))
    }
    if changed:
        model.settings = after.to_document()
        session.flush()
        record(
            session, "model.sampling_configured", by=by.id, subject=f"model:{model.id}", at=now, model=model.name,
            **changed,
        )  # fmt: skip
    return after


def sampling_in_words(settings: ModelSettings) -> str:
    """What is kept, in a sentence."""
    if settings.sampling_rows is not None:
        said = f"about {settings.sampling_rows:,} rows a window are kept"
        said += f", as many of each level of {settings.sampling_by}" if settings.sampling_by else ""
    else:
        said = (
            f"{settings.sampling_rate:.4g} of the rows are kept" if settings.sampling_rate < 1 else "every row is kept"
        )
    if settings.sampling_surprise:
        said += f"; of surprising rows at least {settings.sampling_surprise:.4g}"
    return f"{said}; every row is counted"
