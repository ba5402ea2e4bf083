"""Champion and candidate on the same live traces: losses into a confidence sequence, decisions counted."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from monitor.acts.shadow import Loss, ShadowVerdict, Terms, abandon_shadow, conclude
from monitor.artifacts import Manifest
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import MOST_ATTEMPTS, Claimed
from monitor.db.registry import Model, ModelSettings, Version
from monitor.db.retraining import Proposal, Shadow
from monitor.db.traces import read_traces
from monitor.errors import BadInput, JobFailed, NotFound
from monitor.governance import ProposalState
from monitor.jobs import score_child
from monitor.jobs.child import run_in_child
from monitor.jobs.context import Tools, effect
from monitor.jobs.shadow_due import ShadowDue, shadow_due
from monitor.performance import Task
from monitor.performance.confidence_sequence import ConfidenceSequence
from monitor.performance.metrics import brier_rows
from monitor.schema import FloatArray
from monitor.windows import Window

MOST_ROWS = 20_000  # of a window
EXAMPLES = 50
_HALF = 0.5
_CLIPPED = 4.0  # mean errors: an error beyond counts as this, so that no row outweighs all others


@dataclass(frozen=True, kw_only=True, eq=False)
class _Live:
    """What a job reads before it works: the rows of every due window, in order of time."""

    shadow: Shadow
    model: Model
    settings: ModelSettings
    champion: Version
    candidate: Version
    terms: Terms
    due: ShadowDue
    frame: pd.DataFrame

    def of(self, windows: tuple[Window, ...]) -> NDArray[np.bool_]:
        """Which rows (n,) lie in these windows."""
        chosen = np.zeros(len(self.frame), dtype=np.bool_)
        for window in windows:
            times = self.frame["event_time"]
            chosen |= ((times >= window.start) & (times < window.end)).to_numpy(np.bool_)
        return chosen


@dataclass(frozen=True, kw_only=True, eq=False)
class _Said:
    """One version on the live rows: scores or values, and decisions, NaN where it says nothing; shapes (n,).

    Of several classes `said` are their probabilities (n, k), and decisions class numbers.
    """

    said: FloatArray
    decided: FloatArray

    @property
    def speaks(self) -> NDArray[np.bool_]:
        """Of which rows (n,) it said something."""
        return np.asarray(np.isfinite(self.said.reshape(len(self.said), -1)).all(axis=1), dtype=np.bool_)


def run(tools: Tools, job: Claimed) -> None:
    """Look at what is due; the state after it commits with the job."""
    with transaction(tools.engine) as session:
        live = _read(session, int(job.payload["proposal_id"]))
        session.expunge_all()
    document, why = None, ""
    try:
        document = None if live is None else _looked_at(tools, live)
    except (BadInput, NotFound) as error:  # the same files and rows would say the same again
        why = str(error)
    except JobFailed as error:
        if job.attempts < MOST_ATTEMPTS:
            raise
        why = str(error)
    with effect(tools, job, point="shadow") as session:
        shadow = session.get_one(Shadow, job.payload["proposal_id"], with_for_update=True)
        now = database_now(session)
        if shadow.state != "running":
            return
        if why:
            conclude(session, shadow, ShadowVerdict.FAILED, why=why, now=now)
            return
        if live is None or document is None:
            abandon_shadow(session, shadow, now=now)
            return
        shadow.document, shadow.updated_at = document, now
        shadow.rows = document["sequence"]["n"]
        shadow.until = pd.Timestamp(document["judged_until"]).to_pydatetime()
        session.flush()
        verdict = verdict_of(document, over=live.due.over)
        if verdict is not None:
            conclude(session, shadow, verdict, now=now)


def verdict_of(document: dict[str, Any], *, over: bool) -> ShadowVerdict | None:
    """Decided as soon as the interval leaves the limit on either side, however often one looked before."""
    low, high = ConfidenceSequence.from_document(document["sequence"]).interval
    if high < document["limit"]:
        return ShadowVerdict.NOT_WORSE
    if low > document["limit"]:
        return ShadowVerdict.WORSE
    return ShadowVerdict.UNDECIDED if over else None


def _read(session: Session, proposal_id: int) -> _Live | None:
    """None when nobody decides on the candidate any more."""
    shadow, proposal = session.get(Shadow, proposal_id), session.get_one(Proposal, proposal_id)
    if shadow is None:
        raise NotFound(f"proposal {proposal_id} has no shadow")
    if proposal.state != ProposalState.AWAITING_PROMOTION:
        return None
    model = session.get_one(Model, proposal.model_id)
    due, champion = shadow_due(session, shadow, model), session.get_one(Version, shadow.champion_id)
    frames = [
        read_traces(session, model, window, version=champion.name, limit=MOST_ROWS)
        for window in sorted({*due.seen, *due.judged})
    ]
    return _Live(
        shadow=shadow, model=model, settings=ModelSettings.of(model), champion=champion,
        candidate=session.get_one(Version, shadow.candidate_id), terms=Terms.from_document(shadow.document), due=due,
        frame=pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
    )  # fmt: skip


def _looked_at(tools: Tools, live: _Live) -> dict[str, Any]:
    """The shadow's document after the due windows."""
    document = dict(live.shadow.document)
    if live.due.seen:
        document["seen_until"] = live.due.seen[-1].end.isoformat()
    if live.due.judged:
        document["judged_until"] = live.due.judged[-1].end.isoformat()
    if live.frame.empty:
        return document
    scores = _scored(tools, live)
    new = _candidate(live, scores["candidate"])
    old = _champion(live, scores.get("champion"))
    document["decisions"] = _decisions(live, document["decisions"], old, new)
    before = ConfidenceSequence.from_document(document["sequence"])
    document["sequence"] = before.update(_differences(live, old, new)).to_document()
    return document


def _scored(tools: Tools, live: _Live) -> dict[str, FloatArray]:
    """The candidate's scores, and the champion's where its traces report none."""
    manifests = {"candidate": Manifest.from_document(live.candidate.manifest)}
    if live.terms.champion_by == "artefact":
        manifests["champion"] = Manifest.from_document(live.champion.manifest)
    features = [name for name in live.frame.columns if name in manifests["candidate"].schema_of_features.names]
    with tempfile.TemporaryDirectory(prefix="holdfast-shadow-") as name:
        folder = Path(name)
        score_child.write_work(
            folder, live.frame[features], manifests=manifests, store=tools.store, factories=sorted(tools.factories)
        )
        run_in_child(score_child.WORK, folder, tools=tools)
        return score_child.read_scores(folder, list(manifests))


def _candidate(live: _Live, said: FloatArray) -> _Said:
    return _Said(said=said, decided=said if _is_regression(live) else _decided(live.candidate, said))


def _champion(live: _Live, scored: FloatArray | None) -> _Said:
    """What its traces report; its own scores where they report none."""
    traced = pd.to_numeric(live.frame["score"], errors="coerce").to_numpy(np.float64)
    predicted = live.settings.labels(live.model.task).numbers(live.frame["prediction"])
    if _is_regression(live):
        values = scored if scored is not None else np.where(np.isfinite(predicted), predicted, traced)
        return _Said(said=values, decided=values)
    if scored is None and live.settings.classes:  # the probability of the class that was predicted, whichever it was
        return _Said(said=np.full(len(predicted), np.nan), decided=predicted)
    said = scored if scored is not None else traced
    return _Said(said=said, decided=np.where(np.isfinite(predicted), predicted, _decided(live.champion, said)))


def _decided(version: Version, said: FloatArray) -> FloatArray:
    """Classes 0 and 1 by the version's own threshold, of several the likeliest; NaN where it said nothing."""
    if said.ndim == 2:
        return np.where(np.isfinite(said).all(axis=1), said.argmax(axis=1), np.nan)
    given = version.baseline.get("operating_threshold")
    return np.where(np.isfinite(said), (said > (_HALF if given is None else given)).astype(np.float64), np.nan)


def _decisions(live: _Live, before: dict[str, Any], old: _Said, new: _Said) -> dict[str, Any]:
    """How many decisions change, labelled or not, with the first fifty as examples."""
    known = live.of(live.due.seen) & np.isfinite(old.decided) & np.isfinite(new.decided)
    unit = live.terms.unit or 0.0
    changed = known & (np.abs(new.decided - old.decided) > (unit if _is_regression(live) else 0.0))
    ids = live.frame["trace_id"].to_numpy(object)[changed]
    return {
        "rows": before["rows"] + int(known.sum()),
        "changed": before["changed"] + int(changed.sum()),
        "examples": [*before["examples"], *(str(one) for one in ids)][:EXAMPLES],
    }


def _differences(live: _Live, old: _Said, new: _Said) -> FloatArray:
    """Loss of the candidate less that of the champion on every labelled row that both speak of, in order of time."""
    labels = live.settings.labels(live.model.task)
    y = labels.numbers(live.frame["label"])
    known = live.of(live.due.judged) & labels.usable(y) & new.speaks
    match live.terms.loss:
        case Loss.BRIER:
            known &= old.speaks
            losses = [brier_rows(y[known], np.clip(one.said[known], 0, 1)) for one in (old, new)]
        case Loss.WRONG:
            known &= np.isfinite(old.decided)
            losses = [(one.decided[known] != y[known]).astype(np.float64) for one in (old, new)]
        case Loss.ABSOLUTE:
            known &= np.isfinite(old.said)
            most = _CLIPPED * (live.terms.unit or 1.0)
            losses = [np.minimum(np.abs(one.said[known] - y[known]) / most, 1.0) for one in (old, new)]
    return np.asarray(losses[1] - losses[0], dtype=np.float64)


def _is_regression(live: _Live) -> bool:
    return Task(live.model.task) is Task.REGRESSION


def terms_of(
    task: str, y: FloatArray, *, score: FloatArray | None, prediction: FloatArray | None, artefact: FloatArray | None
) -> Terms:
    """On what a shadow will compare, by what is known of the champion on the held-out rows."""
    if Task(task) is Task.REGRESSION:
        said = prediction if prediction is not None else artefact
        assert said is not None  # gates were judged on one of the two
        by = "traces" if prediction is not None else "artefact"
        return Terms(loss=Loss.ABSOLUTE, champion_by=by, unit=float(np.abs(y - said).mean()))
    if score is not None and bool(((score >= 0) & (score <= 1)).all()):
        return Terms(loss=Loss.BRIER, champion_by="traces")
    if artefact is not None:
        return Terms(loss=Loss.BRIER, champion_by="artefact")
    return Terms(loss=Loss.WRONG, champion_by="traces")
