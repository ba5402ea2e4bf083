"""Bins frozen with the reference: where each value of each feature is counted, for as long as the baseline stands."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.errors import SchemaMismatch
from monitor.schema import MAX_LEVELS, Feature, Schema

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_INNER = [round(0.05 * step, 2) for step in range(2, 20)]
QUANTILES = np.array([0.001, 0.005, 0.01, 0.025, 0.05, *_INNER, 0.975, 0.99, 0.995, 0.999])
MAX_DISTINCT = 50  # a numeric feature with at most so many distinct values is counted value by value
SHOWN_LEVELS = 32


class BinKind(StrEnum):
    """How a feature is counted."""

    RANGES = "ranges"  # numeric: (a, b] between reference quantiles
    VALUES = "values"  # numeric with few distinct values: one bin a value
    LEVELS = "levels"  # categorical: the most frequent levels, and OTHER
    TEXT = "text"  # more levels than a category has: only present or missing


@dataclass(frozen=True, kw_only=True)
class FeatureBins:
    """The bins of one feature, in order: value bins, then (not for RANGES) UNSEEN, and MISSING last.

    `edges` are the upper ends of all ranges but the last, or the values themselves. For LEVELS and TEXT, `shown` are
    the levels with a bin of their own; the bin OTHER follows them, and `bin_of_code` leads from a level's schema code
    to its bin, an unseen level's code being the last entry. `novelty` is the share of UNSEEN to expect from traffic
    like the reference (Good–Turing: rows with a value that only their own window had, over all rows), `novelty_sd` its
    standard deviation from window to window.
    """

    name: str
    kind: BinKind
    edges: tuple[float, ...] = ()
    shown: tuple[str, ...] = ()
    bin_of_code: tuple[int, ...] = ()
    novelty: float = 0.0
    novelty_sd: float = 0.0

    @property
    def is_numeric(self) -> bool:
        return self.kind in (BinKind.RANGES, BinKind.VALUES)

    @property
    def value_bins(self) -> int:
        """Bins before UNSEEN and MISSING; OTHER counts among them."""
        if self.kind is BinKind.VALUES:
            return len(self.edges)
        return len(self.edges) + 1 if self.kind is BinKind.RANGES else len(self.shown) + 1

    @property
    def unseen(self) -> int | None:
        return None if self.kind is BinKind.RANGES else self.value_bins

    @property
    def missing(self) -> int:
        return self.size - 1

    @property
    def size(self) -> int:
        return self.value_bins + (1 if self.kind is BinKind.RANGES else 2)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each bin holds, in words.

        >>> FeatureBins(name="amount", kind=BinKind.RANGES, edges=(1.0, 2.5)).labels
        ('≤ 1', '1 – 2.5', '> 2.5', 'missing')
        """
        if self.kind is BinKind.VALUES:
            return (*(f"{value:g}" for value in self.edges), "unseen", "missing")
        if not self.is_numeric:
            return (*self.shown, "other", "unseen", "missing")
        if not self.edges:
            return ("any", "missing")
        between = (f"{a:g} – {b:g}" for a, b in zip(self.edges, self.edges[1:], strict=False))
        return (f"≤ {self.edges[0]:g}", *between, f"> {self.edges[-1]:g}", "missing")

    @cached_property
    def _table(self) -> NDArray[Any]:
        return np.array(self.edges, np.float64) if self.is_numeric else np.array(self.bin_of_code, np.int64)

    def place(self, values: FloatArray) -> IntArray:
        """The bin of each encoded value (raw units, or a level's code; NaN is missing), shape (n,)."""
        nan = np.isnan(values)
        if self.kind is BinKind.RANGES:
            index = np.searchsorted(self._table, values, side="left")
        elif self.kind is BinKind.VALUES:
            index = np.searchsorted(self._table, values, side="left")
            if self.edges:
                found = self._table[np.minimum(index, len(self.edges) - 1)] == values
                index = np.where(found, index, self.value_bins)
        else:
            codes = np.where(nan, 0, values).astype(np.int64)
            index = self._table[np.clip(codes, 0, len(self.bin_of_code) - 1)]
        if nan.any():
            index = np.where(nan, self.missing, index)
        return np.asarray(index, dtype=np.int64)


@dataclass(frozen=True)
class Binning:
    """The bins of every feature of a schema, laid end to end in one count vector.

    >>> binning = Binning.fit(pd.DataFrame({"channel": ["app", "web", "web", None]}))
    >>> binning["channel"].labels
    ('web', 'app', 'other', 'unseen', 'missing')
    >>> Binning.from_document(binning.to_document()).binning_id == binning.binning_id
    True
    """

    schema: Schema
    features: tuple[FeatureBins, ...]

    def __getitem__(self, name: str) -> FeatureBins:
        return self.features[self.position[name]]

    @cached_property
    def position(self) -> dict[str, int]:
        return {feature.name: j for j, feature in enumerate(self.features)}

    @cached_property
    def offsets(self) -> IntArray:
        """Feature j owns the counts [offsets[j], offsets[j + 1]), shape (features + 1,)."""
        return np.concatenate([[0], np.cumsum([bins.size for bins in self.features])]).astype(np.int64)

    @property
    def size(self) -> int:
        return int(self.offsets[-1])

    def slice(self, name: str) -> slice:
        j = self.position[name]
        return slice(int(self.offsets[j]), int(self.offsets[j + 1]))

    @cached_property
    def binning_id(self) -> str:
        """Sixteen hex digits that two profiles must share to be compared."""
        text = json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def fit(cls, frame: pd.DataFrame, schema: Schema | None = None, *, windows: IntArray | None = None) -> Self:
        """Freeze the bins on the rows of the reference.

        Args:
            frame: known-good rows.
            schema: inferred from the frame if not given.
            windows: the window of each row, shape (n,): new values come in clumps, and this tells how large ones.
        """
        known = _with_levels(schema or Schema.infer(frame), frame)
        rows = known.encode(frame)
        of = np.arange(len(frame)) if windows is None else np.unique(windows, return_inverse=True)[1]
        fitted = (_fit_feature(feature, rows[:, j], frame, of) for j, feature in enumerate(known.features))
        return cls(known, tuple(fitted))

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"schema": self.schema.to_document(), "features": [_plain(asdict(bins)) for bins in self.features]}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The binning that `to_document` wrote."""
        try:
            features = tuple(_feature_from(entry) for entry in document["features"])
            return cls(Schema.from_document(document["schema"]), features)
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaMismatch(f"expected a binning document with schema and features: {error}") from error


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}


def _feature_from(entry: Mapping[str, Any]) -> FeatureBins:
    return FeatureBins(
        name=entry["name"],
        kind=BinKind(entry["kind"]),
        edges=tuple(float(edge) for edge in entry["edges"]),
        shown=tuple(entry["shown"]),
        bin_of_code=tuple(int(code) for code in entry["bin_of_code"]),
        novelty=float(entry["novelty"]),
        novelty_sd=float(entry["novelty_sd"]),
    )


def _with_levels(schema: Schema, frame: pd.DataFrame) -> Schema:
    """A category that was declared without levels takes them from the reference."""
    bare = [f.name for f in schema.features if f.is_categorical and not f.levels and f.name in frame.columns]
    if not bare:
        return schema
    found = Schema.infer(frame[bare].astype(object).where(frame[bare].isna(), frame[bare].astype(str)))
    levels = {feature.name: feature.levels for feature in found.features}
    return Schema(tuple(replace(f, levels=levels[f.name]) if f.name in levels else f for f in schema.features))


def _fit_feature(feature: Feature, values: FloatArray, frame: pd.DataFrame, windows: IntArray) -> FeatureBins:
    if feature.is_categorical:
        return _fit_levels(feature, values, frame, windows)
    finite = values[np.isfinite(values)]
    distinct = np.unique(finite)
    if 0 < distinct.size <= MAX_DISTINCT:
        novelty, spread = _novelty(values, windows)
        return FeatureBins(
            name=feature.name,
            kind=BinKind.VALUES,
            edges=tuple(distinct.tolist()),
            novelty=novelty,
            novelty_sd=spread,
        )
    return FeatureBins(name=feature.name, kind=BinKind.RANGES, edges=_edges(finite))


def _edges(finite: FloatArray) -> tuple[float, ...]:
    """Reference quantiles; a value that repeats among them is fenced in, so that it has a bin of its own."""
    if finite.size == 0:
        return ()
    cuts, repeats = np.unique(np.quantile(finite, QUANTILES, method="inverted_cdf"), return_counts=True)
    fences = np.nextafter(cuts[repeats > 1], -np.inf)
    return tuple(np.unique(np.concatenate([cuts, fences])).tolist())


def _fit_levels(feature: Feature, codes: FloatArray, frame: pd.DataFrame, windows: IntArray) -> FeatureBins:
    known = len(feature.levels)
    if feature.name in frame.columns and frame[feature.name].nunique() > MAX_LEVELS:
        return FeatureBins(name=feature.name, kind=BinKind.TEXT, bin_of_code=(0,) * (known + 1))
    counts = np.bincount(codes[np.isfinite(codes)].astype(np.int64), minlength=known + 1)[:known]
    by_frequency = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code] > 0]
    shown = by_frequency[:SHOWN_LEVELS]
    table = np.full(known + 1, len(shown) + 1)  # UNSEEN, unless the reference had it
    table[by_frequency] = len(shown)  # OTHER
    table[shown] = np.arange(len(shown))
    labels = tuple(feature.levels[code] for code in shown)
    novelty, spread = _novelty(codes, windows)
    return FeatureBins(
        name=feature.name,
        kind=BinKind.LEVELS,
        shown=labels,
        bin_of_code=tuple(table.tolist()),
        novelty=novelty,
        novelty_sd=spread,
    )


def _novelty(values: FloatArray, windows: IntArray) -> tuple[float, float]:
    """Share of rows whose value only their own window has, and its standard deviation over windows."""
    present = np.isfinite(values)
    _, ids = np.unique(values[present], return_inverse=True)
    if ids.size == 0:
        return 0.0, 0.0
    pairs = np.unique(np.column_stack([ids, windows[present]]), axis=0)
    alone = np.bincount(pairs[:, 0])[ids] == 1
    rows = np.bincount(windows)
    shares = np.bincount(windows[present], alone, minlength=rows.size) / rows
    spread = float(shares.std(ddof=1)) if rows.size > 1 and rows.max() > 1 else 0.0
    return float(alone.sum()) / values.size, spread
