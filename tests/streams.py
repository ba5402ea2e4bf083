"""A small generated stream that the tests of jobs share: days of two features, a score that knows the label, faults."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.baselines import accept_reference
from monitor.acts.registry import register_model, register_version, set_champion
from monitor.artifacts import Manifest, Store
from monitor.db.base import Base
from monitor.db.checks import CheckRun, WindowVerdict
from monitor.db.engine import database_now, make_engine, transaction
from monitor.db.registry import Model, ModelSettings, model_named
from monitor.db.scratch import scratch_database
from monitor.drift import Reference
from monitor.governance import Actor
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.jobs.context import BEAT, Tools
from monitor.jobs.failpoints import Failpoints
from monitor.jobs.worker import Worker, drain
from monitor.schema import Schema
from monitor.windows import Window

DAY = timedelta(days=1)
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
REFERENCE_DAYS = 28
ROWS = 200
OWNER = Actor(id="ana", name="Ana", roles=frozenset({"admin", "operator", "approver"}))
NAMES = ("amount", "age", "channel")


@dataclass(frozen=True, kw_only=True)
class World:
    """What happens from which day on; days are counted from the first of the reference."""

    seed: int = 0
    shift: tuple[int, float] | None = None  # amount rises by so many σ
    flip: int | None = None  # labels no longer follow the score
    unit: tuple[int, int] | None = None  # amount × 100 on these days
    evade: int | None = None  # rows of label 1 take the amounts and the scores of label 0
    rows: dict[int, int] = field(default_factory=dict)

    def day(self, number: int, *, version: str = "v1") -> pd.DataFrame:
        """The rows of a day, with their labels."""
        rng = np.random.default_rng([self.seed, number + 1_000])
        n = self.rows.get(number, ROWS)
        latent = rng.normal(size=n)
        label = rng.random(n) < 1 / (1 + np.exp(-3 * latent))
        score = 1 / (1 + np.exp(-3 * latent))
        if self.flip is not None and number >= self.flip:
            label = rng.random(n) < 0.5
        size = rng.normal(size=n) + np.where(label, 0.5, -0.5)
        if self.evade is not None and number >= self.evade:
            size, score = np.where(label, size - 1.0, size), np.where(label, rng.permutation(score), score)
        amount = np.exp(4 + 0.5 * size + (self.shift[1] * 0.5 if self._shifted(number) else 0.0))
        if self.unit is not None and self.unit[0] <= number < self.unit[1]:
            amount *= 100
        return pd.DataFrame(
            {
                "trace_id": [f"{version}-{number}-{i}" for i in range(n)],
                "event_time": pd.date_range(BEGIN + number * DAY, periods=n, freq=DAY / n),
                "version": version,
                "score": score,
                "prediction": None,
                "amount": amount,
                "age": 40 + 10 * rng.normal(size=n) + 8 * latent,
                "channel": rng.choice(["app", "web", "shop"], n, p=[0.5, 0.3, 0.2]),
                "label": np.where(label, "1", "0"),
            }
        )  # fmt: skip

    def _shifted(self, number: int) -> bool:
        return self.shift is not None and number >= self.shift[0]


@contextmanager
def fresh_engine(server_url: str) -> Iterator[Engine]:
    """A second database, for a run to compare with."""
    with scratch_database(server_url) as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


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
    engine: Engine,
    world: World,
    *,
    reference: bool = True,
    served: bool = True,
    manifest: Manifest | None = None,
    baseline: object = None,
    **settings: object,
) -> None:
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
    if served:
        serve_days(engine, world, 0, REFERENCE_DAYS)


def serve(engine: Engine, world: World, number: int, *, labels: bool = True, version: str = "v1") -> None:
    """One day of traffic with its labels; the watermark stands at its end."""
    serve_days(engine, world, number, number + 1, labels=labels, version=version)


def serve_days(
    engine: Engine, world: World, first: int, last: int, *, labels: bool = True, version: str = "v1"
) -> None:
    """The days [first, last) in one batch."""
    rows = pd.concat([world.day(number, version=version) for number in range(first, last)], ignore_index=True)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        ingest(session, model, rows.drop(columns="label"), source="test")
        advance_watermark(session, model, window(last - 1).end)
        if labels:
            label(session, model, rows)


def label_days(engine: Engine, world: World, first: int, last: int, *, share: float = 1.0) -> None:
    """The first `share` of the labels of the days [first, last)."""
    with transaction(engine) as session:
        for number in range(first, last):
            rows = world.day(number)
            label(session, model_named(session, "fraud"), rows.iloc[: round(share * len(rows))])


def label(session: Session, model: Model, rows: pd.DataFrame) -> None:
    ingest_labels(session, model, rows[["trace_id", "label"]].assign(label_time=rows["event_time"]))


def window(number: int) -> Window:
    return Window(BEGIN + number * DAY, BEGIN + (number + 1) * DAY)


CHECKS = ("check_quality", "check_drift", "check_performance", "stress", "fit_reference", "deliver")


def drain_checks(tools: Tools) -> int:
    """All but the rendered reports, which take seconds."""
    return drain(tools, kinds=CHECKS)


def runs_of(engine: Engine, kind: str) -> list[CheckRun]:
    """The check runs of a kind by window and revision."""
    with transaction(engine) as session:
        chosen = select(CheckRun).where(CheckRun.kind == kind).order_by(CheckRun.starts, CheckRun.revision)
        return list(session.scalars(chosen))


def rows_of(engine: Engine, table: type[Base]) -> list[Base]:
    """All rows of a table, in the order they were written."""
    with transaction(engine) as session:
        return list(session.scalars(select(table).order_by(table.id)))


def verdicts(engine: Engine) -> dict[int, str]:
    """The newest verdict of each day."""
    return {(row.starts - BEGIN) // DAY: row.verdict for row in rows_of(engine, WindowVerdict)}


def work() -> None:
    """A worker process of its own: works until nothing is due, and may be killed at a failpoint on the way."""
    folder = Path(os.environ["STREAM_FOLDER"])
    engine = make_engine(os.environ["STREAM_URL"])
    failpoints = Failpoints(os.environ.get("STREAM_FAILPOINT"), folder / "markers")
    tools = tools_for(engine, folder, failpoints=failpoints)
    worker = Worker(tools, "process", lease=timedelta(seconds=2), beat=BEAT / 8, kinds=(*CHECKS, "pull"))
    while worker.run_once():
        pass
