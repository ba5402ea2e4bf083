"""Vectors, such as embeddings: lists of numbers of one size, and the few numbers that stand for each of them.

What is watched of a vector x of size n are ordinary numbers, its *summaries*: the Euclidean norm, and K = min(8, n)
projections on directions that never change. The coordinates are dealt at random into K hands B_1 … B_K of equal size
(but for one coordinate), each with a random sign s_i, and

    p_k = (Σ_{i in B_k} s_i x_i) / √|B_k|.

No two directions share a coordinate, so they are orthonormal exactly, and a projection costs one addition a coordinate.
Over the random deals (n/K) Σ_k p_k² has the expectation ‖x‖² exactly and a standard deviation of about √(2/K) ‖x‖²: the
projections keep lengths and distances as Johnson and Lindenstrauss (1984) have it, in the sparse form of the count
sketch (Charikar, Chen and Farach-Colton, 2002, https://doi.org/10.1007/3-540-45465-9_59; Weinberger and others, 2009,
https://arxiv.org/abs/0902.2206). A shift of the mean that lies along one direction u by δ shows in p_k as δ u·d_k.

Deals and signs are bits of SHAKE-256 of the size alone: every process, machine and release computes the same summaries,
and a vector that is renamed keeps its history. Vectors are taken as they are stored, in single precision.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.errors import SchemaMismatch

PROJECTIONS = 8
MAX_SIZE = 4_096
_DIGITS = 5  # of a norm: vectors that were scaled to length 1 differ by their rounding alone
_VALUES = 1 << 17  # that are summed at once; they stay in the cache
_SAMPLE = 1_000  # values by which a column of vectors is told
_LEAST_IN_TEXT = 4
_FAILED = (pa.ArrowException, TypeError, ValueError, OverflowError)
Singles: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A vector feature: `size` numbers a row.

    >>> Vector(name="face", size=3).summaries
    ('face.norm', 'face.p1', 'face.p2', 'face.p3')
    """

    name: str
    size: int

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 1 <= self.size <= MAX_SIZE:
            raise SchemaMismatch(f"expected a size of {self.name} from 1 to {MAX_SIZE:,} numbers, got {self.size!r}")

    @property
    def summaries(self) -> tuple[str, ...]:
        """The names of the numbers that stand for it, in the order of `summarise`."""
        return (f"{self.name}.norm", *(f"{self.name}.p{k + 1}" for k in range(projections(self.size))))


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """Values as vectors.

    Attributes:
        there: which of n rows have one, shape (n,).
        vectors: those, in their order, shape (m, size).
        faults: why a row's value is none, by the row.
    """

    there: NDArray[np.bool_]
    vectors: Singles
    faults: Mapping[int, str]

    def summaries(self) -> NDArray[np.float64]:
        """See `summarise`, shape (n, 1 + K); NaN in rows that have no vector."""
        found = np.full((len(self.there), 1 + projections(self.vectors.shape[1])), np.nan)
        found[self.there] = summarise(self.vectors)
        return found

    def to_arrow(self) -> pa.Array:
        """Lists of single numbers, null where there is none."""
        ends = np.cumsum(self.there, dtype=np.int32) * np.int32(self.vectors.shape[1])
        offsets = pa.array(np.concatenate([np.zeros(1, np.int32), ends]))
        return pa.ListArray.from_arrays(offsets, pa.array(self.vectors.ravel()), mask=pa.array(~self.there))


def projections(size: int) -> int:
    """How many projections a vector has."""
    return min(PROJECTIONS, size)


def directions(size: int) -> NDArray[np.float64]:
    """The orthonormal rows d_1 … d_K, shape (K, size).

    >>> np.round(directions(4), 3)
    array([[ 0.,  0.,  0., -1.],
           [ 0., -1.,  0.,  0.],
           [ 0.,  0., -1.,  0.],
           [-1.,  0.,  0.,  0.]])
    """
    order, signs, begins = _deal(size)
    found = np.zeros((projections(size), size))
    for k, hand in enumerate(np.split(order, begins[1:])):
        found[k, hand] = signs[hand] / np.sqrt(len(hand))
    return found


def summarise(rows: Singles) -> NDArray[np.float64]:
    """The norm and the projections of each row, shape (n, size) to (n, 1 + K).

    A norm has five digits: in vectors that are scaled to one length the rest is rounding, which is no drift.

    >>> summarise(np.array([[3.0, 0.0, 4.0]], np.float32)).shape, summarise(np.ones((1, 64), np.float32))[0, 0]
    ((1, 4), np.float64(8.0))
    """
    size = rows.shape[1]
    order, signs, begins = _deal(size)
    lengths = np.diff([*begins, size])
    found = np.empty((len(rows), 1 + projections(size)))
    step = max(1, _VALUES // size)
    for first in range(0, len(rows), step):
        part = rows[first : first + step].astype(np.float64).take(order, axis=1)
        found[first : first + step, 0] = _rounded(np.sqrt(np.einsum("ij,ij->i", part, part)))
        part *= signs[order]
        found[first : first + step, 1:] = np.add.reduceat(part, begins, axis=1) / np.sqrt(lengths)
    return found


def read(values: "pa.Array | pa.ChunkedArray | Sequence[Any] | pd.Series[Any]", size: int) -> Read:
    """Values as vectors of a size: lists of finite numbers, or their JSON text; a missing value is no fault.

    >>> found = read([[1, 2], "[3, 4.5]", None, [1]], 2)
    >>> found.there.tolist(), found.vectors.tolist(), found.faults
    ([True, True, False, False], [[1.0, 2.0], [3.0, 4.5]], {3: 'expected 2 numbers, got 1'})
    """
    lists = _as_lists(values)
    if lists is not None:
        return _read_lists(lists, size)
    given = values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else list(values)
    opened = [None if _is_missing(value) else _list_of(value) for value in given]
    no_lists = {
        i: f"expected a list of {size:,} numbers, got {value!a:.80}"
        for i, value in enumerate(given)
        if opened[i] is None and not _is_missing(value)
    }
    lists = _as_lists(opened)
    found = _read_lists(lists, size) if lists is not None else _one_by_one(opened, size)
    return Read(there=found.there, vectors=found.vectors, faults={**found.faults, **no_lists})


def size_of(values: Iterable[Any]) -> int | None:
    """The size of the vectors in a column, by its first thousand values; 0: lists that are none; None: no lists.

    In texts, lists of fewer than four numbers are categories, such as the interval `[18, 25]`.

    >>> size_of([None, [1.0, 2.0], [3, 4]]), size_of(["[1, 2, 3, 4]"]), size_of([[1], [1, 2]]), size_of(["[18, 25]"])
    (2, 4, 0, None)
    """
    sizes, texts = set(), False
    for value in islice((value for value in values if not _is_missing(value)), _SAMPLE):
        found, texts = _list_of(value), texts or isinstance(value, str)
        if found is None:
            return None
        sizes.add(len(found) if all(_is_number(number) for number in found) else 0)
    if not sizes:
        return None
    size = sizes.pop() if len(sizes) == 1 else 0
    return size if size >= _LEAST_IN_TEXT or not texts else None


def vectors_in(frame: pd.DataFrame) -> tuple[Vector, ...]:
    """The columns of a frame that hold vectors.

    Raises:
        SchemaMismatch: a column holds lists, and they are of several sizes or not of numbers.
    """
    sizes = {str(name): size_of(frame[name]) for name, dtype in frame.dtypes.items() if dtype.kind == "O"}
    odd = [name for name, size in sizes.items() if size == 0]
    if odd:
        raise SchemaMismatch(f"expected vectors of numbers, all of one size, got other lists in {', '.join(odd)}")
    return tuple(Vector(name=name, size=size) for name, size in sizes.items() if size)


@lru_cache(maxsize=64)
def _deal(size: int) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """The coordinates hand by hand, the sign of each coordinate, and where each hand begins."""
    bits = hashlib.shake_256(f"holdfast vector {size}".encode()).digest(8 * size)
    drawn = np.frombuffer(bits, ">u8")
    order = np.argsort(drawn, kind="stable")
    hands = np.array_split(order, projections(size))
    begins = np.cumsum([0, *(len(hand) for hand in hands[:-1])])
    return order, np.where(drawn & np.uint64(1), 1.0, -1.0), begins


def _rounded(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        places = _DIGITS - 1 - np.floor(np.log10(norms))
    scale = np.power(10.0, np.where(np.isfinite(places), places, 0.0))
    return np.asarray(np.rint(norms * scale) / scale)


def _as_lists(values: Any) -> pa.Array | None:
    """A column of lists of numbers, or of nothing, as Arrow has it; None for what has to be looked at one by one."""
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        try:
            values = pa.array(values, from_pandas=True)
        except _FAILED:
            return None
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    kind = values.type
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.list_(pa.float32()))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        known = pa.types.is_integer(inner) or pa.types.is_floating(inner) or pa.types.is_null(inner)
        return values if known else None
    return None


def _read_lists(lists: pa.Array, size: int) -> Read:
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((lengths >= 0) & (lengths != size))
    faults = {int(i): f"expected {size:,} numbers, got {lengths[i]:,}" for i in wrong}
    there = lengths == size
    numbers = pc.list_flatten(lists.filter(pa.array(there)))
    if pa.types.is_null(numbers.type):
        numbers = numbers.cast(pa.float32())
    given = numbers.to_numpy(zero_copy_only=False).reshape(-1, size)
    with np.errstate(over="ignore"):
        vectors = given.astype(np.float32, copy=False)
    whole = np.isfinite(vectors).all(axis=1)
    if not whole.all():
        at = np.flatnonzero(there)
        faults |= {int(at[k]): _not_finite(given[k]) for k in np.flatnonzero(~whole)}
        there[at[~whole]], vectors = False, vectors[whole]
    return Read(there=there, vectors=vectors, faults=faults)


def _one_by_one(lists: Sequence[Sequence[Any] | None], size: int) -> Read:
    there, vectors, faults = np.zeros(len(lists), np.bool_), [], {}
    for i, one in enumerate(lists):
        found = None if one is None else _numbers(one, size)
        if isinstance(found, str):
            faults[i] = found
        elif found is not None:
            there[i] = True
            vectors.append(found)
    return Read(there=there, vectors=np.array(vectors, np.float32).reshape(-1, size), faults=faults)


def _numbers(found: Sequence[Any], size: int) -> Singles | str:
    """A list as a vector, or why it is none."""
    if len(found) != size:
        return f"expected {size:,} numbers, got {len(found):,}"
    for place, number in enumerate(found, 1):
        if not _is_number(number):
            return f"expected finite numbers, got {number!a:.80} in place {place:,}"
    given = np.array([_float(number) for number in found])
    with np.errstate(over="ignore"):
        single = given.astype(np.float32)
    return single if np.isfinite(single).all() else _not_finite(given)


def _not_finite(row: NDArray[Any]) -> str:
    with np.errstate(over="ignore"):
        place = int(np.flatnonzero(~np.isfinite(row.astype(np.float32)))[0])
    return f"expected finite numbers up to 3.4e38, got {row[place]:g} in place {place + 1:,}"


def _list_of(value: Any) -> list[Any] | tuple[Any, ...] | None:
    if isinstance(value, str):
        if not value.lstrip().startswith("["):
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return value if isinstance(value, list | tuple) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))
