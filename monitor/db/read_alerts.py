"""What fired, who has it, what was sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from monitor.db.alerts import SEVERITIES, Alert, Outbox, Route, Silence, snooze_of, standing_silences
from monitor.db.audit import AuditEntry
from monitor.db.checks import Report
from monitor.db.registry import Model, Version
from monitor.db.retraining import Proposal

LIVE = ("firing", "acknowledged", "no_data", "error")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact or an act on an alert's or proposal's timeline, in database time."""

    at: datetime
    who: str
    what: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Snoozed:
    """Until when, by whom and why nobody is told of an alert."""

    until: datetime
    by: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class AlertLine:
    """One alert as the list shows it."""

    id: int
    model: str
    version: str
    kind: str
    severity: str
    state: str
    verdict: str
    title: str
    starts: datetime
    ends: datetime
    culprits: tuple[str, ...]
    opened_at: datetime
    acknowledged_by: str | None
    acknowledged_at: datetime | None
    resolved_at: datetime | None
    feedback: str | None
    revised: bool
    drill: bool
    message: dict[str, Any]
    resolution: str | None = None  # how a person ended it
    snoozed: Snoozed | None = None

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def urgency(self) -> int:
        """The live ones before the resolved, pages before tickets; the order within is time's."""
        return SEVERITIES.index(self.severity) if self.is_live else len(SEVERITIES)


@dataclass(frozen=True, kw_only=True)
class AlertPage:
    """One alert with its timeline and where its evidence lies."""

    line: AlertLine
    timeline: tuple[Event, ...]
    report_id: int | None
    proposal_id: int | None


@dataclass(frozen=True)
class AlertList:
    """Alerts, the live ones first, pages before tickets, the newest first."""

    lines: tuple[AlertLine, ...]

    @property
    def live(self) -> tuple[AlertLine, ...]:
        return tuple(line for line in self.lines if line.is_live)

    @property
    def headline(self) -> str:
        if not self.lines:
            return "Nothing has fired"
        awake = [line for line in self.live if line.snoozed is None]
        untaken = [line for line in awake if line.state != "acknowledged"]
        if not self.live:
            return f"Nothing is firing: {_count(len(self.lines), 'alert')} resolved"
        if not awake:
            return f"{_count(len(self.live), 'alert')} open, all snoozed"
        if not untaken:
            holders = ", ".join(sorted({line.acknowledged_by or "someone" for line in awake}))
            return f"{_count(len(awake), 'alert')} open, all taken by {holders}"
        names = ", ".join(dict.fromkeys(line.model for line in untaken))
        return f"{_count(len(untaken), 'alert')} nobody has taken yet: {names}"

    @property
    def precision(self) -> tuple[int, int]:
        """(judged useful, judged at all) among fired alerts that people gave feedback on."""
        judged = [line.feedback for line in self.lines if line.feedback]
        return sum(word == "useful" for word in judged), len(judged)


def alert_list(session: Session, *, model: str | None = None, limit: int = 200) -> AlertList:
    """Every alert that fired, of one model or of all."""
    chosen = _joined().where(Alert.state != "pending").order_by(Alert.opened_at.desc(), Alert.id.desc()).limit(limit)
    if model is not None:
        chosen = chosen.where(Model.name == model)
    standing = session.scalars(standing_silences()).all()
    lines = [_line(*row, standing) for row in session.execute(chosen)]
    return AlertList(tuple(sorted(lines, key=lambda line: line.urgency)))


def alert_page(session: Session, alert_id: int) -> AlertPage | None:
    """One alert, or None when there is none of this number."""
    row = session.execute(_joined().where(Alert.id == alert_id)).one_or_none()
    if row is None:
        return None
    line = _line(*row, session.scalars(standing_silences()).all())
    report = session.scalar(select(Report.id).where(Report.alert_id == alert_id, Report.state == "ready"))
    proposal = session.scalar(select(Proposal.id).where(Proposal.alert_id == alert_id).order_by(Proposal.id.desc()))
    return AlertPage(line=line, timeline=_timeline(session, line), report_id=report, proposal_id=proposal)


def _joined() -> Select[Alert, str, str]:
    return (
        select(Alert, Model.name, Version.name)
        .join(Model, Model.id == Alert.model_id)
        .join(Version, Version.id == Alert.version_id)
    )


def _timeline(session: Session, line: AlertLine) -> tuple[Event, ...]:
    """Firing, messages and their delivery, and what people did."""
    events = [Event(at=line.opened_at, who="Holdfast", what="fired", note=line.title)]
    sent = session.execute(
        select(Outbox, Route.name).join(Route, Route.id == Outbox.route_id).where(Outbox.alert_id == line.id)
    )
    for message, route in sent:
        what = {"sent": "delivered", "dead": "could not be delivered"}.get(message.state, "is being delivered")
        note = message.last_error or "" if message.state != "sent" else ""
        at = message.sent_at or message.created_at
        events.append(Event(at=at, who=route, what=f"{message.event}: {what}", note=note))
    for entry in session.scalars(select(AuditEntry).where(AuditEntry.subject == f"alert:{line.id}")):
        events.append(event_of(entry))
    if line.resolved_at and line.resolution is None:  # else the act that ended it is told
        events.append(Event(at=line.resolved_at, who="Holdfast", what="resolved"))
    return tuple(sorted(events, key=lambda event: event.at))


def event_of(entry: AuditEntry) -> Event:
    """An audited act in words: `proposal.approved` by ana reads “ana approved”."""
    act = entry.action.rsplit(".", 1)[-1].replace("_", " ")
    act = f"was {act}" if act.startswith("refused") else act
    act = f"set it to {act}" if act.split()[0].endswith("ing") or act == "queued" else act
    note = str(entry.details.get("reason") or entry.details.get("sentence") or entry.details.get("feedback") or "")
    return Event(at=entry.at, who=entry.actor, what=act, note=note)


def _line(alert: Alert, model: str, version: str, standing: Sequence[Silence]) -> AlertLine:
    words = alert.verdict.replace("_", " ")
    snooze = snooze_of(alert, standing) if alert.state in LIVE else None
    return AlertLine(
        id=alert.id,
        model=model,
        version=version,
        kind=alert.kind,
        severity=alert.severity,
        state=alert.state,
        verdict=alert.verdict,
        title=str(alert.message.get("title") or f"{model}: {words}"),
        starts=alert.starts,
        ends=alert.ends,
        culprits=tuple(alert.culprits),
        opened_at=alert.opened_at,
        acknowledged_by=alert.acknowledged_by,
        acknowledged_at=alert.acknowledged_at,
        resolved_at=alert.resolved_at,
        feedback=alert.feedback,
        revised=alert.revised,
        drill=alert.drill,
        message=alert.message,
        resolution=alert.resolution,
        snoozed=Snoozed(until=snooze.until, by=snooze.author, reason=snooze.reason) if snooze else None,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
