"""What is known of a window, gathered from its newest check runs, and the verdict that it amounts to."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from monitor.db.checks import CheckRun, WindowVerdict
from monitor.db.registry import Model, Version
from monitor.drift.predictions import PREDICTIONS
from monitor.drift.quality import QualityFinding, QualityKind
from monitor.drift.report import State
from monitor.performance import EvasionEvidence, Facts, Judgement, Measured
from monitor.performance import judge as judgement_of
from monitor.windows import Window


@dataclass(frozen=True, kw_only=True)
class Known:
    """The newest run of each monitor on one window, by kind, and what follows from them."""

    window: Window
    runs: dict[str, CheckRun]
    facts: Facts
    judgement: Judgement

    @property
    def leading(self) -> tuple[str, ...]:
        """The moved features that an alert names as culprits: the largest, and those at least half as large.

        Magnitude is √PSI, which is comparable across kinds of features; the others are told of as moved too.
        """
        features = self.runs["drift"].document.get("features", {}) if "drift" in self.runs else {}
        size = {name: features.get(name, {}).get("magnitude") or 0.0 for name in self.facts.moved}
        largest = max(size.values(), default=0.0)
        return tuple(sorted((name for name in size if size[name] >= largest / 2), key=lambda name: -size[name]))

    @property
    def is_judged(self) -> bool:
        """Whether a verdict can be given: broken data, a detector that saw the window, or mature labels."""
        drift = self.runs.get("drift")
        seen = drift is not None and drift.status == "ok"
        return self.is_broken or seen or self.facts.realised is not None or self.facts.stress_below_registration

    @property
    def is_broken(self) -> bool:
        return any(finding.breaks_pipeline for finding in self.facts.quality)

    @property
    def is_open(self) -> bool:
        """Whether the detector's incident is open."""
        return "drift" in self.runs and self.runs["drift"].document.get("state") == State.OPEN

    @property
    def evading(self) -> str | None:
        """The feature in which somebody adapts to the model."""
        document = self.runs["performance"].document.get("evasion") if "performance" in self.runs else None
        return document.get("name") if document and document.get("detected") else None

    @property
    def fragile(self) -> dict[str, Any]:
        """What the stress test found of the features that it leans on, {} unless it fell below its registration."""
        return self.runs["stress"].document if self.facts.stress_below_registration else {}

    @property
    def rows(self) -> int:
        counted = self.runs.get("quality") or self.runs.get("drift")
        return counted.rows if counted else 0

    @property
    def metric(self) -> dict[str, Any]:
        """The realised metric with its coverage, {} before there is one."""
        realised = self.facts.realised
        return realised.to_document() | {"coverage": self.facts.label_coverage} if realised else {}


def known_of(session: Session, version: Version, window: Window) -> Known:
    """Read the newest revision of every monitor's run on the window; a stress test counts where it ends."""
    chosen = (
        select(CheckRun)
        .where(
            CheckRun.version_id == version.id,
            CheckRun.ends == window.end,
            or_(CheckRun.starts == window.start, CheckRun.kind == "stress"),
        )
        .order_by(CheckRun.revision, CheckRun.id)
    )
    runs = {run.kind: run for run in session.scalars(chosen)}  # the newest revision comes last
    facts = _facts(runs)
    return Known(window=window, runs=runs, facts=facts, judgement=judgement_of(facts))


def _facts(runs: dict[str, CheckRun]) -> Facts:
    quality, drift, performance, stress = (
        runs[kind].document if kind in runs else {} for kind in ("quality", "drift", "performance", "stress")
    )
    realised = performance.get("metric")
    evasion = performance.get("evasion")
    return Facts(
        quality=tuple(_finding(entry) for entry in quality.get("findings", ())),
        moved=_moved(drift) if drift.get("state") == State.OPEN else (),
        realised=Measured.from_document(realised) if realised else None,
        limit=performance.get("limit"),
        labels_mature=realised is not None,  # a window is measured once its labels are mature
        label_coverage=performance.get("coverage", 0.0),
        stress_below_registration=bool(stress.get("below_registration")),
        stress_sentence=runs["stress"].sentence if stress.get("below_registration") else "",
        evasion=_evasion(evasion) if evasion else None,
    )


def _moved(drift: dict[str, Any]) -> tuple[str, ...]:
    """The culprits; what the model said counts only where no feature explains it."""
    culprits = tuple(drift.get("culprits", ()))
    return tuple(name for name in culprits if name not in PREDICTIONS) or culprits


def _finding(entry: dict[str, Any]) -> QualityFinding:
    return QualityFinding(**{**entry, "kind": QualityKind(entry["kind"])})


def _evasion(entry: dict[str, Any]) -> EvasionEvidence:
    return EvasionEvidence(**{name: entry[name] for name in EvasionEvidence.__dataclass_fields__})


def record_verdict(session: Session, model: Model, version: Version, known: Known) -> bool:
    """Write the verdict as the next revision if it says anything new; whether the word itself changed."""
    newest = session.scalar(
        select(WindowVerdict)
        .where(
            WindowVerdict.version_id == version.id, WindowVerdict.starts == known.window.start,
            WindowVerdict.ends == known.window.end,
        )
        .order_by(WindowVerdict.revision.desc())
        .limit(1)
    )  # fmt: skip
    judgement = known.judgement
    if newest is not None and (newest.verdict, newest.sentence, newest.metric) == (
        judgement.verdict, judgement.sentence, known.metric,
    ):  # fmt: skip
        return False
    session.add(
        WindowVerdict(
            model_id=model.id,
            version_id=version.id,
            starts=known.window.start,
            ends=known.window.end,
            revision=0 if newest is None else newest.revision + 1,
            verdict=judgement.verdict,
            sentence=judgement.sentence,
            advice=judgement.advice,
            rows=known.rows,
            metric=known.metric,
        )
    )
    session.flush()
    return newest is not None and newest.verdict != judgement.verdict
