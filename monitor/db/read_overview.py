"""Which models need somebody now: one row a model, sorted by need."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import Select, func, select, true
from sqlalchemy.orm import Session, aliased

from monitor.db.alerts import Alert
from monitor.db.base import Json
from monitor.db.checks import CheckRun, Finding, WindowVerdict
from monitor.db.registry import MONITOR_KINDS, Model, Version
from monitor.db.retraining import CLOSED_STATES, Proposal

SPARK_WINDOWS = 30
AWAITING = {"awaiting_approval": "approval", "proposed": "approval", "awaiting_promotion": "promotion"}
VERDICT_NEED = {"pipeline_break": 3, "harmful_covariate_shift": 3, "concept_drift": 3, "fragile": 2}


Measured = tuple[int, Json]  # a version's id, and a metric of it


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric with its interval, as a verdict or a comparison holds it."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    coverage: float | None = None

    @classmethod
    def of(cls, document: Json | None) -> Self | None:
        """None where nothing was measured."""
        if not document or document.get("value") is None:
            return None
        known = {key: document.get(key) for key in ("low", "high", "coverage")}
        name = str(document.get("name") or document.get("metric") or "metric")
        return cls(name=name, value=float(document["value"]), n=int(document.get("n") or 0), **known)


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """The newest run of one kind of check: what fired, in its own sentence."""

    kind: str
    version_id: int
    status: str
    starts: datetime
    ends: datetime
    sentence: str
    checked: int
    fired: tuple[str, ...]
    figure: Figure | None
    beside: tuple[tuple[str, float], ...] = ()  # of several classes: each one's recall, and what averages over them

    @property
    def words(self) -> str:
        """The run's own sentence, else what fired."""
        if self.sentence or self.status != "ok":
            return self.sentence or self.status.replace("_", " ")
        return f"{', '.join(self.fired)} fired" if self.fired else "nothing fired"


@dataclass(frozen=True, kw_only=True)
class OverviewRow:
    """What the overview says of one model."""

    name: str
    owner: str
    tier: int
    version: str | None
    frozen: bool
    verdict: str | None
    sentence: str
    advice: str
    watermark: datetime | None
    window: tuple[datetime, datetime] | None
    performance: Figure | None
    reference: Figure | None
    limit: float | None
    robustness: Figure | None
    checks: dict[str, CheckSummary]
    pages: int
    tickets: int
    proposal_id: int | None
    proposal_state: str | None
    spark: tuple[float, ...]

    @property
    def awaits(self) -> str | None:
        """`approval` or `promotion` when a person has to decide."""
        return AWAITING.get(self.proposal_state or "")

    @property
    def need(self) -> int:
        """How much the model needs somebody; 0 is not at all."""
        score = VERDICT_NEED.get(self.verdict or "", 0)
        return score + (8 if self.awaits else 0) + (4 if self.pages else 0) + (1 if self.tickets else 0)

    @property
    def why(self) -> str:
        """The first thing to do about the model, in words; empty when there is nothing."""
        if self.awaits:
            return f"proposal #{self.proposal_id} awaits {self.awaits}"
        if self.pages or self.tickets:
            pages = _count(self.pages, "page")
            tickets = _count(self.tickets, "ticket")
            return f"{' and '.join(filter(None, [pages, tickets]))} open"
        return self.sentence if self.need else ""


@dataclass(frozen=True)
class Overview:
    """Every model, the neediest first."""

    rows: tuple[OverviewRow, ...]

    @property
    def needing(self) -> tuple[OverviewRow, ...]:
        return tuple(row for row in self.rows if row.need)

    @property
    def headline(self) -> str:
        if not self.rows:
            return "No model is monitored yet"
        if not self.needing:
            return f"No model needs you: {_count(len(self.rows), 'model')} watched"
        if len(self.needing) == 1:
            first = self.needing[0]
            return f"1 model needs you: {first.name} — {first.why}"
        return f"{len(self.needing)} of {len(self.rows)} models need you, first {self.needing[0].name}"


def overview(session: Session) -> Overview:
    """One row a model, read with a fixed number of queries."""
    models = session.scalars(select(Model).order_by(Model.name)).all()
    versions = {version.id: version for version in session.scalars(select(Version))}
    verdicts, metrics, checks = _newest_verdicts(session), _newest_metrics(session), _newest_checks(session)
    alerts, proposals = _open_alerts(session), _open_proposals(session)
    rows = [
        _row(
            model,
            versions.get(model.champion_id or 0),
            verdicts.get(model.id),
            metrics.get(model.id, []),
            checks[model.id],
            alerts.get(model.id, {}),
            proposals.get(model.id),
        )
        for model in models
    ]
    return Overview(tuple(sorted(rows, key=lambda row: (-row.need, row.name))))


def newest_revisions(verdicts: Iterable[WindowVerdict]) -> list[WindowVerdict]:
    """One verdict a window, in order of time: the newest revision of the version that served most of its rows."""
    by_window: dict[tuple[datetime, datetime], WindowVerdict] = {}
    for verdict in sorted(verdicts, key=lambda v: (v.starts, v.version_id, v.revision)):
        key = (verdict.starts, verdict.ends)
        held = by_window.get(key)
        if held is None or held.version_id == verdict.version_id or verdict.rows > held.rows:
            by_window[key] = verdict
    return sorted(by_window.values(), key=lambda verdict: verdict.starts)


def _row(
    model: Model,
    version: Version | None,
    last: WindowVerdict | None,
    measured: Sequence[Measured],
    checks: dict[str, CheckSummary],
    alerts: dict[str, int],
    proposal: Proposal | None,
) -> OverviewRow:
    baseline = version.baseline if version else {}
    return OverviewRow(
        name=model.name,
        owner=model.owner,
        tier=model.tier,
        version=version.name if version else None,
        frozen=model.frozen,
        verdict=last.verdict if last else None,
        sentence=last.sentence if last else "no window has been checked yet",
        advice=last.advice if last else "",
        watermark=model.watermark,
        window=(last.starts, last.ends) if last else None,
        performance=next((Figure.of(of) for by, of in reversed(measured) if by == model.champion_id), None),
        reference=Figure.of(baseline.get("metric")),
        limit=baseline.get("limit"),
        robustness=_robust(version, checks),
        checks=checks,
        pages=alerts.get("page", 0),
        tickets=alerts.get("ticket", 0),
        proposal_id=proposal.id if proposal else None,
        proposal_state=proposal.state if proposal else None,
        spark=tuple(metric["value"] for _, metric in measured[-SPARK_WINDOWS:]),
    )


def _robust(version: Version | None, checks: dict[str, CheckSummary]) -> Figure | None:
    """The version's newest stress figure, else the one at registration."""
    stress = checks.get("stress")
    if version is None:
        return None
    if stress is not None and stress.figure is not None:
        return stress.figure
    registered = version.baseline.get("stress") or {}
    return (
        Figure.of({"name": "robust_auc", "value": registered.get("robust_auc"), **registered}) if registered else None
    )


def _newest_verdicts(session: Session) -> dict[int, WindowVerdict]:
    """The verdict of each model's newest window."""
    newest = (
        select(WindowVerdict)
        .where(WindowVerdict.model_id == Model.id)
        .order_by(WindowVerdict.starts.desc(), WindowVerdict.rows.desc(), WindowVerdict.revision.desc())
        .limit(1)
        .lateral()
    )
    found = session.scalars(select(aliased(WindowVerdict, newest)).select_from(Model).join(newest, true()))
    return {verdict.model_id: verdict for verdict in found}


def _newest_metrics(session: Session) -> dict[int, list[Measured]]:
    """The metrics of each model's newest windows in order of time; twice the rows are read, as revisions share one."""
    newest = (
        select(
            WindowVerdict.starts,
            WindowVerdict.version_id,
            WindowVerdict.rows,
            WindowVerdict.revision,
            WindowVerdict.metric,
        )
        .where(WindowVerdict.model_id == Model.id)
        .order_by(WindowVerdict.starts.desc())
        .limit(2 * SPARK_WINDOWS)
        .lateral()
    )
    rows = session.execute(
        select(Model.id, newest.c.starts, newest.c.version_id, newest.c.metric)
        .join(newest, true())
        .order_by(Model.id, newest.c.starts, newest.c.rows, newest.c.revision)
    )
    by_window: dict[int, dict[datetime, Measured]] = defaultdict(dict)
    for model_id, starts, version_id, metric in rows:
        by_window[model_id][starts] = (version_id, metric)  # the last: most rows, then the newest revision
    return {
        model_id: [(by, metric) for by, metric in windows.values() if metric.get("value") is not None]
        for model_id, windows in by_window.items()
    }


def _newest_checks(session: Session) -> dict[int, dict[str, CheckSummary]]:
    """The newest run of each kind of each model, with its findings."""
    runs = [run for kind in MONITOR_KINDS for run in session.scalars(_newest_run(kind))]
    findings: dict[int, list[Finding]] = defaultdict(list)
    for finding in session.scalars(select(Finding).where(Finding.check_run_id.in_([run.id for run in runs]))):
        findings[finding.check_run_id].append(finding)
    summaries: dict[int, dict[str, CheckSummary]] = defaultdict(dict)
    for run in runs:
        summaries[run.model_id][run.kind] = summary_of(run, findings[run.id])
    return summaries


def _newest_run(kind: str) -> Select[CheckRun]:
    """Of a stress test the champion's: it tells of the version, the other checks of the stream."""
    of = CheckRun.version_id == Model.champion_id if kind == "stress" else true()
    newest = (
        select(CheckRun)
        .where(CheckRun.model_id == Model.id, CheckRun.kind == kind, of)
        .order_by(CheckRun.starts.desc(), CheckRun.revision.desc(), CheckRun.id.desc())
        .limit(1)
        .lateral()
    )
    return select(aliased(CheckRun, newest)).select_from(Model).join(newest, true())


def summary_of(run: CheckRun, findings: Sequence[Finding]) -> CheckSummary:
    """One check run as the views show it."""
    headline = next((one for one in findings if one.metric in ("robust_auc", "robust_accuracy", "auroc")), None)
    figure = None
    if headline is not None and headline.statistic is not None:
        figure = Figure(
            name=headline.metric, value=headline.statistic, low=headline.low, high=headline.high, n=run.rows
        )  # fmt: skip
    return CheckSummary(
        kind=run.kind,
        version_id=run.version_id,
        status=run.status,
        starts=run.starts,
        ends=run.ends,
        sentence=run.sentence,
        checked=len({finding.subject for finding in findings}),
        fired=tuple(dict.fromkeys(finding.subject for finding in findings if finding.fired)),
        figure=figure,
        beside=_beside(findings),
    )


def _beside(findings: Sequence[Finding]) -> tuple[tuple[str, float], ...]:
    """What an accuracy of several classes hides: how many rows of each class are found."""
    recalls = [(one.subject, one.statistic) for one in findings if "class" in (one.detail or {})]
    if not recalls:
        return ()
    means = [(one.subject, one.statistic) for one in findings if one.metric in ("balanced_accuracy", "macro_f1")]
    return tuple((name.replace("_", " "), value) for name, value in [*means, *recalls] if value is not None)


def _open_alerts(session: Session) -> dict[int, dict[str, int]]:
    rows = session.execute(
        select(Alert.model_id, Alert.severity, func.count())
        .where(Alert.state.in_(("firing", "acknowledged", "no_data", "error")))
        .group_by(Alert.model_id, Alert.severity)
    )
    counted: dict[int, dict[str, int]] = defaultdict(dict)
    for model_id, severity, count in rows:
        counted[model_id][severity] = count
    return counted


def _open_proposals(session: Session) -> dict[int, Proposal]:
    waiting = session.scalars(select(Proposal).where(Proposal.state.not_in(CLOSED_STATES)))
    return {proposal.model_id: proposal for proposal in waiting}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}" if number else ""
