"""What moved: effects of every feature over windows, and one feature's histogram against its reference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun, Finding, Report
from monitor.db.profiles import read_profile
from monitor.db.registry import (
    Model,
    Version,
    feature_schema,
    model_named,
    newest_reference,
    reference_for,
    schema_of,
)
from monitor.db.registry import Reference as Row
from monitor.drift.reference import Reference
from monitor.schema import Kind
from monitor.windows import Window

COLUMNS = (
    "feature", "starts", "ends", "status", "magnitude", "effect", "low", "high", "p_value", "e_value", "threshold",
    "fired", "sentence", "rows",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ReportLink:
    """A rendered Evidently report of a window."""

    id: int
    starts: datetime
    ends: datetime
    state: str
    sentence: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """One feature's shares by bin, reference and current; `bins` has columns bin, reference, current."""

    feature: str
    bins: pd.DataFrame
    n_reference: int
    n_current: int
    reference_ends: datetime | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class DriftHistory:
    """Findings of the drift check over the newest windows; `cells` has one row a feature and window."""

    model: str
    cells: pd.DataFrame
    runs: pd.DataFrame
    reports: tuple[ReportLink, ...]
    by_level: frozenset[str] = frozenset()  # features whose effect speaks of one level, not always of the same
    of_vector: Mapping[str, str] = field(default_factory=dict)  # the vector that a feature is a summary of

    def is_empty(self) -> bool:
        return self.runs.empty

    @property
    def features(self) -> list[str]:
        """Features, those that moved most in the newest window first."""
        if self.cells.empty:
            return []
        last = self.newest().sort_values(["fired", "magnitude", "feature"], ascending=[False, False, True])
        return list(last["feature"])

    @property
    def moved(self) -> list[str]:
        """Features that the newest window's check holds responsible."""
        fired = set(self.newest().loc[lambda frame: frame["fired"], "feature"]) if not self.cells.empty else set()
        return [feature for feature in self.features if feature in fired]

    @property
    def headline(self) -> str:
        if self.runs.empty:
            return "Nothing has been checked for drift yet"
        last = self.runs.iloc[-1]
        if last["status"] != "ok":
            return f"Drift was not judged in the last window: {last['sentence'] or last['status']}"
        if not self.moved:
            return f"None of {len(self.features)} features moved in the last window"
        names = ", ".join(self.moved[:3]) + (f" and {len(self.moved) - 3} more" if len(self.moved) > 3 else "")
        since = self.since(self.moved[0])
        return f"{len(self.moved)} of {len(self.features)} features moved since {since:%-d %b}: {names}"

    def newest(self) -> pd.DataFrame:
        """The newest judged window's findings."""
        last: pd.DataFrame = self.cells[self.cells["starts"] == self.cells["starts"].max()]
        return last

    def of(self, feature: str) -> pd.DataFrame:
        """One feature's findings in order of time."""
        path: pd.DataFrame = self.cells[self.cells["feature"] == feature]
        return path

    def since(self, feature: str) -> datetime:
        """The start of the unbroken run of windows in which the feature fired."""
        path = self.of(feature).sort_values("starts")
        quiet = path.loc[~path["fired"] & path["p_value"].notna(), "starts"]  # an unjudged window tells nothing
        fired = path[path["starts"] > quiet.max()] if len(quiet) else path
        begun: datetime = fired["starts"].min().to_pydatetime()
        return begun

    def report_of(self, starts: datetime) -> ReportLink | None:
        """The newest report whose window is not after `starts`, or the newest of all."""
        return next((report for report in self.reports if report.starts <= starts < report.ends), None) or next(
            iter(self.reports), None
        )


def drift_history(session: Session, name: str, *, last: int = 90) -> DriftHistory:
    """The newest `last` windows of the drift check, each by its newest revision."""
    model = model_named(session, name)
    features = schema_of(feature_schema(session, model)).features
    starts = (
        select(CheckRun.starts)
        .where(CheckRun.model_id == model.id, CheckRun.kind == "drift")
        .distinct()
        .order_by(CheckRun.starts.desc())
        .limit(last)
        .subquery()
    )
    found = session.execute(
        select(CheckRun.id, CheckRun.starts, CheckRun.ends, CheckRun.status, CheckRun.sentence, CheckRun.rows)
        .where(CheckRun.model_id == model.id, CheckRun.kind == "drift", CheckRun.starts.in_(select(starts.c.starts)))
        .order_by(CheckRun.starts, CheckRun.rows, CheckRun.revision)
    )
    newest = {run.starts: run for run in found}  # the last of a window: most rows, then the newest revision
    runs = pd.DataFrame(newest.values(), columns=["run", "starts", "ends", "status", "sentence", "rows"])
    return DriftHistory(
        model=model.name,
        cells=_cells(session, runs),
        runs=runs,
        reports=_reports(session, model),
        by_level=frozenset(one.name for one in features if one.kind in (Kind.CATEGORICAL, Kind.BOOLEAN)),
        of_vector={one.name: one.vector for one in features if one.vector is not None},
    )


def _cells(session: Session, runs: pd.DataFrame) -> pd.DataFrame:
    found = session.execute(
        select(
            Finding.check_run_id, Finding.subject, Finding.status, Finding.detail["magnitude"].as_float(),
            Finding.effect, Finding.low, Finding.high, Finding.p_value, Finding.e_value, Finding.threshold,
            Finding.fired, Finding.sentence,
        )
        .where(Finding.check_run_id.in_([int(run) for run in runs["run"]]), Finding.metric == "drift")
        .order_by(Finding.id)
    ).all()  # fmt: skip
    names = ["run", *(column for column in COLUMNS if column not in ("starts", "ends", "rows"))]
    cells = pd.DataFrame(found, columns=names).merge(runs[["run", "starts", "ends", "rows"]], on="run")
    numbers = ["magnitude", "effect", "low", "high", "p_value", "e_value", "threshold"]
    cells[numbers] = cells[numbers].astype(float)
    cells["magnitude"] = cells["magnitude"].fillna(cells["effect"].abs()).fillna(0.0)
    cells["fired"] = cells["fired"].astype(bool)
    return cells[list(COLUMNS)].sort_values(["starts", "feature"], ignore_index=True)


def _reports(session: Session, model: Model) -> tuple[ReportLink, ...]:
    newest = (
        select(Report).where(Report.model_id == model.id).order_by(Report.starts.desc(), Report.id.desc()).limit(50)
    )
    return tuple(
        ReportLink(id=report.id, starts=report.starts, ends=report.ends, state=report.state, sentence=report.sentence)
        for report in session.scalars(newest)
    )


def _judged_against(session: Session, run: CheckRun) -> Row | None:
    """The reference that a run was held against, which a new baseline does not change."""
    kept = session.get(Row, run.document.get("reference_id") or 0)
    return kept or reference_for(session, session.get_one(Version, run.version_id))


def histogram(session: Session, name: str, feature: str, starts: datetime, ends: datetime) -> Histogram | None:
    """Where one feature's values lay in the reference and in a window; None where either has no counts."""
    model = model_named(session, name)
    run = session.scalar(
        select(CheckRun)
        .where(CheckRun.model_id == model.id, CheckRun.kind == "drift", CheckRun.starts == starts)
        .order_by(CheckRun.rows.desc(), CheckRun.revision.desc())
    )
    row = _judged_against(session, run) if run else newest_reference(session, model)
    if row is None:
        return None
    reference = Reference.from_document(row.document)
    if feature not in reference.binning.position:
        return None
    current = read_profile(
        session,
        model_id=model.id,
        version_id=run.version_id if run else row.version_id,
        binning=reference.binning,
        window=Window(starts, ends),
    )
    if current is None or not current.rows or not reference.rows:
        return None
    before, after = reference.total.counts_of(feature), current.counts_of(feature)
    bins = pd.DataFrame({"bin": reference.binning[feature].labels, "reference": before, "current": after})
    bins[["reference", "current"]] /= bins[["reference", "current"]].sum()
    return Histogram(
        feature=feature, bins=bins, n_reference=reference.rows, n_current=current.rows, reference_ends=row.ends
    )  # fmt: skip
