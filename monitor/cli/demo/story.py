"""What the demo says: events as alerts come in, and the JSON of its last line. Nothing here but what was measured."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, table
from sqlalchemy.orm import Session

from monitor.cli.demo.payments import FIRST_DAY, SCRIPT, day_start
from monitor.db.alerts import Alert
from monitor.db.checks import CheckRun, WindowVerdict
from monitor.db.engine import transaction
from monitor.db.profiles import ProfileDelta
from monitor.db.read_outcomes import AlertOutcome, alert_outcomes, conventional_alerts
from monitor.db.registry import Model, model_named
from monitor.db.retraining import Proposal

if TYPE_CHECKING:
    from monitor.cli.demo.run import Demo

HEADS = {"page": "paged", "ticket": "ticket", "info": "noted"}


@dataclass(kw_only=True)
class Told:
    """What was said already: alerts by severity and verdict, proposals by state."""

    alerts: dict[int, tuple[str, str]] = field(default_factory=dict)
    proposals: dict[int, str] = field(default_factory=dict)

    def news(self, session: Session, model_name: str) -> list[str]:
        """A sentence for each alert or proposal that is new or changed."""
        model = model_named(session, model_name)
        return [*self._alert_news(session, model), *self._proposal_news(session, model)]

    def _alert_news(self, session: Session, model: Model) -> list[str]:
        lines = []
        chosen = select(Alert).where(Alert.model_id == model.id, Alert.state != "pending").order_by(Alert.id)
        for alert in session.scalars(chosen):
            if self.alerts.get(alert.id) == (alert.severity, alert.verdict):
                continue
            revised = alert.id in self.alerts
            self.alerts[alert.id] = (alert.severity, alert.verdict)
            lines.append(_alert_line(alert, revised=revised))
        return lines

    def _proposal_news(self, session: Session, model: Model) -> list[str]:
        lines = []
        for proposal in session.scalars(select(Proposal).where(Proposal.model_id == model.id).order_by(Proposal.id)):
            if self.proposals.get(proposal.id) != proposal.state:
                self.proposals[proposal.id] = proposal.state
                lines.append(
                    f"          PROPOSAL #{proposal.id}  {proposal.state.replace('_', ' ')}: {proposal.reason}"
                )
        return lines


def _alert_line(alert: Alert, *, revised: bool) -> str:
    day = (alert.starts - FIRST_DAY).days + 1
    words = alert.verdict.replace("_", " ").upper()
    how = "revised" if revised else HEADS[alert.severity]
    culprits = ", ".join(alert.culprits[:3])
    return f"  day {day:>3}  {words:<24} {culprits:<40} → {how}"


def beside_convention(demo: "Demo") -> str:
    """The same days under the rule that most teams begin with."""
    with transaction(demo.tools.engine) as session:
        model = model_named(session, "fraud")
        conventional = conventional_alerts(session, model)
        alerts = alert_outcomes(session, model)
    pages = sum(alert.severity == "page" for alert in alerts)
    tickets = sum(alert.severity == "ticket" for alert in alerts)
    return (
        f'  Same days: "KS p < .05 on any feature" would have sent {conventional} alerts; '
        f"Holdfast sent {pages} pages and {tickets} tickets."
    )


def document(demo: "Demo", *, seconds: float) -> dict[str, Any]:
    """The run as one JSON object."""
    with transaction(demo.tools.engine) as session:
        model = model_named(session, "fraud")
        proposal = session.scalars(
            select(Proposal).where(Proposal.model_id == model.id).order_by(Proposal.candidate_id.desc().nulls_last())
        ).first()
        return {
            "traces": _traces(session, model),
            "profiled_rows": int(
                session.scalar(select(func.sum(ProfileDelta.rows)).where(ProfileDelta.model_id == model.id)) or 0
            ),
            "windows": _count(session, WindowVerdict.starts, WindowVerdict.model_id == model.id),
            "check_runs": _count(session, CheckRun.id, CheckRun.model_id == model.id),
            "proposals": _count(session, Proposal.id, Proposal.model_id == model.id),
            "alerts": [_alert(alert, demo.day) for alert in alert_outcomes(session, model)],
            "events": [
                {"id": event.id, "start": event.start.isoformat(), "kind": event.kind}
                for event in SCRIPT
                if event.first_day <= demo.day
            ],
            "conventional_alerts": conventional_alerts(session, model),
            "approved_by": demo.approved_by,
            "candidate": _candidate(proposal) if proposal else None,
            "promoted": demo.promoted,
            "rolled_back": demo.rolled_back,
            "seconds": round(seconds, 1),
            "seed": demo.options.seed,
        }


def _traces(session: Session, model: Model) -> int:
    stored = table(f"m{model.id}", schema="traces")
    return int(session.scalar(select(func.count()).select_from(stored)) or 0)


def _count(session: Session, column: Any, condition: Any) -> int:
    return int(session.scalar(select(func.count(func.distinct(column))).where(condition)) or 0)


def _alert(alert: AlertOutcome, last_day: int) -> dict[str, Any]:
    return alert.to_document() | {"event": _event_of(alert.start, alert.end, last_day)}


def _event_of(start: datetime, end: datetime, last_day: int) -> str | None:
    """The scripted event that an alert's windows overlap, in time alone: the one that began last before its end."""
    horizon = day_start(last_day + 1)
    overlapping = [event for event in SCRIPT if event.start < end and start < min(event.end, horizon)]
    begun = [event for event in overlapping if event.start <= start]
    chosen = begun[-1:] or overlapping[:1]
    return chosen[0].id if chosen else None


def _candidate(proposal: Proposal) -> dict[str, Any] | None:
    if not proposal.comparison:
        return None
    return {
        "clean": proposal.comparison.get("clean"),
        "robust": proposal.comparison.get("robust"),
        "gates": [
            {key: gate.get(key) for key in ("name", "value", "limit", "passed", "sentence")} for gate in proposal.gates
        ],
    }
