"""Which column of a person's table is what, and the rows that intake reads by it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from monitor.db.trace_tables import RESERVED
from monitor.errors import BadInput
from monitor.intake.sources.times import parse_times
from monitor.intake.validate import MOST_RAW, BadRow, as_json

FEW_BAD = 10  # rows of a part that may be bad without a doubt about the columns


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column is what, as a person says it once, and the task where its values do not say it."""

    time: tuple[str, ...]
    target: str | None = None
    prediction: str | None = None
    score: str | None = None
    id: str | None = None
    label_time: str | None = None
    drop: tuple[str, ...] = ()
    task: str | None = None
    labels_only: bool = False  # the rows are labels of traces that come another way; `time` is when they were known
    day_first: bool | None = None  # in dates that end in the year, as a whole history shows it
    texts: tuple[str, ...] = ()  # beside the id: what is text though it may look like a number

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Columns":
        """The columns as a source remembers them."""
        several = {name: tuple(document.get(name, ())) for name in ("time", "drop", "texts")}
        return cls(**{**document, **several})

    def named(self) -> list[str]:
        roles = (self.target, self.prediction, self.score, self.id, self.label_time)
        return [*self.time, *(role for role in roles if role is not None)]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a part with the roles that were declared and the features as they come; and those that are no rows.

    `good` has `trace_id`, `event_time` and the features; `label`, `label_time`, `prediction` and `score` where there
    are such columns. Of a source of labels it has `trace_id`, `label` and `label_time`.
    """

    good: pd.DataFrame
    bad: tuple[BadRow, ...] = ()


def read_rows(frame: pd.DataFrame, columns: Columns, *, name: str) -> Rows:
    """Give the columns of a part their roles. A row without an id, a time or a possible score is left out as bad.

    `name` makes ids where there are none, together with the row's number and time: a file that was replaced under its
    name counts its rows from 0 again.

    Raises:
        BadInput: a column is not there, or so many rows are bad that the columns must be others than declared.
    """
    if columns.target not in frame.columns and not columns.labels_only:  # rows may come before their labels do
        columns = replace(columns, target=None, label_time=None)
    require_columns(frame, columns)
    reasons = _faults(frame, columns)
    if len(reasons) > max(FEW_BAD, len(frame) // 2):
        first = min(reasons)
        raise BadInput(f"row {first + 1:,}: {reasons[first]}, and so are {len(reasons) - 1:,} other rows")
    bad = tuple(BadRow(position=n, reason=why, raw=_raw(frame, n)) for n, why in sorted(reasons.items()))
    frame = frame.drop(index=list(reasons))
    if frame.empty:
        return Rows(good=pd.DataFrame(), bad=bad)
    rows, _ = roles(frame, columns, seed=name, scored=False)
    if columns.id is None:
        microseconds = rows["event_time"].dt.as_unit("us").astype("int64")
        rows["trace_id"] = rows["trace_id"] + "@" + microseconds.astype(str)
    if columns.labels_only:
        return Rows(good=rows[["trace_id", "label", "label_time"]].reset_index(drop=True), bad=bad)
    features = features_of(frame.loc[rows.index], columns)
    return Rows(good=pd.concat([rows, features], axis=1).reset_index(drop=True), bad=bad)


def _faults(frame: pd.DataFrame, columns: Columns) -> dict[int, str]:
    """The first reason against each row, by the row's number."""
    reasons: dict[int, str] = {}
    told = [name for name in (columns.time[0] if len(columns.time) == 1 else None, columns.label_time) if name]
    for name in told:
        unread = parse_times(frame, [name], strict=False, day_first=columns.day_first).isna()
        unread &= frame[name].notna() | (name != columns.label_time)  # a row without a label has no time of it
        for n in frame.index[unread]:
            reasons.setdefault(int(n), f"{name}: expected a time, got {str(frame.at[n, name])[:80]!r}")
    if columns.id is not None:
        for n in frame.index[frame[columns.id].isna()]:
            reasons.setdefault(int(n), f"{columns.id}: expected an id, got none")
    if columns.score is not None:
        given = frame[columns.score]
        scores = pd.to_numeric(given, errors="coerce").astype(float)
        for n in frame.index[given.notna() & ~scores.between(0, 1)]:
            found = str(frame.at[n, columns.score])[:80]
            reasons.setdefault(int(n), f"{columns.score}: expected a probability, got {found!r}")
    return reasons


def _raw(frame: pd.DataFrame, number: int) -> str:
    row = frame.loc[[number]].to_dict(orient="records")[0]
    return json.dumps(row, default=as_json)[:MOST_RAW]


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


def roles(frame: pd.DataFrame, columns: Columns, *, seed: str, scored: bool = True) -> tuple[pd.DataFrame, list[str]]:
    """The rows' ids, times, labels, predictions and scores, sorted by time; and sentences about rows left out.

    `scored`: at least one row must have a score, where there is a column for it.
    """
    notes: list[str] = []
    times = parse_times(frame, list(columns.time), day_first=columns.day_first)
    rows = pd.DataFrame({"trace_id": _ids(frame, columns.id, seed), "event_time": times}, index=frame.index)
    if columns.target:
        rows["label"] = _texts(frame[columns.target])
        rows["label_time"] = times
        if columns.label_time:
            known = frame[frame[columns.label_time].notna()]
            rows.loc[known.index, "label_time"] = parse_times(known, [columns.label_time], day_first=columns.day_first)
        rows["label_time"] = rows["label_time"].where(rows["label_time"] >= times, times)
    if columns.prediction:
        rows["prediction"] = _texts(frame[columns.prediction])
    if columns.score:
        rows["score"] = _scores(frame[columns.score], columns.score, scored)
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


def _scores(column: "pd.Series[Any]", name: str, scored: bool) -> "pd.Series[float]":
    scores = pd.to_numeric(column, errors="coerce").astype(float)
    outside = scores.notna() & ~scores.between(0, 1)
    if scored and scores.notna().sum() == 0:
        raise BadInput(f"expected probabilities in {name}, no value is a number")
    if outside.any():
        raise BadInput(
            f"expected probabilities between 0 and 1 in {name}, got {scores[outside].iloc[0]:g}: "
            "use --prediction for a class or a value"
        )
    return scores
