"""Rows on their way in, column by column: typed, checked, and ready to be counted and stored."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from monitor.schema import Feature, FloatArray, Schema

BoolArray = NDArray[np.bool_]
Column: TypeAlias = FloatArray | pa.Array  # numbers with NaN, or texts with nulls
Keys = NDArray[np.uint8]  # (n, 16): the 128-bit key of each row's id


def keys_of(trace_ids: Iterable[str]) -> Keys:
    """The 128-bit key of each id, shape (n, 16): BLAKE2b, so that nobody can find two ids with one key."""
    digests = [hashlib.blake2b(trace_id.encode(), digest_size=16).digest() for trace_id in trace_ids]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows that can be stored, each column of shape (n,).

    Attributes:
        trace_id: the producer's ids, texts.
        event_time: UTC at microseconds.
        version: the version that served each row, texts.
        score: NaN where there is none.
        prediction: texts, null where there is none.
        entity: whom a row is about, texts; None when no row says.
        features: the columns that came, by name.
        unread: which values of a numeric feature were no numbers (they are NaN in `features`), where there were any.
        vectors: those that came, by name, as lists of single numbers, null where there is none. Their summaries are
            among the features.
    """

    trace_id: pa.Array
    event_time: NDArray[np.datetime64]
    version: pa.Array
    score: FloatArray
    prediction: pa.Array
    features: Mapping[str, Column]
    entity: pa.Array | None = None
    unread: Mapping[str, BoolArray]
    vectors: Mapping[str, pa.Array] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.trace_id)

    def where(self, mask: BoolArray) -> "Batch":
        """The rows that a mask of shape (n,) chooses, in their order."""
        if mask.all():
            return self
        chosen = pa.array(mask)
        return replace(
            self,
            trace_id=self.trace_id.filter(chosen),
            event_time=self.event_time[mask],
            version=self.version.filter(chosen),
            score=self.score[mask],
            prediction=self.prediction.filter(chosen),
            features={
                name: column[mask] if isinstance(column, np.ndarray) else column.filter(chosen)
                for name, column in self.features.items()
            },
            entity=None if self.entity is None else self.entity.filter(chosen),
            unread={name: faults[mask] for name, faults in self.unread.items()},
            vectors={name: column.filter(chosen) for name, column in self.vectors.items()},
        )

    def column(self, name: str) -> Column | None:
        """A feature, or what the model said; None when it did not come."""
        if name in self.features:
            return self.features[name]
        return {"score": self.score, "prediction": self.prediction}.get(name)

    def encoded(self, schema: Schema) -> Iterator[FloatArray]:
        """Each feature of a schema as `Schema.encode` has it, shape (n,) each."""
        for feature in schema.features:
            column = self.column(feature.name)
            yield np.full(len(self), np.nan) if column is None else _encoded(column, feature, schema)

    def faults(self, schema: Schema) -> NDArray[np.int64]:
        """Per feature the rows whose value is not a number, and those without the column, shape (features, 2)."""
        found = np.zeros((len(schema), 2), np.int64)
        for j, feature in enumerate(schema.features):
            column = self.column(feature.name)
            if column is None:
                found[j, 1] = len(self)
            elif not feature.is_categorical and isinstance(column, pa.Array):  # its type changed since
                there = column.is_valid().to_numpy(zero_copy_only=False)
                found[j, 0] = np.count_nonzero(np.isnan(_encoded(column, feature, schema)) & there)
            elif feature.name in self.unread:
                found[j, 0] = np.count_nonzero(self.unread[feature.name])
        return found

    def to_frame(self) -> pd.DataFrame:
        """The same rows as `db.traces.read_traces` gives them: texts as objects with None."""
        columns: dict[str, Any] = {
            "trace_id": self.trace_id,
            "event_time": pd.Series(self.event_time).dt.tz_localize("UTC"),
            "version": self.version,
            "score": self.score,
            "prediction": self.prediction,
            **self.features,
        }
        return pd.DataFrame({name: _series(column) for name, column in columns.items()})


def _encoded(column: Column, feature: Feature, schema: Schema) -> FloatArray:
    if isinstance(column, np.ndarray):
        if not feature.is_categorical:
            return column
    elif feature.is_categorical:
        return _codes(column, feature.levels)
    return schema.encode_column(pd.DataFrame({feature.name: _series(column)}), feature.name)


def _codes(texts: pa.Array, levels: tuple[str, ...]) -> FloatArray:
    """Each text's position among the levels, len(levels) for an unseen one, NaN for none."""
    found = texts.dictionary_encode()
    known = {level: float(code) for code, level in enumerate(levels)}
    codes = np.array([*(known.get(text, float(len(levels))) for text in found.dictionary.to_pylist()), np.nan])
    places = found.indices.fill_null(len(codes) - 1) if found.null_count else found.indices
    return np.asarray(codes[places.to_numpy(zero_copy_only=False)])


def _series(column: Any) -> "pd.Series[Any]":
    if isinstance(column, pa.Array):
        return pd.Series(column.to_numpy(zero_copy_only=False), dtype=object)
    return pd.Series(column)
