"""Half-open UTC intervals, and the grid that stream time is cut into."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from monitor.errors import BadInput

_EPOCH = datetime(1970, 1, 5, tzinfo=UTC)  # a Monday, so that 7-day windows are calendar weeks
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, order=True)
class Window:
    """The half-open interval [start, end) in UTC.

    >>> day = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
    >>> datetime(2026, 1, 1, 23, tzinfo=UTC) in day, day.end in day
    (True, False)
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise BadInput("expected times with a time zone, got naive ones: use datetime(..., tzinfo=UTC)")
        if self.start >= self.end:
            raise BadInput(f"expected a window that ends after it starts, got [{self.start}, {self.end})")

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    @property
    def width(self) -> timedelta:
        return self.end - self.start

    def overlaps(self, other: "Window") -> bool:
        return self.start < other.end and other.start < self.end


def floor_to_grid(moment: datetime, width: timedelta, *, origin: datetime = _EPOCH) -> datetime:
    """The start of the grid window of `width` that holds `moment`; the grid passes through `origin`."""
    return origin + ((moment - origin) // width) * width


def grid(start: datetime, end: datetime, width: timedelta, *, origin: datetime = _EPOCH) -> Iterator[Window]:
    """The whole grid windows that lie within [start, end), in order."""
    left = floor_to_grid(start, width, origin=origin)
    if left < start:
        left += width
    while left + width <= end:
        yield Window(left, left + width)
        left += width


def parse_width(text: str) -> timedelta:
    """A width such as `15m`, `1h`, `7d` or `2w` as a timedelta.

    >>> parse_width("7d")
    datetime.timedelta(days=7)
    """
    match = re.fullmatch(r"(\d+)\s*([mhdw])", text.strip().lower())
    if match is None or int(match[1]) == 0:
        raise BadInput(f"expected a length of time such as 15m, 4h, 1d or 2w, got {text!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_moment(text: str) -> date:
    """A day, or a moment of one; without a zone it is UTC.

    >>> parse_moment("2026-11-27"), parse_moment("2026-11-27 08:00+01:00").isoformat()
    (datetime.date(2026, 11, 27), '2026-11-27T08:00:00+01:00')
    """
    text = text.strip()
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"expected a day or time such as 2026-11-27 or 2026-11-27T08:00, got {text!r}") from error


def moment_of(day: date) -> datetime:
    """A moment in UTC; of a day, its first."""
    if not isinstance(day, datetime):
        return datetime.combine(day, time(), UTC)
    return (day if day.tzinfo else day.replace(tzinfo=UTC)).astimezone(UTC)


def span_of(first: date, last: date | None = None) -> Window:
    """From a day or moment to another; a day is meant with all its hours, so “to the 27th” includes the 27th.

    >>> span_of(date(2026, 11, 27), date(2026, 11, 28)).width
    datetime.timedelta(days=2)
    """
    if last is None and isinstance(first, datetime):
        raise BadInput(f"expected an end beside the moment {first.isoformat()}: only a day ends by itself")
    last = first if last is None else last
    start = moment_of(first)
    end = moment_of(last) if isinstance(last, datetime) else moment_of(last) + timedelta(days=1)
    if end <= start:
        raise BadInput(f"expected an end after {first.isoformat()}, got {last.isoformat()}")
    return Window(start, end)
