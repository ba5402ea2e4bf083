"""A small generated stream that the tests of jobs share: days of two features, a score that knows the label, faults."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_reference
from monitor.acts.registry import register_model, register_version, set_champion
from monitor.artifacts import Manifest, Store
from monitor.db.engine import database_now, transaction
from monitor.db.profiles import add_profile
from monitor.db.registry import Model, ModelSettings, feature_schema, model_named, newest_reference, version_named
from monitor.db.traces import append, append_labels
from monitor.drift import Reference
from monitor.drift.profile import Profile
from monitor.governance import Actor
from monitor.jobs.context import Tools
from monitor.jobs.failpoints import Failpoints
from monitor.schema import Schema
from monitor.windows import Window

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
REFERENCE_DAYS = 28
ROWS = 300
OWNER = Actor(id="ana", name="Ana", roles=frozenset({"admin", "operator", "approver"}))
NAMES = ("amount", "age", "channel")


@dataclass(frozen=True, kw_only=True)
class World:
    """What happens from which day on; days are counted from the first of the reference."""

    seed: int = 0
    shift: tuple[int, float] | None = None  # amount rises by so many σ
    flip: int | None = None  # labels no longer follow the score
    unit: tuple[int, int] | None = None  # amount × 100 on these days
    rows: dict[int, int] = field(default_factory=dict)

    def day(self, number: int, *, version: str = "v1") -> pd.DataFrame:
        """The rows of a day, with their labels."""
        rng = np.random.default_rng([self.seed, number])
        n = self.rows.get(number, ROWS)
        latent = rng.normal(size=n)
        label = rng.random(n) < 1 / (1 + np.exp(-3 * latent))
        score = 1 / (1 + np.exp(-3 * latent))
        if self.flip is not None and number >= self.flip:
            label = rng.random(n) < 0.5
        amount = np.exp(4 + 0.5 * rng.normal(size=n) + (self.shift[1] * 0.5 if self._shifted(number) else 0.0))
        if self.unit is not None and self.unit[0] <= number < self.unit[1]:
            amount *= 100
        return pd.DataFrame(
            {
                "trace_id": [f"{version}-{number}-{i}" for i in range(n)],
                "event_time": pd.to_datetime([BEGIN + number * DAY + DAY * (i / max(n, 1)) for i in range(n)], utc=True),
                "version": version,
                "score": score,
                "prediction": None,
                "kept": True,
                "weight": 1.0,
                "amount": amount,
                "age": 40 + 10 * rng.normal(size=n) + 8 * latent,
                "channel": rng.choice(["app", "web", "shop"], n, p=[0.5, 0.3, 0.2]),
                "label": np.where(label, "1", "0"),
            }
        )  # fmt: skip

    def _shifted(self, number: int) -> bool:
        return self.shift is not None and number >= self.shift[0]


def tools_for(engine: Engine, folder: Path, **changes: object) -> Tools:
    """Tools that do everything in this process."""
    tools = Tools(
        engine=engine, store=Store(folder / "artifacts"), home=folder, code_version="test", hardware="test",
        failpoints=Failpoints(None, folder), children=False,
    )  # fmt: skip
    return replace(tools, **changes)


def schema() -> Schema:
    return Schema.infer(World().day(0)[list(NAMES)], mutable=["amount"])


def register(
    engine: Engine, world: World, *, reference: bool = True, manifest: Manifest | None = None, baseline: object = None,
    **settings: object,
) -> None:  # fmt: skip
    """The model `fraud` with version v1 as champion, and its reference served but not yet checked."""
    with transaction(engine) as session:
        now = database_now(session)
        chosen = ModelSettings(positive="1", **settings)
        model = register_model(
            session, name="fraud", owner="ana", task="classification", tier=1, schema=schema(), settings=chosen,
            by=OWNER, now=now,
        )  # fmt: skip
        version = register_version(session, model, manifest=manifest, name="v1", baseline=baseline, by=OWNER, now=now)
        set_champion(session, model, version, by=OWNER, now=now)
        if reference:
            days = [(window(n), world.day(n)[list(NAMES)]) for n in range(REFERENCE_DAYS)]
            accept_reference(session, model, version, Reference.fit(days, schema=schema()), by=OWNER, now=now)
    for number in range(REFERENCE_DAYS):
        serve(engine, world, number)


def serve(engine: Engine, world: World, number: int, *, labels: bool = True, version: str = "v1") -> None:
    """One day of traffic with its labels; the watermark stands at its end."""
    rows = world.day(number, version=version)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        take_in(session, model, rows)
        model.watermark = window(number).end
        if labels:
            label(session, model, rows)


def serve_days(engine: Engine, world: World, first: int, last: int) -> None:
    for number in range(first, last):
        serve(engine, world, number)


def label(session: Session, model: Model, rows: pd.DataFrame) -> None:
    append_labels(session, model, rows[["trace_id", "label"]].assign(label_time=rows["event_time"]))


def take_in(session: Session, model: Model, rows: pd.DataFrame) -> None:
    """What intake does, without its validation."""
    append(session, model, feature_schema(session, model), rows)
    reference = newest_reference(session, model)
    if reference is None:
        return
    binning = Reference.from_document(reference.document).binning
    for name, part in rows.groupby("version"):
        version = version_named(session, model, str(name))
        for start, bucket in part.groupby(part["event_time"].dt.floor("D")):
            add_profile(
                session, model_id=model.id, version_id=version.id, binning_id=binning.binning_id,
                bucket=start.to_pydatetime(), profile=Profile.of(bucket, binning),
            )  # fmt: skip


def window(number: int) -> Window:
    return Window(BEGIN + number * DAY, BEGIN + (number + 1) * DAY)
