"""What the model said, watched like a feature: its scores may move while every input stands still."""

import pandas as pd

from monitor.schema import MAX_FEATURES, Schema

PREDICTIONS = ("score", "prediction")  # columns of a trace; the first that is filled is watched
_FILLED = 0.5  # of the rows
BUDGET = 0.2 / 0.6  # of what all features together may spend


def with_predictions(schema: Schema, frame: pd.DataFrame, *, several: bool = False) -> Schema:
    """The features, and behind them the score, or else the prediction, where the reference rows tell it.

    Of `several` classes the prediction goes first: the probability of the class that was predicted does not say which.

    >>> rows = pd.DataFrame({"amount": [1.5, 2.5], "score": [0.1, 0.7], "prediction": [None, None]})
    >>> with_predictions(Schema.infer(rows[["amount"]]), rows).names
    ('amount', 'score')
    """
    if len(schema) >= MAX_FEATURES:
        return schema
    for name in PREDICTIONS:
        if name in schema.names:
            return schema
    for name in reversed(PREDICTIONS) if several else PREDICTIONS:
        if name in frame.columns and frame[name].notna().mean() >= _FILLED:
            return Schema((*schema.features, *Schema.infer(frame[[name]]).features))
    return schema


def predictions_of(schema: Schema) -> tuple[str, ...]:
    """Which of a reference's features are what the model said."""
    return tuple(name for name in schema.names if name in PREDICTIONS)
