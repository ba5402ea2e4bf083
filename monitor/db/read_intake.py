"""How rows come in: when the newest was, how many a day, and what waits in quarantine."""

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.db.profiles import ProfileDelta
from monitor.db.read_quarantine import QuarantineGroup, quarantine_groups
from monitor.db.registry import model_named

DAYS = 60


@dataclass(frozen=True, kw_only=True)
class IntakePage:
    """`newest` is stream time: up to then rows came in.

    `days` counts every row of a day, sampled or not, of a model with a reference; the newest 60 days with rows.
    """

    model: str
    newest: datetime | None
    days: tuple[tuple[date, int], ...]
    groups: tuple[QuarantineGroup, ...]


def intake_page(session: Session, name: str) -> IntakePage:
    model = model_named(session, name)
    day = func.date_trunc("day", ProfileDelta.bucket).label("day")
    counted = (
        select(day, func.sum(ProfileDelta.rows))
        .where(ProfileDelta.model_id == model.id)
        .group_by(day)
        .order_by(day.desc())
        .limit(DAYS)
    )
    days = [(moment.date(), int(rows)) for moment, rows in session.execute(counted)]
    return IntakePage(
        model=name,
        newest=model.watermark,
        days=tuple(reversed(days)),
        groups=tuple(quarantine_groups(session, name)),
    )
