"""The model that stands in where a person gives no predictions: the built-in network, trained the standard way."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.artifacts import Store, attach_trained, load_model
from monitor.cli.enroll import Artefact
from monitor.cli.history import History
from monitor.performance import Labels, Task
from monitor.schema import FloatArray, Schema
from monitor.training import train
from monitor.training.checks import MIN_OF_A_CLASS

MOST_ROWS = 40_000  # more do not make a stand-in better


def train_default(rows: pd.DataFrame, history: History, store: Store, *, seed: int) -> Artefact:
    """Fit the default model on labelled rows of a history."""
    known = rows[rows["label"].notna()]
    if len(known) > MOST_ROWS:
        known = known.sample(MOST_ROWS, random_state=seed).sort_index()
    labels = Labels(task=Task(history.task), positive=history.positive, classes=history.classes)
    target = labels.numbers(known["label"])
    labels.require_every_class(target, least=MIN_OF_A_CLASS)
    return train_and_store(history.schema.encode(known), target, history.schema, labels=labels, store=store, seed=seed)


def train_and_store(
    rows: FloatArray, target: NDArray[np.float64], schema: Schema, *, labels: Labels, store: Store, seed: int
) -> Artefact:
    """Train the standard recipe, keep the weights in the store, and load them back as a service would.

    A feature that looks like the label is told of beside the results, and does not end a backtest.
    """
    trained = train(rows, target, schema, task=labels.task, recipe="standard", seed=seed, allow_leaks=schema.names)
    manifest = attach_trained(trained, store, schema=schema, classes=labels.classes)
    return Artefact(manifest=manifest, model=load_model(manifest, store))
