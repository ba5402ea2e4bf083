"""Times as files hold them: one column or several, ISO or with the day first, epochs, years, names of months."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from monitor.errors import BadInput
from monitor.intake.validate import parse_event_times

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH = pd.Timestamp("1970-01-01T00:00:00Z")
_EPOCHS: dict[Literal["s", "ms", "us", "ns"], tuple[float, float]] = {
    "s": (1e8, 1e11),
    "ms": (1e11, 1e14),
    "us": (1e14, 1e17),
    "ns": (1e17, 1e20),
}  # from 1973 to 5138
_LIMITS = {"year": (1, 9_999), "month": (1, 12), "day": (1, 31), "hour": (0, 23), "minute": (0, 59)}
_DAY_MONTH_YEAR = r"^\s*(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(.*)$"


def parse_times(
    frame: pd.DataFrame, columns: list[str], *, strict: bool = True, day_first: bool | None = None
) -> "pd.Series[Any]":
    """The time of each row in UTC, from one column or several; a time without a zone is taken as UTC.

    Several are year, month (number or English name), day, hour, minute, as many as there are; or a date, hour, minute.
    Unless `strict`, a value of a single column that is no time gives NaT. `day_first` says which comes first in dates
    that end in the year, where the rows do not show it.

    Raises:
        BadInput: a column is not there, or a value is no time; the message shows the first such row.

    >>> parse_times(pd.DataFrame({"y": [2015], "m": ["July"], "d": [1]}), ["y", "m", "d"])[0].isoformat()
    '2015-07-01T00:00:00+00:00'
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing or not columns:
        raise BadInput(
            f"expected a time in {' '.join(columns) or 'a column'}, got {', '.join(map(str, frame.columns))}"
        )
    if len(columns) == 1:
        times = _one_column(frame[columns[0]], day_first)
        return _all_there(times, frame[columns[0]]) if strict else times
    if len(columns) > len(_LIMITS):
        raise BadInput(f"expected at most year, month, day, hour and minute, got {', '.join(columns)}")
    if _are_years(frame[columns[0]]):
        return _date_of([frame[name] for name in columns])
    times = _all_there(_one_column(frame[columns[0]], day_first), frame[columns[0]])
    for name, unit in zip(columns[1:], ("hour", "minute"), strict=False):
        times = times + pd.to_timedelta(_numbers(frame[name], unit), unit="h" if unit == "hour" else "m")
    return times


def day_comes_first(column: "pd.Series[Any]") -> bool | None:
    """Which comes first in dates that end in the year, as some row shows it where the day is above 12; else None.

    >>> day_comes_first(pd.Series(["01/02/2026", "13/02/2026"])), day_comes_first(pd.Series(["2026-02-13"]))
    (True, None)
    """
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_datetime64_any_dtype(column.dtype):
        return None
    parts = column.dropna().map(str).str.extract(_DAY_MONTH_YEAR)
    first, second = parts[0].astype(np.float64), parts[1].astype(np.float64)
    return bool((first > 12).any()) if ((first > 12) | (second > 12)).any() else None


def _one_column(column: "pd.Series[Any]", day_first: bool | None) -> "pd.Series[Any]":
    if _are_years(column):
        return _date_of([column])
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        times = _from_numbers(column)
    else:
        times = parse_event_times(column)
        unread = times.isna() & column.notna()
        if unread.any():
            numbers = pd.to_numeric(column[unread], errors="coerce")
            are_numbers = 2 * int(numbers.notna().sum()) > int(unread.sum())  # among them one that is none
            rest = _from_numbers(numbers) if are_numbers else _day_or_month_first(column[unread].map(str), day_first)
            times = times.where(~unread, rest)
    return times


def _are_years(column: "pd.Series[Any]") -> bool:
    numbers = pd.to_numeric(column, errors="coerce")
    return bool(pd.api.types.is_numeric_dtype(column.dtype) and len(column) and numbers.between(1_900, 2_200).all())


def _from_numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Seconds, milli-, micro- or nanoseconds since 1970 by their size, or days written as 20260301."""
    numbers = column.astype(np.float64)
    days = numbers.between(19_000_101, 22_001_231)
    if days.any() and (days | numbers.isna()).all():
        return parse_event_times(numbers.map("{:.0f}".format).where(days))
    fits = {unit: numbers.between(low, high, inclusive="left") for unit, (low, high) in _EPOCHS.items()}
    unit = max(fits, key=lambda one: int(fits[one].sum()))  # the others are of a clock that is wrong
    return parse_event_times(_EPOCH + pd.to_timedelta(column.where(fits[unit]), unit=unit))


def _day_or_month_first(texts: "pd.Series[str]", day_first: bool | None) -> "pd.Series[Any]":
    """Dates that end in the year. Which number is the day is known, or shows in some row, where it is above 12."""
    parts = texts.str.extract(_DAY_MONTH_YEAR)
    first, second = parts[0].astype(np.float64), parts[1].astype(np.float64)
    if (first > 12).any() or (second > 12).any():
        day_first = bool((first > 12).any())
    either = texts[first.notna() & (first != second)]
    if day_first is None and len(either):
        raise BadInput(
            f"expected dates that can be read in one way, got {either.iloc[0]!r}, whose day may be either number: "
            "write 2026-03-01"
        )
    day, month = (first, second) if day_first else (second, first)
    iso = parts[2] + "-" + month.map("{:02.0f}".format) + "-" + day.map("{:02.0f}".format) + parts[3]
    return parse_event_times(iso)


def _date_of(columns: "list[pd.Series[Any]]") -> "pd.Series[Any]":
    numbers = {part: _numbers(column, part) for part, column in zip(_LIMITS, columns, strict=False)}
    parts = pd.DataFrame({"month": 1, "day": 1} | numbers)
    times = pd.to_datetime(parts, utc=True, errors="coerce").dt.as_unit("us")
    wrong = times.isna()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadInput(f"row {row + 1}: there is no day {' '.join(str(column.iloc[row]) for column in columns)}")
    return times


def _numbers(column: "pd.Series[Any]", part: str) -> "pd.Series[float]":
    low, high = _LIMITS[part]
    if part == "month":
        names = {name: number for number, name in enumerate(_MONTHS, start=1)}
        column = column.map(lambda value: names.get(str(value).strip().lower()[:3], value))
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    good = numbers.between(low, high) & (numbers % 1 == 0)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise BadInput(
            f"row {row + 1}: expected a {part} from {low} to {high} in {column.name}, got {column.iloc[row]!r}"
        )
    return numbers


def _all_there(times: "pd.Series[Any]", column: "pd.Series[Any]") -> "pd.Series[Any]":
    if times.notna().all():
        return times
    row = int(np.flatnonzero(times.isna())[0])
    raise BadInput(
        f"row {row + 1}: expected a time in {column.name}, got {column.iloc[row]!r}: write times such as "
        "2026-03-01T12:30:00Z, or seconds since 1970"
    )
