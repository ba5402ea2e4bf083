"""Make two frames safe to hand to Evidently: explicit types, no infinities, few levels, nothing that is markup.

What Evidently cannot take is left out and named, so that one column never costs the others.
"""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from monitor.errors import NotEnoughData
from monitor.schema import Feature, Kind, Schema

MAX_ROWS = 20_000  # a side of a report: with 100,000 its drawings take three times as long and show the same
MIN_ROWS = 50
MAX_LEVELS = 20  # more make Evidently's drawing quadratic
MEASURED_ROWS, MEASURED_LEVELS = 100_000, 200  # of a monitor, which draws nothing that is shown
OTHER = "(other)"
SCORE, PREDICTION, LABEL = "score of the model", "prediction of the model", "label"


@dataclass(frozen=True, kw_only=True)
class Sanitised:
    """Two frames of the same columns, names and values HTML-escaped; `left_out` says why a feature is missing.

    `empty` are columns in the frames that `left_out` names too: all missing on one side. `notes` say what was changed.
    """

    current: pd.DataFrame
    reference: pd.DataFrame
    numerical: tuple[str, ...]
    categorical: tuple[str, ...]
    left_out: dict[str, str]
    has_labels: bool
    empty: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


def sanitise(
    current: pd.DataFrame, reference: pd.DataFrame, schema: Schema, *, regression: bool = False,
    max_rows: int = MAX_ROWS, max_levels: int = MAX_LEVELS, with_empty: bool = False,
) -> Sanitised:  # fmt: skip
    """The features of two frames of traces, with `score`, `prediction` and `label` where both sides have them.

    Raises:
        NotEnoughData: a side has under 50 rows.
    """
    for side, frame in (("the window", current), ("the reference", reference)):
        if len(frame) < MIN_ROWS:
            raise NotEnoughData(
                f"expected at least {MIN_ROWS} kept traces in {side}, got {len(frame)}: too few to compare"
            )
    sides = [_thinned(frame, max_rows) for frame in (current, reference)]
    conformed = [schema.conform(side) for side in sides]
    columns: dict[str, tuple[pd.Series, pd.Series]] = {}
    left_out: dict[str, str] = {}
    notes: dict[str, str] = {}
    numerical: list[str] = []
    for feature in schema.features:
        pair, safe = [_cleaned(feature, side[feature.name]) for side in conformed], html.escape(feature.name)
        if empty := [where for where, one in zip(_SIDES, pair, strict=True) if one.isna().all()]:
            left_out[feature.name] = f"no value at all in {' and '.join(empty)}"
            if not with_empty:
                continue
        if _is_category(feature.kind):
            pair, note = _few_levels(pair, max_levels)
        else:
            numerical.append(safe)
            note = _infinities([side[feature.name] for side in conformed])
        if note:
            notes[feature.name] = note
        columns[safe] = (pair[0], pair[1])
    outcome = dict(_outcomes(sides, regression=regression))
    made = [pd.DataFrame({name: pair[i] for name, pair in (columns | outcome).items()}) for i in range(2)]
    return Sanitised(
        current=made[0],
        reference=made[1],
        numerical=tuple(numerical),
        categorical=tuple(name for name in columns if name not in numerical),
        left_out=left_out,
        has_labels=LABEL in outcome and _worth_comparing(list(outcome[LABEL]), regression=regression),
        empty=tuple(name for name in map(html.escape, left_out) if name in columns),
        notes=notes,
    )


_SIDES = ("the window", "the reference")


def _is_category(kind: Kind) -> bool:
    return kind in (Kind.CATEGORICAL, Kind.BOOLEAN)


def _thinned(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` rows spread evenly over the frame, in its order."""
    if len(frame) > most:
        frame = frame.iloc[np.linspace(0, len(frame) - 1, most).astype(int)]
    return frame.reset_index(drop=True)


def _cleaned(feature: Feature, column: pd.Series) -> pd.Series:
    if feature.kind is Kind.BOOLEAN:
        column = column.map({1.0: "true", 0.0: "false"}).astype(object)
    if _is_category(feature.kind):
        return _escaped(column)
    return column.astype(np.float64).replace([np.inf, -np.inf], np.nan)


def _escaped(column: pd.Series) -> pd.Series:
    return column.map(lambda value: html.escape(str(value)), na_action="ignore").astype(object)


def _few_levels(pair: list[pd.Series], most: int) -> tuple[list[pd.Series], str]:
    """The most frequent levels of both sides together, the others as one; and what to say of it."""
    counts = pd.concat(pair).value_counts()
    if len(counts) <= most:
        return pair, ""
    kept = set(counts.index[: most - 1])
    fewer = [column.where(column.isin(kept) | column.isna(), OTHER) for column in pair]
    return fewer, f"of {len(counts):,} levels the {most - 1} most frequent are told apart"


def _infinities(pair: list[pd.Series]) -> str:
    count = sum(int(np.isinf(side.to_numpy(np.float64)).sum()) for side in pair)
    return f"{count:,} infinite values count as missing" if count else ""


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
