"""Make two frames safe to hand to Evidently: explicit types, no infinities, few levels, nothing that is markup.

What Evidently cannot take is left out and named, so that one column never costs the others.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from monitor.errors import NotEnoughData
from monitor.schema import Kind, Schema

MAX_ROWS = 5_000  # a side: seconds instead of a minute
MIN_ROWS = 50
MAX_LEVELS = 20  # more make Evidently's drawing quadratic
OTHER = "(other)"
SCORE, PREDICTION, LABEL = "score of the model", "prediction of the model", "label"


@dataclass(frozen=True, kw_only=True)
class Sanitised:
    """Two frames of the same columns; `left_out` says why a feature is missing. Names and values are HTML-escaped."""

    current: pd.DataFrame
    reference: pd.DataFrame
    numerical: tuple[str, ...]
    categorical: tuple[str, ...]
    left_out: dict[str, str]
    has_labels: bool


def sanitise(current: pd.DataFrame, reference: pd.DataFrame, schema: Schema, *, regression: bool = False) -> Sanitised:
    """The features of two frames of traces, with `score`, `prediction` and `label` where both sides have them.

    Raises:
        NotEnoughData: a side has under 50 rows.
    """
    for side, frame in (("the window", current), ("the reference", reference)):
        if len(frame) < MIN_ROWS:
            raise NotEnoughData(f"expected at least {MIN_ROWS} kept traces in {side}, got {len(frame)}: no report")
    sides = [_thinned(frame) for frame in (current, reference)]
    columns: dict[str, tuple[pd.Series, pd.Series]] = {}
    left_out: dict[str, str] = {}
    numerical: list[str] = []
    for feature in schema.features:
        pair = [_cleaned(schema, feature.name, side) for side in sides]
        if empty := [where for where, one in zip(_SIDES, pair, strict=True) if one.isna().all()]:
            left_out[feature.name] = f"no value at all in {' and '.join(empty)}"
            continue
        if _is_category(feature.kind):
            pair = _few_levels(pair)
        else:
            numerical.append(html.escape(feature.name))
        columns[html.escape(feature.name)] = (pair[0], pair[1])
    outcome = dict(_outcomes(sides, regression=regression))
    made = [pd.DataFrame({name: pair[i] for name, pair in (columns | outcome).items()}) for i in range(2)]
    return Sanitised(
        current=made[0],
        reference=made[1],
        numerical=tuple(numerical),
        categorical=tuple(name for name in columns if name not in numerical),
        left_out=left_out,
        has_labels=LABEL in outcome and _worth_comparing(list(outcome[LABEL]), regression=regression),
    )


_SIDES = ("the window", "the reference")


def _is_category(kind: Kind) -> bool:
    return kind in (Kind.CATEGORICAL, Kind.BOOLEAN)


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """At most MAX_ROWS rows spread evenly over the frame, in its order."""
    if len(frame) > MAX_ROWS:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, MAX_ROWS).astype(int)]
    return frame.reset_index(drop=True)


def _cleaned(schema: Schema, name: str, frame: pd.DataFrame) -> pd.Series:
    column = schema.conform(frame)[name]
    if schema[name].kind is Kind.BOOLEAN:
        column = column.map({1.0: "true", 0.0: "false"}).astype(object)
    if _is_category(schema[name].kind):
        return _escaped(column)
    return column.astype(np.float64).replace([np.inf, -np.inf], np.nan)


def _escaped(column: pd.Series) -> pd.Series:
    return column.map(lambda value: html.escape(str(value)), na_action="ignore").astype(object)


def _few_levels(pair: list[pd.Series]) -> list[pd.Series]:
    counts = pd.concat(pair).value_counts()
    if len(counts) <= MAX_LEVELS:
        return pair
    kept = set(counts.index[: MAX_LEVELS - 1])
    return [column.where(column.isin(kept) | column.isna(), OTHER) for column in pair]


def _outcomes(sides: list[pd.DataFrame], *, regression: bool) -> Iterator[tuple[str, tuple[pd.Series, pd.Series]]]:
    for source, name in (("score", SCORE), ("prediction", PREDICTION), ("label", LABEL)):
        if not all(source in side.columns and side[source].notna().any() for side in sides):
            continue
        if source == "score" or regression:
            first, second = (
                pd.to_numeric(side[source], errors="coerce").replace([np.inf, -np.inf], np.nan).astype(np.float64)
                for side in sides
            )
        else:
            first, second = (_escaped(side[source].astype(object)) for side in sides)
        yield name, (first, second)


def _worth_comparing(labels: list[pd.Series], *, regression: bool) -> bool:
    enough = all(int(side.notna().sum()) >= MIN_ROWS for side in labels)
    return enough and (regression or all(side.nunique() >= 2 for side in labels))
