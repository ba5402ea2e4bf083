"""One column of a batch, whatever a producer made of it, as the type that is counted and stored.

Columns of one plain type are checked by Arrow at some nanoseconds a value. Only those that hold something else (a list,
half of a surrogate pair, numbers among texts) are looked at value by value.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from monitor.batch import BoolArray
from monitor.errors import SchemaMismatch
from monitor.schema import Feature, FloatArray, Schema

LONGEST_ID = 256  # characters, of ids and version names
LONGEST_TEXT = 8_192  # characters of any other value
_FAILED = (pa.ArrowException, TypeError, ValueError, OverflowError)


class Records:
    """Rows of objects as columns of their values, whatever these are."""

    def __init__(self, columns: Mapping[str, list[Any]], rows: int) -> None:
        self.columns, self._rows = columns, rows

    def __len__(self) -> int:
        return self._rows


Rows: TypeAlias = pd.DataFrame | pa.Table | Records


class Reasons:
    """The first reason against each row; `none` says which rows have none, shape (n,)."""

    def __init__(self, rows: int) -> None:
        self.found: dict[int, str] = {}
        self.none: BoolArray = np.ones(rows, dtype=np.bool_)

    def add(self, against: BoolArray, reason: Callable[[int], str]) -> None:
        for i in np.flatnonzero(against & self.none):
            self.found[int(i)] = reason(int(i))
        self.none &= ~against


class Taken:
    """A column as it came: an Arrow array of one plain type, or else objects."""

    def __init__(self, name: str, plain: pa.Array | None, source: "list[Any] | pd.Series[Any] | None") -> None:
        self.name, self.plain, self._source = name, plain, source

    @classmethod
    def of(cls, rows: Rows, name: str) -> "Taken":
        if isinstance(rows, pa.Table):
            column = rows.column(name)
            column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
            plain = _plain(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
            return cls(name, plain, None if plain is not None else column.to_pylist())
        series = rows.columns[name] if isinstance(rows, Records) else rows[name]
        try:
            found = pa.array(series, from_pandas=True)
        except _FAILED:
            return cls(name, None, series)
        if isinstance(found, pa.ChunkedArray):
            found = found.combine_chunks()
        plain = _plain(found)
        return cls(name, plain, series)

    @property
    def values(self) -> "pa.Array | list[Any] | pd.Series[Any]":
        """As it came."""
        return self.plain if self._source is None else self._source

    @classmethod
    def absent(cls, name: str, rows: int) -> "Taken":
        return cls(name, pa.nulls(rows), None)

    @cached_property
    def objects(self) -> "pd.Series[Any]":
        """Value by value, None where there is none."""
        if self._source is None:
            assert self.plain is not None
            series: pd.Series[Any] = self.plain.to_pandas()
            return series
        return _objects(self._source).reset_index(drop=True)

    def shown(self, row: int) -> str:
        """One value for a message."""
        return short(self.objects[row])

    def refuse_unstorable(self, reasons: Reasons, *, longest: int = LONGEST_TEXT) -> None:
        """Speak against values that no column of the database holds."""
        if self.plain is not None and not (_is_text(self.plain) and _may_be_at_fault(self.plain, longest)):
            return
        values = self.objects.to_numpy(object)
        faults = [_fault(value, longest) for value in values]
        against = np.fromiter((fault is not None for fault in faults), np.bool_, len(faults))
        reasons.add(against, lambda i: f"{self.name}: {faults[i]}")

    def texts(self, write: Callable[[Any], str | None] = str) -> pa.Array:
        """As texts; a value that is none is written by `write`."""
        if self.plain is None:
            return pa.array([None if _is_missing(v) else _encodable(write(v)) for v in self.objects], pa.string())
        if _is_text(self.plain):
            return self.plain
        if pa.types.is_integer(self.plain.type):
            return self.plain.cast(pa.string())
        if pa.types.is_null(self.plain.type):
            return pa.nulls(len(self.plain), pa.string())
        distinct = self.plain.dictionary_encode()
        written = [None if _is_missing(v) else write(v) for v in distinct.dictionary.to_pylist()]
        return pa.array(written, pa.string()).take(distinct.indices)

    def numbers(self, feature: Feature | None = None) -> tuple[FloatArray, BoolArray | None]:
        """As numbers with NaN, and which values were none (None: all were numbers, or missing)."""
        plain = self.plain
        if plain is not None and _is_number(plain):
            return np.asarray(_floats(plain)), None
        values = self.objects
        if feature is not None:
            found = Schema((feature,)).encode_column(pd.DataFrame({feature.name: values}), feature.name)
        else:
            found = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
        unread = np.isnan(found) & values.notna().to_numpy()
        return found, unread if unread.any() else None


def short(value: object) -> str:
    """A value for a message, in ASCII and of bounded length."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def names_of(rows: Rows) -> list[str]:
    """The names of the columns.

    Raises:
        SchemaMismatch: one is there twice.
    """
    if isinstance(rows, Records):
        return list(rows.columns)
    names = rows.column_names if isinstance(rows, pa.Table) else [str(name) for name in rows.columns]
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise SchemaMismatch(f"expected distinct column names, got {', '.join(repeated)} more than once")
    return names


def row_of(rows: Rows, position: int) -> dict[str, Any]:
    """One row as it came."""
    if isinstance(rows, Records):
        return {name: values[position] for name, values in rows.columns.items()}
    if isinstance(rows, pa.Table):
        found: dict[str, Any] = rows.slice(position, 1).to_pylist()[0]
        return found
    return {str(name): value for name, value in rows.iloc[position].items()}


def frame_of(rows: Rows) -> pd.DataFrame:
    """The same rows as a frame, values as they came."""
    if isinstance(rows, Records):
        return pd.DataFrame({name: _objects(values) for name, values in rows.columns.items()}, index=range(len(rows)))
    return rows.to_pandas() if isinstance(rows, pa.Table) else rows


def _objects(values: "list[Any] | pd.Series[Any]") -> "pd.Series[Any]":
    return values if isinstance(values, pd.Series) else pd.Series(values, dtype=object)


def _plain(column: pa.Array) -> pa.Array | None:
    """Numbers, times and UTF-8 texts as they are; None for what has to be looked at value by value."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    known = pa.types.is_string(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    if known or pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind):
        return column
    return None


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type))


def _is_number(column: pa.Array) -> bool:
    kind = column.type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)
    )


def _floats(column: pa.Array) -> FloatArray:
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _may_be_at_fault(texts: pa.Array, longest: int) -> bool:
    """Whether a look at each value is due: one is long, or holds a NUL."""
    _, offsets, data = texts.buffers()
    if data is None or offsets is None:
        return False
    ends = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)
    return bool((np.diff(ends) > longest).any()) or b"\0" in data.to_pybytes()[ends[0] : ends[-1]]


def _fault(value: object, longest: int) -> str | None:
    if isinstance(value, str):
        if len(value) > longest:
            return f"expected at most {longest:,} characters, got {len(value):,}"
        if "\x00" in value or not (value.isascii() or _is_unicode(value)):
            return f"expected readable text, got {short(value)}"
    elif isinstance(value, Sequence | Mapping | set | np.ndarray):
        return f"expected one value, got {short(value)}"
    return None


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _encodable(text: str | None) -> str | None:
    """A refused row's text may be none; its place must still be filled."""
    return text if text is None or text.isascii() or _is_unicode(text) else ascii(text)


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def class_text(value: object) -> str | None:
    """A class or label as text: whole numbers without a decimal point, booleans as 1 and 0."""
    if _is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    return str(value)
