"""What an owner asks of the governed loop: who trains, whose groups count, shadow, and who is told what serves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from monitor.acts.trainers import trainer_of
from monitor.db.audit import record
from monitor.db.registry import Model, ModelSettings, feature_schema, schema_of
from monitor.errors import BadInput
from monitor.governance import Action, Actor, authorize
from monitor.notify.addresses import checked_url, host_of

MOST_WINDOWS = 1_000
MOST_HOURS = 24 * 92  # a committee may meet every quarter


def configure_loop(
    session: Session, model: Model, *, trainer: Mapping[str, Any] | None = None,
    fairness_by: Sequence[str] | None = None, shadow_windows: int | None = None, shadow_limit: float | None = None,
    champion_webhook: str | None = None, allow_leaks: Sequence[str] | None = None, proposal_hours: float | None = None,
    approval_hours: float | None = None, observed_windows: int | None = None,
    retrain_every_windows: int | None = None, by: Actor, now: datetime,
) -> ModelSettings:  # fmt: skip
    """Change what is given and keep the rest; it holds from the next retraining on. `retrain_every_windows` 0: never.

    Raises:
        NotAllowed: `by` may not configure.
        BadInput: there is no such trainer, feature or address, or a number is out of range.
    """
    authorize(by, Action.CONFIGURE)
    session.refresh(model, with_for_update={"key_share": True})
    before = ModelSettings.of(model)
    asked: dict[str, Any] = {
        "trainer": None if trainer is None else dict(trainer),
        "fairness_by": None if fairness_by is None else list(dict.fromkeys(fairness_by)),
        "shadow_windows": shadow_windows,
        "shadow_limit": shadow_limit,
        "champion_webhook": champion_webhook,
        "allow_leaks": None if allow_leaks is None else list(dict.fromkeys(allow_leaks)),
        "proposal_hours": proposal_hours,
        "approval_hours": approval_hours,
        "observed_windows": observed_windows,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    if retrain_every_windows is not None:
        given["retrain_every_windows"] = retrain_every_windows or None
    after = replace(before, **given)
    _check(session, model, after)
    changed = {
        name: {"before": _told(name, old), "after": _told(name, new)}
        for name in given
        if (old := getattr(before, name)) != (new := getattr(after, name))
    }
    if changed:
        model.settings = after.to_document()
        session.flush()
        record(
            session, "model.loop_configured", by=by.id, subject=f"model:{model.id}", at=now, model=model.name, **changed
        )
    return after


def _check(session: Session, model: Model, settings: ModelSettings) -> None:
    trainer_of(settings.trainer)
    known = schema_of(feature_schema(session, model)).names
    unknown = [name for name in (*settings.fairness_by, *settings.allow_leaks) if name not in known]
    if unknown:
        raise BadInput(f"no feature {', '.join(unknown)} of {model.name}; there are {', '.join(known)}")
    if not 0 <= settings.shadow_windows <= MOST_WINDOWS:
        raise BadInput(f"expected 0 to {MOST_WINDOWS:,} shadow windows, got {settings.shadow_windows}")
    if not (0 < settings.proposal_hours <= MOST_HOURS and 0 < settings.approval_hours <= MOST_HOURS):
        raise BadInput(f"expected proposals and approvals to wait for up to {MOST_HOURS:,} hours, and longer than none")
    if not 1 <= settings.observed_windows <= MOST_WINDOWS or not (settings.retrain_every_windows or 1) >= 1:
        raise BadInput(f"expected to observe 1 to {MOST_WINDOWS:,} windows, and to retrain every 1 or more")
    if not 0 <= settings.shadow_limit <= 1:
        raise BadInput(f"expected a shadow limit from 0 to 1, got {settings.shadow_limit:g}")
    if settings.champion_webhook:
        try:
            checked_url(settings.champion_webhook)
        except ValueError as error:
            raise BadInput(f"champion webhook: {error}") from None


def _told(name: str, value: Any) -> Any:
    """What the audit keeps: of an address the host alone, for the rest may be a secret."""
    if name == "champion_webhook":
        return host_of(value) if value else ""
    if name == "trainer" and value.get("url"):
        return {**value, "url": host_of(value["url"])}
    return value
