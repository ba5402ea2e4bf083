"""The sufficient statistic of a stretch of traffic: counts over frozen bins. Windows add up, machines add up."""

import struct
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Self

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from monitor.batch import Batch
from monitor.drift.bins import BinKind, Binning, FeatureBins, FloatArray, IntArray
from monitor.drift.joint import JointSums
from monitor.drift.placing import BoolArray, row_blocks
from monitor.errors import BadInput, SchemaMismatch

__all__ = ["BinKind", "Binning", "FeatureBins", "Profile"]

FAULTS = ("positive_infinity", "negative_infinity", "unparsed", "absent")
MOMENTS = ("n", "sum", "sum_of_squares", "min", "max")
_HEADER = struct.Struct("<4s16sq")
_MAGIC = b"HFP2"


@dataclass(frozen=True, eq=False)
class Profile:
    """Counts of every feature's bins over some rows, with moments in raw units and faults counted apart.

    Attributes:
        counts: rows in each bin, features end to end as `binning.offsets` says, shape (bins,).
        faults: per feature the rows with +inf, −inf, an unparseable value, or without the column, shape (features, 4).
            Infinities are also counted in the outermost bins, the other two as missing.
        moments: per numeric feature n, Σx, Σx², min, max over finite values (0, 0, 0, inf, −inf if none),
            shape (features, 5).
        joint: sums over products of scores, of the features that are looked at in pairs; of few rows of a long batch.

    >>> day = pd.DataFrame({"amount": [1.0, 2.0, None], "channel": ["app", "web", "fax"]})
    >>> binning = Binning.fit(day)
    >>> both = Profile.of(day, binning) + Profile.of(day, binning)
    >>> both.rows, both.counts_of("channel").tolist(), both.mean("amount")
    (6, [2, 2, 2, 0, 0, 0], 1.5)
    """

    binning: Binning
    rows: int
    counts: IntArray
    faults: IntArray
    moments: FloatArray
    joint: JointSums

    @classmethod
    def empty(cls, binning: Binning) -> Self:
        features = len(binning.features)
        moments = np.tile([0.0, 0.0, 0.0, np.inf, -np.inf], (features, 1))
        return cls(
            binning=binning,
            rows=0,
            counts=np.zeros(binning.size, np.int64),
            faults=np.zeros((features, len(FAULTS)), np.int64),
            moments=moments,
            joint=JointSums.empty(len(binning.joint)),
        )

    @classmethod
    def of(cls, data: Batch | pd.DataFrame | FloatArray, binning: Binning) -> Self:
        """Count a batch, a frame, or rows already encoded by `binning.schema`, shape (n, features)."""
        if isinstance(data, Batch):
            columns, faults = list(data.encoded(binning.schema)), data.faults(binning.schema)
        elif isinstance(data, pd.DataFrame):
            columns = [binning.schema.encode_column(data, name) for name in binning.schema.names]
            faults = _column_faults(data, binning, columns)
        else:
            columns = list(_columns_of(np.asarray(data, dtype=np.float64), len(binning.features)))
            faults = np.zeros((len(columns), 2), np.int64)
        blocks = [cls._of_block(columns, binning, rows) for rows in row_blocks(len(data))]
        profile = reduce(add, blocks or [cls.empty(binning)])
        profile.faults[:, 2:] = faults
        return profile

    @classmethod
    def _of_block(cls, columns: Sequence[FloatArray], binning: Binning, rows: slice) -> Self:
        values = np.array([column[rows] for column in columns])
        places = np.empty(values.shape, binning.place_type)  # each row's bin of each feature
        profile = replace(cls.empty(binning), rows=values.shape[1])
        for tile in binning.tiles(profile.rows):
            chosen, missing = values[tile.at], np.isnan(values[tile.at])
            if tile.is_numeric:
                profile.moments[tile.at], profile.faults[tile.at, :2] = _moments(chosen, missing)
            places[tile.at] = binning.place(tile, chosen, missing)
        for bins, span, row in zip(binning.features, binning.spans, places, strict=True):
            profile.counts[span] = np.bincount(row, minlength=bins.size)
        return replace(profile, joint=JointSums.of(places[binning.joint], binning.score_tables))

    def __add__(self, other: Self) -> Self:
        require_same(self.binning, other.binning)
        moments = _merged(self.moments, other.moments)
        rows, counts, faults = self.rows + other.rows, self.counts + other.counts, self.faults + other.faults
        return type(self)(self.binning, rows, counts, faults, moments, self.joint + other.joint)

    def without(self, names: Collection[str]) -> Self:
        """The same rows as if nothing were known of some features; a reference without them does not test them."""
        counts, moments = self.counts.copy(), self.moments.copy()
        blank = self.empty(self.binning)
        for name in names:
            counts[self.binning.slice(name)] = 0
            moments[self.binning.position[name]] = blank.moments[self.binning.position[name]]
        unknown = [at for at, j in enumerate(self.binning.joint) if self.binning.features[j].name in names]
        return replace(self, counts=counts, moments=moments, joint=self.joint.without(unknown))

    def counts_of(self, name: str) -> IntArray:
        return self.counts[self.binning.slice(name)]

    def missing_share(self, name: str) -> float:
        """Missing or unparseable rows over all rows; 0 for an empty profile."""
        return float(self.counts_of(name)[-1]) / max(self.rows, 1)

    def unseen_share(self, name: str) -> float:
        """Rows with a value that the reference never had, over all rows."""
        unseen = self.binning[name].unseen
        return 0.0 if unseen is None else float(self.counts_of(name)[unseen]) / max(self.rows, 1)

    def fault(self, name: str, fault: str) -> int:
        """How many rows had one of `FAULTS`."""
        return int(self.faults[self.binning.position[name], FAULTS.index(fault)])

    def is_absent(self, name: str) -> bool:
        """Whether no row came with this column."""
        return self.rows > 0 and self.fault(name, "absent") == self.rows

    def mean(self, name: str) -> float | None:
        """Over finite values, in raw units; None without any, or if their sum is past the largest float."""
        n, total = self.moments[self.binning.position[name], :2]
        return float(total / n) if n and np.isfinite(total) else None

    def std(self, name: str) -> float | None:
        """The population standard deviation over finite values, in raw units; None if it is past the largest float."""
        n, total, squares = self.moments[self.binning.position[name], :3]
        if not n or not np.isfinite(squares):
            return None
        return float(np.sqrt(max(squares / n - (total / n) ** 2, 0.0)))

    def quantile(self, name: str, q: float) -> float | None:
        """The q-quantile of a numeric feature, interpolated within its bin; None if categorical or without values."""
        bins, j = self.binning[name], self.binning.position[name]
        counts = self.counts_of(name)[: bins.value_bins].astype(np.float64)
        if not bins.is_numeric or counts.sum() == 0 or not np.isfinite(self.moments[j, 3]):
            return None
        cumulative = np.cumsum(counts) / counts.sum()
        b = min(int(np.searchsorted(cumulative, q, side="left")), bins.value_bins - 1)
        if bins.kind is BinKind.VALUES:
            return bins.edges[b]
        low, high = float(self.moments[j, 3]), float(self.moments[j, 4])
        left = max(bins.edges[b - 1], low) if b > 0 else low
        right = min(bins.edges[b], high) if b < len(bins.edges) else high
        share = counts[b] / counts.sum()
        within = (q - (cumulative[b] - share)) / share if share > 0 else 1.0
        return float(left + np.clip(within, 0.0, 1.0) * (max(right, left) - left))

    def to_bytes(self) -> bytes:
        """Compressed, the same bytes for the same counts."""
        header = _HEADER.pack(_MAGIC, self.binning.binning_id.encode(), self.rows)
        body = self.counts.astype("<i8").tobytes() + self.faults.astype("<i8").tobytes()
        return header + zlib.compress(body + self.moments.astype("<f8").tobytes() + self.joint.to_bytes(), 6)

    @classmethod
    def from_bytes(cls, data: bytes, binning: Binning) -> Self:
        """The profile that `to_bytes` wrote.

        Raises:
            BadInput: the bytes are not a profile, or one of another binning.
        """
        if data[:4] != _MAGIC or len(data) < _HEADER.size:
            raise BadInput("expected the bytes of a profile, got something else: profile the rows again")
        _, made_with, rows = _HEADER.unpack_from(data)
        _same(binning, made_with.decode())
        body, features = zlib.decompress(data[_HEADER.size :]), len(binning.features)
        counts = np.frombuffer(body, "<i8", binning.size).astype(np.int64)
        faults = np.frombuffer(body, "<i8", features * len(FAULTS), binning.size * 8).astype(np.int64)
        moments = np.frombuffer(body, "<f8", features * len(MOMENTS), (counts.size + faults.size) * 8).copy()
        after = (counts.size + faults.size + moments.size) * 8
        joint = JointSums.from_bytes(body[after:], len(binning.joint))
        return cls(binning, rows, counts, faults.reshape(features, -1), moments.reshape(features, -1), joint)


def require_same(binning: Binning, other: Binning) -> None:
    """Refuse to compare profiles of two binnings.

    Raises:
        BadInput: they differ.
    """
    if binning is not other:
        _same(binning, other.binning_id)


def _same(binning: Binning, other_id: str) -> None:
    if binning.binning_id != other_id:
        raise BadInput(
            f"expected a profile of binning {binning.binning_id}, got one of {other_id}: "
            "profile both with the same reference"
        )


def _merged(a: FloatArray, b: FloatArray) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):  # sums of values near the largest float
        sums = a[:, :3] + b[:, :3]
    return np.column_stack([sums, np.minimum(a[:, 3], b[:, 3]), np.maximum(a[:, 4], b[:, 4])])


def _moments(values: FloatArray, missing: BoolArray) -> tuple[FloatArray, IntArray]:
    """MOMENTS of each row's finite values, shape (features, 5), and its +inf and −inf, shape (features, 2).

    `missing` says which are NaN; these are overwritten by 0.
    """
    found, infinities = np.empty((len(values), len(MOMENTS))), np.zeros((len(values), 2), np.int64)
    low = np.fmin.reduce(values, axis=1, initial=np.inf, out=found[:, 3])
    high = np.fmax.reduce(values, axis=1, initial=-np.inf, out=found[:, 4])
    if (low == -np.inf).any() or (high == np.inf).any():
        infinities = np.column_stack([(values == np.inf).sum(axis=1), (values == -np.inf).sum(axis=1)])
        finite = np.where(np.isinf(values), np.nan, values)
        return _moments(finite, np.isnan(finite))[0], infinities
    np.copyto(values, 0.0, where=missing)
    found[:, 0] = [row.size - np.count_nonzero(row) for row in missing]
    with np.errstate(over="ignore", invalid="ignore"):
        values.sum(axis=1, out=found[:, 1])
        np.einsum("ij,ij->i", values, values, out=found[:, 2])  # a dot product would wake the threads of the BLAS
    return found, infinities


def _column_faults(frame: pd.DataFrame, binning: Binning, columns: Sequence[FloatArray]) -> IntArray:
    """Per feature the rows whose value is not a number, and those without the column, shape (features, 2)."""
    faults = np.zeros((len(columns), 2), np.int64)
    plain = {name for name, dtype in zip(frame.columns, frame.dtypes, strict=True) if is_numeric_dtype(dtype)}
    for j, (bins, values) in enumerate(zip(binning.features, columns, strict=True)):
        if bins.name not in frame.columns:
            faults[j, 1] = len(frame)
        elif bins.is_numeric and bins.name not in plain:
            faults[j, 0] = np.count_nonzero(np.isnan(values) & frame[bins.name].notna().to_numpy())
    return faults


def _columns_of(rows: FloatArray, features: int) -> FloatArray:
    if rows.ndim != 2 or rows.shape[1] != features:
        raise SchemaMismatch(f"expected encoded rows of {features} features, got shape {rows.shape}")
    return rows.T
