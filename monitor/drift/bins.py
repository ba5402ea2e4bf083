"""Bins frozen with the reference: where each value of each feature is counted, for as long as the baseline stands."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise, zip_longest
from typing import Any, Self

import numpy as np
import pandas as pd

from monitor.drift.feature_bins import BinKind, FeatureBins
from monitor.drift.fit_bins import fit_feature
from monitor.drift.joint import with_scores
from monitor.drift.placing import TILE, BoolArray, FloatArray, IntArray, PlaceArray, ranks
from monitor.errors import SchemaMismatch
from monitor.schema import Schema

__all__ = ["BinKind", "Binning", "FeatureBins", "FloatArray", "IntArray"]


@dataclass(frozen=True)
class Tile:
    """Some features of a binning, numeric ones or others, and where they are."""

    features: tuple[FeatureBins, ...]
    at: slice | list[int]

    @property
    def is_numeric(self) -> bool:
        return self.features[0].is_numeric


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

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """The counts of each feature."""
        return tuple(slice(a, b) for a, b in pairwise(self.offsets.tolist()))

    def slice(self, name: str) -> slice:
        return self.spans[self.position[name]]

    @cached_property
    def joint(self) -> list[int]:
        """Positions of the features that are looked at in pairs."""
        return [j for j, bins in enumerate(self.features) if bins.scores]

    @cached_property
    def score_tables(self) -> list[FloatArray]:
        """Their scores by bin."""
        return [np.array(self.features[j].scores, np.float64) for j in self.joint]

    @cached_property
    def _edges(self) -> FloatArray:
        """The edges of every numeric feature, padded with NaN, shape (most edges, features)."""
        known = [bins.edges if bins.is_numeric else () for bins in self.features]
        return np.array(list(zip_longest(*known, fillvalue=np.nan)), np.float64).reshape(-1, len(known))

    @cached_property
    def _numeric(self) -> list[int]:
        """Positions of the numeric features, those with like numbers of edges beside each other."""
        found = [j for j, bins in enumerate(self.features) if bins.is_numeric]
        return sorted(found, key=lambda j: len(self.features[j].edges))

    @cached_property
    def _others(self) -> list[int]:
        return [j for j, bins in enumerate(self.features) if not bins.is_numeric]

    def tiles(self, rows: int) -> tuple["Tile", ...]:
        """The features, those together that are quick to place together: numeric ones, then the others."""
        together = max(TILE // max(rows, 1), 1)
        if together not in self._tiles:
            self._tiles[together] = tuple(
                Tile(tuple(self.features[j] for j in positions[start : start + together]), at)
                for positions in (self._numeric, self._others)
                for start in range(0, len(positions), together)
                for at in [_as_slice(positions[start : start + together])]
            )
        return self._tiles[together]

    @cached_property
    def _tiles(self) -> dict[int, tuple["Tile", ...]]:
        return {}

    @cached_property
    def _missing(self) -> PlaceArray:
        return np.array([bins.missing for bins in self.features], self.place_type)

    def place(self, tile: "Tile", values: FloatArray, missing: BoolArray) -> PlaceArray:
        """The bin of each encoded value within its feature, shape (features of the tile, rows).

        `missing` says which are missing, whatever `values` hold there.
        """
        if tile.is_numeric:
            most = max(len(bins.edges) for bins in tile.features)
            places = ranks(values, self._edges[:most, tile.at], self.place_type)
        else:
            places = np.empty(values.shape, self.place_type)
        for row, bins in enumerate(tile.features):
            if bins.kind is not BinKind.RANGES:
                places[row] = bins.settle(values[row], places[row] if bins.is_numeric else None)
        np.maximum(places, missing.view(np.uint8) * self._missing[tile.at, None], out=places)
        return places

    @cached_property
    def place_type(self) -> type[np.unsignedinteger[Any]]:
        """Wide enough for every bin."""
        return np.min_scalar_type(max(bins.missing for bins in self.features)).type

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
        known = replace(_with_levels(schema or Schema.infer(frame), frame), vectors=())  # their summaries are binned
        of = None if windows is None else np.unique(windows, return_inverse=True)[1]
        features = [fit_feature(feature, frame, known, of) for feature in known.features]
        return cls(known, with_scores(features, frame, known))

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


def _as_slice(positions: Sequence[int]) -> slice | list[int]:
    """Neighbours as a slice, which needs no copy."""
    first, last = positions[0], positions[-1]
    return slice(first, last + 1) if list(positions) == list(range(first, last + 1)) else list(positions)


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
        scores=tuple(float(score) for score in entry.get("scores", ())),
    )


def _with_levels(schema: Schema, frame: pd.DataFrame) -> Schema:
    """A category that was declared without levels takes them from the reference."""
    bare = [f.name for f in schema.features if f.is_categorical and not f.levels and f.name in frame.columns]
    if not bare:
        return schema
    found = Schema.infer(frame[bare].astype(object).where(frame[bare].isna(), frame[bare].astype(str)))
    levels = {feature.name: feature.levels for feature in found.features}
    features = (replace(f, levels=levels[f.name]) if f.name in levels else f for f in schema.features)
    return replace(schema, features=tuple(features))
