"""What Holdfast said about a model over its history, in the form in which commands print it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.db.alerts import Alert, Outbox
from monitor.db.checks import CheckRun, WindowVerdict
from monitor.db.registry import Model

CONVENTIONAL_P = 0.05
Key = tuple[datetime, datetime, int]  # start, end, version


@dataclass(frozen=True, kw_only=True)
class WindowOutcome:
    """One window: whether drift could be tested (`status`), verdict, and realised metric ({} without labels)."""

    start: datetime
    end: datetime
    rows: int
    status: str
    verdict: str | None
    sentence: str
    metric: dict[str, Any]

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, with times in ISO 8601."""
        metric = {key: self.metric.get(key) for key in ("name", "value", "low", "high")} if self.metric else None
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "rows": self.rows,
            "status": self.status,
            "verdict": self.verdict,
            "metric": metric,
        }


@dataclass(frozen=True, kw_only=True)
class AlertOutcome:
    """One alert as people got it: `start` is that of the first window that fired, `end` that of the last."""

    kind: str
    severity: str
    verdict: str
    start: datetime
    end: datetime
    culprits: tuple[str, ...]
    title: str
    revised: bool

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values, with times in ISO 8601."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "window": [self.start.isoformat(), self.end.isoformat()],
            "culprits": list(self.culprits),
            "verdict": self.verdict,
            "title": self.title,
        }


@dataclass(frozen=True, kw_only=True)
class MessageOutcome:
    """One message as it would have reached people; `number` orders messages, `event` is fired, updated or resolved."""

    number: int
    event: str
    severity: str
    title: str

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"event": self.event, "severity": self.severity, "title": self.title}


def messages_after(session: Session, model: Model, number: int) -> list[MessageOutcome]:
    """The messages about a model's alerts that are owed to its routes, from the one after `number` on."""
    chosen = select(Outbox).where(Outbox.model_id == model.id, Outbox.alert_id.is_not(None), Outbox.id > number)
    return [
        MessageOutcome(
            number=owed.id,
            event=owed.event,
            severity=str(owed.message.get("severity", "")),
            title=str(owed.message.get("title", "")).removeprefix(f"{model.name}: "),
        )
        for owed in session.scalars(chosen.order_by(Outbox.id))
    ]


def window_outcomes(session: Session, model: Model) -> list[WindowOutcome]:
    """Every checked window in order, by its newest revision; one that nobody could judge has no verdict."""
    newest: dict[Key, WindowVerdict] = {}
    chosen = select(WindowVerdict).where(WindowVerdict.model_id == model.id).order_by(WindowVerdict.revision)
    for verdict in session.scalars(chosen):
        newest[verdict.starts, verdict.ends, verdict.version_id] = verdict
    drift = _drift_runs(session, model)
    return [_outcome(key, newest.get(key), drift.get(key)) for key in sorted({*newest, *drift})]


def _outcome(key: Key, verdict: WindowVerdict | None, run: tuple[str, str, int] | None) -> WindowOutcome:
    status, sentence, rows = run or ("no_reference", "", 0)
    return WindowOutcome(
        start=key[0],
        end=key[1],
        rows=verdict.rows if verdict else rows,
        status=status,
        verdict=verdict.verdict if verdict else None,
        sentence=verdict.sentence if verdict else sentence,
        metric=verdict.metric if verdict else {},
    )


def _drift_runs(session: Session, model: Model) -> dict[Key, tuple[str, str, int]]:
    """Status, sentence and rows of the newest drift run of each window."""
    runs = session.execute(
        select(CheckRun.starts, CheckRun.ends, CheckRun.version_id, CheckRun.status, CheckRun.sentence, CheckRun.rows)
        .where(CheckRun.model_id == model.id, CheckRun.kind == "drift")
        .order_by(CheckRun.revision)
    )
    return {(starts, ends, version): (status, said, rows) for starts, ends, version, status, said, rows in runs}


def alert_outcomes(session: Session, model: Model) -> list[AlertOutcome]:
    """Every alert that fired, in the order of stream time; drills and those still pending do not count."""
    fired = (
        select(Alert)
        .where(Alert.model_id == model.id, Alert.state != "pending", Alert.drill.is_(False))
        .order_by(Alert.starts, Alert.id)
    )
    return [
        AlertOutcome(
            kind=alert.kind,
            severity=alert.severity,
            verdict=alert.verdict,
            start=alert.starts,
            end=alert.ends,
            culprits=tuple(alert.culprits),
            title=str(alert.message.get("title", "")),
            revised=alert.revised,
        )
        for alert in session.scalars(fired)
    ]


def odd_features(session: Session, model: Model) -> dict[str, dict[str, str]]:
    """The features that could not be compared as others are, with status and sentence, as of the last drift run."""
    document = session.scalar(
        select(CheckRun.document)
        .where(CheckRun.model_id == model.id, CheckRun.kind == "drift", CheckRun.document.has_key("features"))
        .order_by(CheckRun.starts.desc(), CheckRun.revision.desc())
        .limit(1)
    )
    features: dict[str, Any] = (document or {}).get("features") or {}
    return {
        name: {"status": feature["status"], "sentence": feature.get("sentence") or feature["status"]}
        for name, feature in features.items()
        if feature.get("status") != "ok"
    }


def checked_until(session: Session, model: Model) -> datetime | None:
    """Up to when drift was checked (or skipped for broken data), in stream time."""
    return session.scalar(
        select(func.max(CheckRun.ends)).where(CheckRun.model_id == model.id, CheckRun.kind == "drift")
    )


def conventional_alerts(session: Session, model: Model) -> int:
    """On how many windows "p < 0.05 on any feature" (KS, χ² for categories) would have sent an alert."""
    documents = session.scalars(
        select(CheckRun.document).where(CheckRun.model_id == model.id, CheckRun.kind == "drift")
    )
    return sum(_any_small_p(document) for document in documents)


def _any_small_p(document: dict[str, Any]) -> bool:
    features: dict[str, Any] = document.get("features") or {}
    return any(
        (score.get("p_value") if score.get("p_value") is not None else 1.0) < CONVENTIONAL_P
        for feature in features.values()
        for name, score in (feature.get("scores") or {}).items()
        if name in ("ks", "chi2")
    )
