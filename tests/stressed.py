"""The stream of `tests.streams` with an artefact: a linear model of its days before the reference."""

from functools import cache
from pathlib import Path

import pandas as pd
from sqlalchemy import Engine

from monitor.artifacts import attach_trained, load_model
from monitor.db.registry import ModelSettings
from monitor.jobs.context import Tools
from monitor.jobs.stress import baseline_for
from monitor.training import train
from monitor.training.trainer import Trained
from tests.streams import REFERENCE_DAYS, World, register, schema, serve_days, tools_for


@cache
def _trained() -> Trained:
    rows = _rows(-8, -4)
    target = (rows["label"] == "1").to_numpy(float)
    network = {"network": "linear"}
    return train(schema().encode(rows), target, schema(), task="binary", recipe="standard", network=network)


def _rows(first: int, last: int) -> pd.DataFrame:
    return pd.concat([World().day(number) for number in range(first, last)], ignore_index=True)


def stressed(
    engine: Engine, folder: Path, *, days: int = 2, labels: bool = True, lost: dict[str, int] | None = None,
    **settings: object,
) -> Tools:  # fmt: skip
    """The model `fraud` with its artefact and registration, its reference and some days after it.

    `lost` takes the place of the rows that the registration lost, so that today's are more.
    """
    tools = tools_for(engine, folder)
    manifest = attach_trained(_trained(), tools.store, schema=schema())
    model = load_model(manifest, tools.store)
    chosen = ModelSettings(positive="1", **settings)
    baseline = baseline_for(model, _rows(-4, 0), schema(), chosen, task="classification")
    if lost is not None:
        baseline["stress_stream"]["lost"] = lost
    register(engine, World(), manifest=manifest, baseline=baseline, **settings)
    if days:
        serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + days, labels=labels)
    return tools
