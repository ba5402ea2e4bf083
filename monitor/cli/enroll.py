"""Register a model with what its first traffic says is normal: for the demo, for backtest and for watch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy.orm import Session

from monitor.acts import baselines, registry
from monitor.artifacts import Manifest
from monitor.artifacts.load import LoadedModel
from monitor.db.registry import Model, ModelSettings, Version
from monitor.drift import Reference, with_predictions
from monitor.errors import NotEnoughData
from monitor.governance.roles import Actor
from monitor.jobs.samples import judged
from monitor.jobs.stress import baseline_for
from monitor.performance import Measured, measure
from monitor.performance.tolerance import limit_of
from monitor.schema import Schema
from monitor.windows import Window


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A registered file and the model loaded from it."""

    manifest: Manifest
    model: LoadedModel


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """A model as its owner declares it, with its reference windows.

    `judged` are the labelled rows, later in time than any that the model was trained on, that reference performance and
    the stress test at registration are measured on.
    """

    name: str
    owner: str
    task: str
    schema: Schema
    settings: ModelSettings
    windows: Sequence[tuple[Window, pd.DataFrame]]
    judged: pd.DataFrame
    artefact: Artefact | None = None
    tier: int = 1


def enroll(session: Session, enrolment: Enrolment, *, by: Actor, now: datetime, seed: int = 0) -> tuple[Model, Version]:
    """Register the model, its first version as champion, and its reference where there are windows for it."""
    model = registry.register_model(
        session,
        name=enrolment.name,
        owner=enrolment.owner,
        task=enrolment.task,
        tier=enrolment.tier,
        schema=enrolment.schema,
        settings=enrolment.settings,
        by=by,
        now=now,
    )
    version = registry.register_version(
        session,
        model,
        manifest=enrolment.artefact.manifest if enrolment.artefact else None,
        baseline=baseline(enrolment, seed=seed),
        by=by,
        now=now,
    )
    registry.set_champion(session, model, version, by=by, now=now)
    if not enrolment.windows:  # too few to say what is normal; the platform learns it from traffic
        return model, version
    rows = pd.concat([frame for _, frame in enrolment.windows])
    schema = with_predictions(enrolment.schema, rows, several=bool(enrolment.settings.classes))
    reference = Reference.fit(
        [(window, frame[list(schema.names)]) for window, frame in enrolment.windows], schema=schema
    )
    baselines.accept_reference(session, model, version, reference, by=by, now=now)
    return model, version


def baseline(enrolment: Enrolment, *, seed: int) -> dict[str, Any]:
    """Reference performance with its limit, and the stress test at registration, as `Version.baseline` stores them."""
    measured = reference_performance(enrolment, seed=seed)
    if measured is None:
        return {}
    document: dict[str, Any] = {
        "metric": measured.to_document(),
        "limit": limit_of(measured, setting=enrolment.settings.limit),
    }
    if enrolment.artefact is not None:
        document |= baseline_for(
            enrolment.artefact.model,
            enrolment.judged,
            enrolment.schema,
            enrolment.settings,
            task=enrolment.task,
            seed=seed,
        )
    return document


def reference_performance(enrolment: Enrolment, *, seed: int) -> Measured | None:
    """The metric on the judged rows; None without labels or without anything to hold against them."""
    rows = enrolment.judged
    if "label" not in rows or not ({"score", "prediction"} & set(rows.columns)):
        return None
    found = judged(
        rows[rows["label"].notna()].reindex(columns=[*rows.columns, *({"score", "prediction"} - set(rows.columns))]),
        enrolment.task,
        enrolment.settings,
    )
    try:
        return measure(enrolment.task, found.y, score=found.score, prediction=found.prediction, seed=seed)
    except NotEnoughData:
        return None


def later_half(windows: Sequence[Window]) -> tuple[list[Window], list[Window]]:
    """The windows to train on and the later ones to judge on, about half each."""
    half = (len(windows) + 1) // 2
    return list(windows[:half]), list(windows[half:])
