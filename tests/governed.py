"""A small real model under governance that the tests of acts, training and promotion share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from monitor.acts.registry import register_model, register_version, set_champion
from monitor.acts.retraining import propose
from monitor.artifacts import Manifest, Store, attach_trained
from monitor.db.alerts import Alert
from monitor.db.registry import Model, ModelSettings, Version, feature_schema
from monitor.db.retraining import Proposal
from monitor.db.traces import append_labels
from monitor.db.users import create_user, find_user
from monitor.governance import POLICY, Actor, Evidence, Role
from monitor.jobs.context import Tools
from monitor.jobs.failpoints import Failpoints
from monitor.performance.verdict import Verdict
from monitor.schema import Schema
from monitor.training import Recipe, Trained, train
from tests.batches import append

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
NOW = datetime.now(UTC).replace(microsecond=0)  # votes and expiry go by the database's clock
FEATURES = ("amount", "age", "channel")

ADMIN = Actor(id="root", name="root", roles=frozenset({Role.ADMIN}))
ANA = Actor(id="ana", name="ana", roles=frozenset({Role.APPROVER}))
BEN = Actor(id="ben", name="ben", roles=frozenset({Role.APPROVER}))
VAL = Actor(id="val", name="val", roles=frozenset({Role.VALIDATOR}))
OMAR = Actor(id="omar", name="omar", roles=frozenset({Role.OPERATOR}))

PASSED_GATES = [{"name": "clean", "value": 0.01, "limit": -0.005, "passed": True, "sentence": "Clean auroc rose."}]


@dataclass(frozen=True, kw_only=True)
class Governed:
    """What the tests refer to."""

    model: Model
    champion: Version


def people(session: Session) -> None:
    """Accounts of everybody that the tests name: the database asks who may decide."""
    for actor in (ADMIN, ANA, BEN, VAL, OMAR):
        if find_user(session, actor.name) is None:
            create_user(session, actor.name, sorted(actor.roles))


def day_of(number: int, *, rows: int = 60, moved: bool = False) -> pd.DataFrame:
    """A day's rows with their truth; once `moved`, the sign of amount's effect is turned round."""
    rng = np.random.default_rng([5, number])
    amount, age = rng.normal(100, 20, rows), rng.normal(40, 10, rows)
    logit = (-1 if moved else 1) * (amount - 100) / 8 + (age - 40) / 10
    return pd.DataFrame(
        {
            "trace_id": [f"d{number}-{i}" for i in range(rows)],
            "event_time": [BEGIN + number * DAY + DAY * (i / rows) for i in range(rows)],
            "amount": amount,
            "age": age,
            "channel": rng.choice(["app", "web"], rows),
            "label": np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "1", "0"),
        }
    )


def schema() -> Schema:
    return Schema.infer(day_of(0)[list(FEATURES)], mutable=["amount"])


@cache
def trained_champion() -> Trained:
    """Trained once a run, on the world before it moved."""
    frame = pd.concat([day_of(1_000 + n) for n in range(10)])
    quick = Recipe(name="quick", epochs=4, min_steps=60, max_steps=60)
    y = (frame["label"] == "1").to_numpy(np.float64)
    return train(schema().encode(frame), y, schema(), task="binary", recipe=quick, seed=0)


def tools_for(engine: Engine, folder: Path, *, failpoint: str | None = None, children: bool = False) -> Tools:
    return Tools(
        engine=engine, store=Store(folder / "artifacts"), home=folder, code_version="test", hardware="test",
        failpoints=Failpoints(failpoint, folder), children=children,
    )  # fmt: skip


def govern(
    session: Session, *, tier: int = 1, solo: bool = False, manifest: Manifest | None = None,
    baseline: Mapping[str, object] | None = None, task: str = "classification",
) -> Governed:  # fmt: skip
    """The model `fraud` with champion v1, and the people."""
    people(session)
    settings = ModelSettings(positive="1" if task == "classification" else None)
    model = register_model(
        session, name="fraud", owner="ana", task=task, tier=tier, solo=solo, schema=schema(), settings=settings,
        by=ADMIN, now=NOW,
    )  # fmt: skip
    version = register_version(session, model, manifest=manifest, baseline=dict(baseline or {}), by=ADMIN, now=NOW)
    set_champion(session, model, version, by=ADMIN, now=NOW)
    return Governed(model=model, champion=version)


def with_artefact(session: Session, store: Store) -> Governed:
    """The same with the trained champion in the store."""
    manifest = attach_trained(trained_champion(), store, schema=schema())
    metric = {"name": "auroc", "value": 0.9, "low": 0.88, "high": 0.92, "n": 500, "higher_is_better": True}
    return govern(session, manifest=manifest, baseline={"metric": metric, "limit": 0.8})


def serve(session: Session, model: Model, first: int, last: int, *, moved_from: int = 10_000, rows: int = 60) -> None:
    """Days [first, last) of traffic, kept, labelled, with a score that followed the world before it moved."""
    for number in range(first, last):
        frame = day_of(number, rows=rows, moved=number >= moved_from)
        score = 1 / (1 + np.exp(-((frame["amount"] - 100) / 8 + (frame["age"] - 40) / 10)))
        traces = frame.assign(version="v1", score=score, prediction=None, kept=True, weight=1.0)
        append(session, model, feature_schema(session, model), traces.drop(columns="label"))
        append_labels(session, model, frame[["trace_id", "label"]].assign(label_time=frame["event_time"]))
    model.watermark = BEGIN + last * DAY
    session.flush()


def late(session: Session, model: Model, frame: pd.DataFrame) -> None:
    """Further labelled rows, whenever they are said to have happened."""
    traces = frame.assign(version="v1", score=0.5, prediction=None, kept=True, weight=1.0)
    append(session, model, feature_schema(session, model), traces.drop(columns="label"))
    append_labels(session, model, frame[["trace_id", "label"]].assign(label_time=frame["event_time"]))


def alerted(session: Session, governed: Governed, day: int) -> Alert:
    """A harmful alert that began on a day."""
    alert = Alert(
        model_id=governed.model.id, version_id=governed.champion.id, kind="performance", cause="performance",
        severity="page", state="firing", verdict="concept_drift", starts=BEGIN + day * DAY,
        ends=BEGIN + (day + 1) * DAY,
    )  # fmt: skip
    session.add(alert)
    session.flush()
    return alert


def proposed(
    session: Session, model: Model, *, by: Actor = POLICY, now: datetime = NOW, alert: Alert | None = None
) -> Proposal:
    """An open proposal on a small evidence."""
    evidence = Evidence(verdict=Verdict.CONCEPT_DRIFT, sentence="AUC fell.", expected_benefit="Back to 0.900.")
    proposal = propose(
        session, model, evidence=evidence, verdict=evidence.verdict, reason="AUC fell.",
        alert_id=alert.id if alert else None, snapshot={}, by=by, now=now,
    )  # fmt: skip
    assert proposal is not None
    return proposal
