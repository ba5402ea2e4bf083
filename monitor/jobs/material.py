"""What a retraining learns from and is judged on: the snapshot's rows in order of time, the last of them held out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from sqlalchemy.orm import Session

from monitor.db.alerts import Alert
from monitor.db.read_training import TrainingRows, newest_training_rows, training_rows
from monitor.db.registry import Model, ModelSettings, Version, feature_schema, schema_of
from monitor.db.retraining import Proposal
from monitor.errors import NotEnoughData
from monitor.governance import ProposalState
from monitor.jobs.samples import Judged, judged
from monitor.performance import Labels
from monitor.performance.verdict import Verdict
from monitor.robustness import Task
from monitor.schema import MAX_LEVELS, FloatArray, Schema
from monitor.training.checks import MIN_OF_A_CLASS
from monitor.windows import Window

HELD_OUT_SHARE = 0.25
LEAST_HELD_OUT = 200
LEAST_ROWS = 200
OLDER_TO_NEWER = 2  # rows from before the change for each one since, so that the new world is not outvoted
_LEAST_NEW_LEVEL = 5  # rows of a level that nobody declared, before a candidate learns it


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """Everything that a retraining reads from the database, so that it needs none while it works.

    `frame` are raw features, `y` targets (n,), `score` and `prediction` what the traces report, None where they report
    none, `times` when (UTC); all in order of time. The last `held` rows are never trained on.
    """

    proposal: Proposal
    model: Model
    champion: Version
    settings: ModelSettings
    schema: Schema
    frame: pd.DataFrame
    y: FloatArray
    score: FloatArray | None
    prediction: FloatArray | None
    held: int
    snapshot: TrainingRows
    times: "pd.Series[pd.Timestamp]"

    @property
    def task(self) -> Task:
        return Task(self.model.task)

    @property
    def labels(self) -> Labels:
        """How labels became `y`."""
        return self.settings.labels(self.model.task)

    @property
    def cut(self) -> int:
        """The first held-out row."""
        return len(self.y) - self.held


def read_material(session: Session, proposal: Proposal) -> Material:
    """The newest labelled rows, or those of the snapshot with which the training began before.

    Raises:
        NotEnoughData: too few labelled rows to train on and to judge with, or too few of a class.
    """
    model = session.get_one(Model, proposal.model_id)
    settings = ModelSettings.of(model)
    rows = _rows(session, model, proposal)
    found = _learnable(judged(rows.frame, model.task, settings), settings.labels(model.task))
    if len(found.y) < LEAST_ROWS:
        raise NotEnoughData(
            f"expected at least {LEAST_ROWS} labelled rows to retrain on, got {len(found.y)} from "
            f"{rows.window.start:%-d %b %Y} to {rows.window.end:%-d %b %Y}: wait for labels"
        )
    declared = schema_of(feature_schema(session, model))
    alert = session.get(Alert, proposal.alert_id) if proposal.alert_id is not None else None
    changed, n = _rows_since(found.frame["event_time"], alert.starts if alert else None), len(found.y)
    held = held_out(n, since_change=changed)
    first = n - changed - older_kept(n - changed, newer=changed - held, verdict=proposal.verdict)
    frame = found.frame[list(declared.names)].iloc[first:].reset_index(drop=True)
    settings.labels(model.task).require_every_class(found.y[first : n - held], least=MIN_OF_A_CLASS)
    return Material(
        proposal=proposal,
        model=model,
        champion=session.get_one(Version, proposal.champion_id),
        settings=settings,
        schema=with_seen_levels(declared, frame.iloc[: len(frame) - held]),
        frame=frame,
        y=found.y[first:],
        score=None if found.score is None else found.score[first:],
        prediction=None if found.prediction is None else found.prediction[first:],
        held=held,
        snapshot=rows,
        times=found.frame["event_time"].iloc[first:].reset_index(drop=True),
    )


def _learnable(found: Judged, labels: Labels) -> Judged:
    """Without rows whose label is none of the model's classes: nobody can learn or be judged on those."""
    known = labels.usable(found.y)
    return Judged(
        frame=found.frame[known], y=found.y[known], score=None if found.score is None else found.score[known],
        prediction=None if found.prediction is None else found.prediction[known],
    )  # fmt: skip


def held_out(n: int, *, since_change: int) -> int:
    """How many of the newest of n rows are held out: a quarter of those since the change, so that the rest are learned.

    >>> held_out(10_000, since_change=10_000), held_out(10_000, since_change=4_000)
    (2500, 1000)
    """
    return min(max(int(HELD_OUT_SHARE * since_change), LEAST_HELD_OUT), int(n * HELD_OUT_SHARE))


def older_kept(older: int, *, newer: int, verdict: str) -> int:
    """How many of the rows from before the change are learned beside the `newer` ones since.

    None when the concept drifted and the newer ones are enough: the older ones teach what is no longer true.

    >>> older_kept(9_000, newer=2_000, verdict="harmful_covariate_shift")
    4000
    >>> older_kept(9_000, newer=2_000, verdict="concept_drift")
    0
    """
    if verdict == Verdict.CONCEPT_DRIFT and newer >= LEAST_ROWS:
        return 0
    return min(older, max(OLDER_TO_NEWER * newer, LEAST_ROWS))


def _rows_since(times: "pd.Series[pd.Timestamp]", moment: datetime | None) -> int:
    """Rows since the change; all of them where it is not known or too few have come since."""
    since = len(times) if moment is None else int((times >= moment).sum())
    return since if since > LEAST_HELD_OUT else len(times)


def with_seen_levels(schema: Schema, frame: pd.DataFrame) -> Schema:
    """The schema with the levels that came up since it was declared, the most frequent first.

    >>> schema = Schema.infer(pd.DataFrame({"channel": ["app", "web"]}))
    >>> with_seen_levels(schema, pd.DataFrame({"channel": ["app"] + ["kiosk"] * 9}))["channel"].levels
    ('app', 'web', 'kiosk')
    """
    features = (
        replace(feature, levels=(*feature.levels, *_new_levels(frame[feature.name], feature.levels)))
        if feature.is_categorical
        else feature
        for feature in schema.features
    )
    return replace(schema, features=tuple(features))


def _new_levels(column: "pd.Series[str]", known: Sequence[str]) -> list[str]:
    counts = column.dropna().astype(str).value_counts()
    new = [str(level) for level, rows in counts.items() if level not in set(known) and rows >= _LEAST_NEW_LEVEL]
    return new[: max(0, MAX_LEVELS - len(known))]


def _rows(session: Session, model: Model, proposal: Proposal) -> TrainingRows:
    """The newest rows when a training begins; when it begins again after a crash, those that it began with."""
    snapshot = proposal.snapshot
    if proposal.state != ProposalState.QUEUED and snapshot.get("rows"):
        span = Window(datetime.fromisoformat(snapshot["starts"]), datetime.fromisoformat(snapshot["ends"]))
        return training_rows(session, model, span)
    return newest_training_rows(session, model, model.watermark or proposal.created_at)


def operating_threshold(scores: FloatArray, y: FloatArray) -> float:
    """The score above which as many rows lie as there are positives."""
    return float(np.quantile(scores, 1 - float((y > 0).mean())))
