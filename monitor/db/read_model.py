"""One model's history: windows with their verdicts, what happened beside them, and how far up the ladder it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.alerts import Alert
from monitor.db.checks import CheckRun, Finding, WindowVerdict
from monitor.db.read_overview import CheckSummary, Figure, newest_revisions, summary_of
from monitor.db.registry import MONITOR_KINDS, Model, ModelSettings, Version, feature_schema, model_named, schema_of
from monitor.db.retraining import Proposal
from monitor.db.traces import has_labels

DISTURBING = frozenset({"pipeline_break", "harmful_covariate_shift", "concept_drift", "fragile"})


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One window as it is judged now; `revision` counts how often late labels changed it."""

    starts: datetime
    ends: datetime
    version: str
    verdict: str
    sentence: str
    advice: str
    rows: int
    revision: int
    metric: Figure | None


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that happened at a moment of stream time: an alert, a promotion."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A step of adoption: what it needs, what it gives, and the command that takes it."""

    number: int
    name: str
    stands: bool
    gives: str
    command: str


@dataclass(frozen=True, kw_only=True)
class VersionLine:
    """A version as the model page lists it."""

    id: int
    name: str
    state: str
    flavour: str
    promoted_at: datetime | None
    confirmed_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class ModelHistory:
    """What is known of one model over the shown windows."""

    name: str
    owner: str
    tier: int
    frozen: bool
    task: str
    champion: VersionLine | None
    watermark: datetime | None
    reference: Figure | None
    limit: float | None
    windows: tuple[Judged, ...]
    marks: tuple[Mark, ...]
    rungs: tuple[Rung, ...]
    versions: tuple[VersionLine, ...]
    checks: tuple[CheckSummary, ...]
    proposal_id: int | None

    @property
    def since(self) -> datetime | None:
        """The start of the unbroken run of windows that share the last window's verdict."""
        begun = None
        for window in reversed(self.windows):
            if window.verdict != self.windows[-1].verdict:
                break
            begun = window.starts
        return begun

    @property
    def headline(self) -> str:
        if not self.windows:
            return "No window has been judged yet"
        last, since = self.windows[-1], self.since
        words = last.verdict.replace("_", " ")
        before = [window for window in self.windows if since and window.starts < since]
        if not before:
            return f"{words.capitalize()} in every window shown"
        if last.verdict not in DISTURBING or before[-1].verdict in DISTURBING:
            return f"{words.capitalize()} since {since:%-d %b}"
        return f"Healthy until {since:%-d %b}, then {words}{self._fall(last)}"

    def _fall(self, last: Judged) -> str:
        """By how much the metric fell, where it was measured: “(auroc .912 → .838)”."""
        metric = last.metric or next((window.metric for window in reversed(self.windows) if window.metric), None)
        if self.reference is None or metric is None:
            return ""
        return f" ({metric.name} {self.reference.value:.3f} → {metric.value:.3f})"

    @property
    def realised(self) -> Figure | None:
        """The champion's metric in its newest labelled window; another version's would say nothing of it."""
        own = (w.metric for w in reversed(self.windows) if self.champion and w.version == self.champion.name)
        return next((metric for metric in own if metric), None)

    def of_whom(self, check: CheckSummary) -> str:
        """“ of v1” where a check is not one of the champion's, else nothing."""
        if self.champion is None or check.version_id == self.champion.id:
            return ""
        return next((f" of {version.name}" for version in self.versions if version.id == check.version_id), "")

    @property
    def next_rung(self) -> Rung | None:
        return next((rung for rung in self.rungs if not rung.stands), None)


def model_history(session: Session, name: str, *, last: int = 90) -> ModelHistory:
    """The newest `last` windows of a model with all that explains them."""
    model = model_named(session, name)
    versions = {
        version.id: version
        for version in session.scalars(
            select(Version).where(Version.model_id == model.id).order_by(Version.number.desc())
        )
    }
    windows = _windows(session, model, versions, last)
    champion = versions.get(model.champion_id or 0)
    proposal = session.scalar(select(Proposal).where(Proposal.model_id == model.id).order_by(Proposal.id.desc()))
    baseline = champion.baseline if champion else {}
    return ModelHistory(
        name=model.name,
        owner=model.owner,
        tier=model.tier,
        frozen=model.frozen,
        task=model.task,
        champion=_line(champion) if champion else None,
        watermark=model.watermark,
        reference=Figure.of(baseline.get("metric")),
        limit=baseline.get("limit"),
        windows=windows,
        marks=_marks(session, model, windows),
        rungs=_rungs(session, model, champion, windows),
        versions=tuple(_line(version) for version in versions.values()),
        checks=_checks(session, model),
        proposal_id=proposal.id if proposal else None,
    )


def _windows(session: Session, model: Model, versions: dict[int, Version], last: int) -> tuple[Judged, ...]:
    newest = select(WindowVerdict).where(WindowVerdict.model_id == model.id).order_by(WindowVerdict.starts.desc())
    verdicts = newest_revisions(session.scalars(newest.limit(3 * last)))[-last:]
    return tuple(
        Judged(
            starts=verdict.starts,
            ends=verdict.ends,
            version=versions[verdict.version_id].name,
            verdict=verdict.verdict,
            sentence=verdict.sentence,
            advice=verdict.advice,
            rows=verdict.rows,
            revision=verdict.revision,
            metric=Figure.of(verdict.metric),
        )
        for verdict in verdicts
    )


def _marks(session: Session, model: Model, windows: Sequence[Judged]) -> tuple[Mark, ...]:
    """Alerts by the first window that fired, deploys by the first window that a version served: stream time only."""
    if not windows:
        return ()
    alerts = session.scalars(
        select(Alert).where(Alert.model_id == model.id, Alert.ends > windows[0].starts, Alert.state != "pending")
    )
    marks = [
        Mark(at=alert.starts, kind=alert.severity, text=f"{alert.severity}: {alert.verdict.replace('_', ' ')}")
        for alert in alerts
    ]
    marks += [
        Mark(at=after.starts, kind="deploy", text=f"{after.version} serves")
        for before, after in pairwise(windows)
        if before.version != after.version
    ]
    return tuple(sorted(marks, key=lambda mark: mark.at))


def _rungs(session: Session, model: Model, champion: Version | None, windows: Sequence[Judged]) -> tuple[Rung, ...]:
    """Those that a model can stand on: with vectors there is no artefact, and so no recipe."""
    judged = model.label_watermark is not None or any(window.metric for window in windows)
    labelled = judged or has_labels(session, model)
    artefact = champion is not None and champion.flavour != "none"
    recipe = labelled and artefact and ModelSettings.of(model).policy
    tabular = not schema_of(feature_schema(session, model)).vectors
    name, logged = model.name, bool(windows) or model.watermark is not None
    rungs = (
        Rung(number=1, name="Log", stands=logged, gives="drift, data quality, prediction alerts",
             command=f"holdfast watch 'logs/*.parquet' --model {name}"),
        Rung(number=2, name="Labels", stands=labelled, gives="realised performance, and harm told from drift",
             command=f"holdfast watch 'logs/*.parquet' --model {name} --target COLUMN"),
        Rung(number=3, name="Model", stands=artefact, gives="stress tests, noise, certificates, fragile features",
             command=f"holdfast model attach {name} model.joblib --convert"),
        Rung(number=4, name="Recipe", stands=recipe, gives="proposals, hardened candidates, gates, promotion",
             command=f"holdfast model attach {name} --factory net:build --weights w.safetensors"),
    )  # fmt: skip
    return rungs if tabular else rungs[:2]


def _checks(session: Session, model: Model) -> tuple[CheckSummary, ...]:
    """The newest run of each kind of check."""
    found = []
    for kind in MONITOR_KINDS:
        run = session.scalar(
            select(CheckRun)
            .where(CheckRun.model_id == model.id, CheckRun.kind == kind)
            .order_by(CheckRun.starts.desc(), CheckRun.revision.desc(), CheckRun.id.desc())
            .limit(1)
        )
        if run is not None:
            findings = session.scalars(select(Finding).where(Finding.check_run_id == run.id).order_by(Finding.id)).all()
            found.append(summary_of(run, findings))
    return tuple(found)


def _line(version: Version) -> VersionLine:
    return VersionLine(
        id=version.id,
        name=version.name,
        state=version.state,
        flavour=version.flavour,
        promoted_at=version.promoted_at,
        confirmed_at=version.confirmed_at,
        created_at=version.created_at,
    )
