"""The bins of one feature: their names, their order, and where a value goes."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.drift.placing import FloatArray, IntArray, PlaceArray


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
    standard deviation from window to window. `scores` are those of the bins by which pairs of features are looked at
    (`monitor.drift.joint`), empty for a feature that is not.
    """

    name: str
    kind: BinKind
    edges: tuple[float, ...] = ()
    shown: tuple[str, ...] = ()
    bin_of_code: tuple[int, ...] = ()
    novelty: float = 0.0
    novelty_sd: float = 0.0
    scores: tuple[float, ...] = ()

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
    def _lookup(self) -> NDArray[Any]:
        """LEVELS and TEXT: the bin of each code. VALUES: the value of each bin, and NaN for a rank past the last."""
        if self.is_numeric:
            return np.array([*self.edges, np.nan], np.float64)
        return np.array(self.bin_of_code, np.int64)

    def place(self, values: FloatArray) -> IntArray:
        """The bin of each encoded value (raw units, or a level's code; NaN is missing), shape (n,)."""
        found = np.searchsorted(self.edges, values).astype(np.uint64) if self.is_numeric else None
        index = self.settle(values, found).astype(np.int64)
        index[np.isnan(values)] = self.missing
        return index

    def settle(self, values: FloatArray, found: PlaceArray | None) -> NDArray[np.integer[Any]]:
        """The bins of values that are not missing, given how many edges lie below each (numeric features)."""
        if found is None:
            codes = np.fmin(np.fmax(values, 0.0), len(self._lookup) - 1.0).astype(np.intp)
            return np.asarray(self._lookup[codes])
        if self.kind is BinKind.RANGES:
            return found
        return np.where(self._lookup[found] == values, found, found.dtype.type(self.value_bins))
