"""Which column of a person's table is what, and the rows that intake reads by it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from monitor.db.trace_tables import RESERVED
from monitor.errors import BadInput
from monitor.intake.sources.times import parse_times


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column is what, as a person says it once."""

    time: tuple[str, ...]
    target: str | None = None
    prediction: str | None = None
    score: str | None = None
    id: str | None = None
    label_time: str | None = None
    drop: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Columns":
        """The columns as a source remembers them."""
        return cls(**{**document, "time": tuple(document["time"]), "drop": tuple(document["drop"])})

    def named(self) -> list[str]:
        roles = (self.target, self.prediction, self.score, self.id, self.label_time)
        return [*self.time, *(role for role in roles if role is not None)]


def read_rows(frame: pd.DataFrame, columns: Columns, *, name: str) -> pd.DataFrame:
    """Rows with the roles that were declared, and with the features as they come."""
    require_columns(frame, columns)
    rows, _ = roles(frame, columns, seed=name)
    return pd.concat([rows, features_of(frame.loc[rows.index], columns)], axis=1).reset_index(drop=True)


def features_of(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Every column without a role; one that is named as a trace's own columns are gets a `_`."""
    features = frame.drop(columns=[*set(columns.named()), *columns.drop])
    return features.rename(columns={name: f"{name}_" for name in features.columns if name in RESERVED})


def require_columns(frame: pd.DataFrame, columns: Columns) -> None:
    there = list(map(str, frame.columns))
    for name in [*columns.named(), *columns.drop]:
        if name not in there:
            close = ", ".join(there[:40]) + (" …" if len(there) > 40 else "")
            raise BadInput(f"expected a column {name!r}, the file has: {close}")


def roles(frame: pd.DataFrame, columns: Columns, *, seed: str) -> tuple[pd.DataFrame, list[str]]:
    """The rows' ids, times, labels, predictions and scores, sorted by time; and sentences about rows left out."""
    notes: list[str] = []
    times = parse_times(frame, list(columns.time))
    rows = pd.DataFrame({"trace_id": _ids(frame, columns.id, seed), "event_time": times}, index=frame.index)
    if columns.target:
        rows["label"] = _texts(frame[columns.target])
        rows["label_time"] = parse_times(frame, [columns.label_time]) if columns.label_time else times
        rows["label_time"] = rows["label_time"].where(rows["label_time"] >= times, times)
    if columns.prediction:
        rows["prediction"] = _texts(frame[columns.prediction])
    if columns.score:
        rows["score"] = _scores(frame[columns.score], columns.score)
    if columns.id:
        repeated = int(rows["trace_id"].duplicated().sum())
        if repeated:
            notes.append(f"{repeated:,} rows repeat an id of {columns.id}: the first of each counts")
            rows = rows[~rows["trace_id"].duplicated()]
    return rows.sort_values(["event_time", "trace_id"], kind="stable"), notes


def _ids(frame: pd.DataFrame, column: str | None, seed: str) -> pd.Series:
    if column is not None:
        if frame[column].isna().any():
            raise BadInput(f"expected an id in every row of {column}, {int(frame[column].isna().sum())} are empty")
        return frame[column].map(str)
    return pd.Series([f"{seed}:{number}" for number in frame.index], index=frame.index)


def _texts(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Labels and classes as text, whole numbers without a decimal point, missing as None."""
    if pd.api.types.is_bool_dtype(column.dtype):
        column = column.astype(int)
    if pd.api.types.is_numeric_dtype(column.dtype):
        values = column.astype(float)
        whole = values.isna() | (values == np.floor(values))
        as_text = values.map(lambda value: None if pd.isna(value) else f"{value:.0f}" if whole.all() else repr(value))
        return as_text.astype(object).where(values.notna(), None)
    as_object = column.astype(object)
    return as_object.where(column.isna(), as_object.map(str)).where(column.notna(), None)


def _scores(column: "pd.Series[Any]", name: str) -> "pd.Series[float]":
    scores = pd.to_numeric(column, errors="coerce").astype(float)
    outside = scores.notna() & ~scores.between(0, 1)
    if scores.notna().sum() == 0:
        raise BadInput(f"expected probabilities in {name}, no value is a number")
    if outside.any():
        raise BadInput(
            f"expected probabilities between 0 and 1 in {name}, got {scores[outside].iloc[0]:g}: "
            "use --prediction for a class or a value"
        )
    return scores
