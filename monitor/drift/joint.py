"""How features go together: sums of products of their scores, which add up over windows as counts do.

The score of a value is fixed with the bins: of a number the normal score of its bin, of a category whether it is the
most frequent level, both with mean 0 and variance 1 on the reference; 0 where it is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Self

import numpy as np
import pandas as pd

from monitor.drift.directions import Movement, directions
from monitor.drift.feature_bins import FeatureBins
from monitor.drift.placing import FloatArray, IntArray, PlaceArray
from monitor.schema import Schema

MOST_FEATURES = 32  # of a model that are looked at in pairs: those that go together most
_ROWS = 2_048  # of a block that are multiplied; more add cost and hardly any power
_FIT_ROWS = 8_192
_ONE_THREAD = 131_072  # multiplications of one product, few enough not to wake the threads of the BLAS
_LEAST_ROWS = 50
_MOST_ALIKE = 0.9  # of the rows in one bin: the few others make a correlation, and any chance makes another
_LEAST_VARIANCE = 0.2  # of a window's scores, relative to the reference's, for a correlation to mean anything
_LEAST_SPREAD = 0.05  # of a correlation's scatter, relative to that of no correlation
_NOTHING = 1e-12  # a variance of rounding errors
_RIDGE = 0.05  # of the correlation matrix before it is inverted


@dataclass(frozen=True, eq=False)
class JointSums:
    """Σ z and Σ z·z′ over some rows, shapes (F,) and (F, F)."""

    rows: int
    sums: FloatArray
    products: FloatArray

    @classmethod
    def empty(cls, features: int) -> Self:
        return cls(0, np.zeros(features), np.zeros((features, features)))

    @classmethod
    def of(cls, places: PlaceArray, tables: Sequence[FloatArray]) -> Self:
        """From the bin of each row, shape (F, n), and the score of each bin; every k-th row of a long block."""
        if not tables:
            return cls.empty(0)
        step = -(-places.shape[1] // _ROWS) or 1
        z = np.array([table[row[::step]] for table, row in zip(tables, places, strict=True)])
        products = np.zeros((len(z), len(z)))
        for start in range(0, z.shape[1], _ONE_THREAD // len(z) ** 2):
            part = z[:, start : start + _ONE_THREAD // len(z) ** 2]
            products += part @ part.T
        return cls(z.shape[1], z.sum(axis=1), products)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.rows + other.rows, self.sums + other.sums, self.products + other.products)

    def without(self, features: Sequence[int]) -> Self:
        """The same with the features at these positions never varying."""
        sums, products = self.sums.copy(), self.products.copy()
        sums[features], products[features, :], products[:, features] = 0.0, 0.0, 0.0
        return type(self)(self.rows, sums, products)

    @cached_property
    def covariance(self) -> FloatArray:
        """Of the scores about their own means, shape (F, F)."""
        mean = self.sums / max(self.rows, 1)
        covariance: FloatArray = self.products / max(self.rows, 1) - np.outer(mean, mean)
        return covariance

    @cached_property
    def correlations(self) -> FloatArray:
        """0 where a feature does not vary, shape (F, F)."""
        spread = np.sqrt(np.maximum(np.diag(self.covariance), 0.0))
        scale = np.outer(spread, spread)
        found: FloatArray = np.where(scale > 0, self.covariance / np.maximum(scale, 1e-300), 0.0)
        return found

    def to_bytes(self) -> bytes:
        packed = np.concatenate([[float(self.rows)], self.sums, self.products[np.triu_indices(self.sums.size)]])
        return packed.astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, features: int) -> Self:
        values = np.frombuffer(data, "<f8").astype(np.float64)
        products = np.zeros((features, features))
        products[np.triu_indices(features)] = values[1 + features :]
        return cls(int(values[0]), values[1 : 1 + features], products + np.triu(products, 1).T)


def with_scores(features: Sequence[FeatureBins], frame: pd.DataFrame, schema: Schema) -> tuple[FeatureBins, ...]:
    """The same bins, those of up to `MOST_FEATURES` features with the scores that pairs are looked at by."""
    sample = frame.iloc[:: max(len(frame) // _FIT_ROWS, 1)]
    if len(sample) < _LEAST_ROWS:
        return tuple(features)
    places = [bins.place(schema.encode_column(sample, bins.name)) for bins in features]
    tables = [_scores(bins, row) for bins, row in zip(features, places, strict=True)]
    able = [j for j, table in enumerate(tables) if table is not None]
    known = [(tables[j], places[j]) for j in able]
    z = np.array([table[row] for table, row in known if table is not None]).reshape(len(able), len(sample))
    chosen = set(able if len(able) <= MOST_FEATURES else _most_joined(able, z))
    return tuple(
        replace(bins, scores=tuple(np.asarray(tables[j]).tolist())) if j in chosen else bins
        for j, bins in enumerate(features)
    )


def _most_joined(able: Sequence[int], z: FloatArray) -> list[int]:
    correlations = np.abs(np.corrcoef(z))
    np.fill_diagonal(correlations, 0.0)
    return [able[i] for i in np.argsort(-correlations.max(axis=1), kind="stable")[:MOST_FEATURES]]


def _scores(bins: FeatureBins, places: IntArray) -> FloatArray | None:
    """The contrast of the location, or of the most frequent level; None where hardly a row differs from the others."""
    counts = np.bincount(places, minlength=bins.size)
    if counts.max() > _MOST_ALIKE * counts.sum():
        return None
    found = directions(bins, counts)
    if (location := found.find(Movement.LOCATION)) is not None:
        return np.ascontiguousarray(found.matrix[:, location])
    most = int(counts[: bins.value_bins].argmax())
    share = float(counts[most] / counts.sum())
    contrast = np.full(bins.size, -share)
    contrast[most] = 1 - share
    contrast[bins.missing] = 0.0
    return np.asarray(contrast / np.sqrt(share * (1 - share)))


@dataclass(frozen=True, kw_only=True, eq=False)
class JointDirections:
    """What of the pairs is watched: the correlation of each, and how far rows lie from the reference's ellipsoid.

    Attributes:
        names: of the features, length F.
        left, right: positions of each pair's features, shape (P,).
        expected: the reference correlation of each, shape (P,).
        spread: √n times the scatter of a pair's correlation of n rows, (1 − r²), shape (P,).
        precision: the inverse of the ridged reference correlations, 0 for features that never varied, shape (F, F).
        variance: of each feature's scores in the reference, shape (F,).
        able: features that varied.
    """

    names: tuple[str, ...]
    left: IntArray
    right: IntArray
    expected: FloatArray
    spread: FloatArray
    precision: FloatArray
    variance: FloatArray
    able: int

    @classmethod
    def fit(cls, names: Sequence[str], total: JointSums) -> Self:
        able = np.flatnonzero(np.diag(total.covariance) > _NOTHING)  # a feature that never varied goes with nothing
        pairs = np.array(list(combinations(able.tolist(), 2)), np.int64).reshape(-1, 2)
        left, right = pairs[:, 0], pairs[:, 1]
        correlations = total.correlations
        expected = correlations[left, right]
        ridged = correlations * (1 - _RIDGE)
        np.fill_diagonal(ridged, 1.0)
        return cls(
            names=tuple(names),
            left=left,
            right=right,
            expected=expected,
            spread=np.maximum(1 - expected**2, _LEAST_SPREAD),
            precision=np.asarray(np.linalg.inv(ridged), np.float64) * np.isin(np.arange(len(names)), able),
            variance=np.diag(total.covariance),
            able=int(able.size),
        )

    @property
    def size(self) -> int:
        """Directions: the pairs, and the distance of rows."""
        return self.left.size + 1

    @cached_property
    def pairs(self) -> tuple[tuple[str, ...], ...]:
        """The features of each direction; none for the distance."""
        found = ((self.names[a], self.names[b]) for a, b in zip(self.left, self.right, strict=True))
        return (*found, ())

    @cached_property
    def stream_names(self) -> tuple[str, ...]:
        """What each direction is called."""
        return tuple(" × ".join(pair) or "distance" for pair in self.pairs)

    def means(self, sums: JointSums) -> FloatArray:
        """Deviations in units in which n independent rows scatter by 1/√n, shape (P + 1,).

        Of a pair (r − r_ref)/(1 − r_ref²); of the distance the mean of z′·C⁻¹·z about its expectation F, over √(2F).
        """
        if sums.rows < _LEAST_ROWS:
            return np.zeros(self.size)
        r = sums.correlations[self.left, self.right]
        varies = np.diag(sums.covariance) >= _LEAST_VARIANCE * self.variance
        pairs = np.where(varies[self.left] & varies[self.right], (r - self.expected) / self.spread, 0.0)
        distance = float((self.precision * sums.covariance).sum() - self.able) / np.sqrt(2 * max(self.able, 1))
        return np.append(pairs, distance)
