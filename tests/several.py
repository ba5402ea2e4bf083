"""A small stream of three classes that two of its numbers tell, and a service that knows how they are made."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from monitor.acts.baselines import accept_reference
from monitor.acts.registry import register_model, register_version, set_champion
from monitor.artifacts import Manifest, Store, attach_trained, load_model
from monitor.db.engine import database_now, transaction
from monitor.db.registry import ModelSettings
from monitor.drift import Reference, with_predictions
from monitor.jobs.stress import baseline_for
from monitor.schema import FloatArray, Schema
from monitor.training import Trained, train
from tests.governed import ADMIN, BEGIN, DAY, people
from tests.streams import REFERENCE_DAYS, serve_days, window

CLASSES = ("basic", "plus", "premium")
OTHERS = ("visits", "calls", "tenure", "distance")  # which say nothing, and keep rows of two classes apart
NAMES = ("amount", "age", *OTHERS, "channel")
_WEIGHTS = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])


@dataclass(frozen=True, kw_only=True)
class Plans:
    """From day `turned` on people want the next plan, though they are the same people; `strange` rows want another.

    From day `gone` on nobody wants the last plan any more.
    """

    seed: int = 0
    rows: int = 150
    turned: int = 10_000
    strange: int = 0
    gone: int = 10_000

    def day(self, number: int, *, version: str = "v1") -> pd.DataFrame:
        """The rows of a day, with labels and what the service predicted."""
        rng = np.random.default_rng([self.seed, number + 1_000])
        amount, age = rng.normal(size=self.rows), rng.normal(size=self.rows)
        logits = np.column_stack([amount, age]) @ _WEIGHTS.T
        wanted = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        if number >= self.turned:
            wanted = (wanted + 1) % 3
        if number >= self.gone:
            wanted = np.minimum(wanted, 1)
        label = np.array(CLASSES, dtype=object)[wanted]
        label[: self.strange] = "family"
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return pd.DataFrame(
            {
                "trace_id": [f"{version}-{number}-{i}" for i in range(self.rows)],
                "event_time": pd.date_range(BEGIN + number * DAY, periods=self.rows, freq=DAY / self.rows),
                "version": version,
                "score": chances.max(axis=1),
                "prediction": np.array(CLASSES, dtype=object)[chances.argmax(axis=1)],
                "amount": 100 + 20 * amount,
                "age": 40 + 10 * age,
                **{name: rng.normal(size=self.rows) for name in OTHERS},
                "channel": rng.choice(["app", "web"], self.rows),
                "label": label,
            }
        )  # fmt: skip

    def days(self, first: int, last: int) -> pd.DataFrame:
        return pd.concat([self.day(number) for number in range(first, last)], ignore_index=True)


def schema() -> Schema:
    return Schema.infer(Plans().day(0)[list(NAMES)], mutable=["amount"])


def targets(frame: pd.DataFrame) -> FloatArray:
    return np.array([CLASSES.index(label) for label in frame["label"]], dtype=np.float64)


@cache
def trained() -> Trained:
    """A network of the days before the reference."""
    rows = Plans().days(-20, -8)
    return train(schema().encode(rows), targets(rows), schema(), task="multiclass", recipe="standard")


def manifest_in(store: Store) -> Manifest:
    return attach_trained(trained(), store, schema=schema(), classes=CLASSES)


def register(engine: Engine, store: Store, *, artefact: bool = False, **settings: object) -> None:
    """The model `fraud`, as the stream's helpers call theirs, with its reference of 28 days served."""
    world, chosen = Plans(), ModelSettings(classes=list(CLASSES), **settings)
    manifest = manifest_in(store) if artefact else None
    baseline = {}
    if manifest is not None:
        baseline = baseline_for(load_model(manifest, store), world.days(-8, 0), schema(), chosen, task="multiclass")
    with transaction(engine) as session:
        people(session)
        now = database_now(session)
        model = register_model(
            session, name="fraud", owner="ana", task="multiclass", tier=1, schema=schema(), settings=chosen, by=ADMIN,
            now=now,
        )  # fmt: skip
        version = register_version(session, model, manifest=manifest, baseline=baseline, by=ADMIN, now=now)
        set_champion(session, model, version, by=ADMIN, now=now)
        normal = with_predictions(schema(), world.day(0), several=True)
        days = [(window(n), world.day(n)[list(normal.names)]) for n in range(REFERENCE_DAYS)]
        accept_reference(session, model, version, Reference.fit(days, schema=normal), by=ADMIN, now=now)
    serve_days(engine, world, 0, REFERENCE_DAYS)
