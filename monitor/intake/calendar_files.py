"""Calendars that people have already: iCalendar (.ics) and CSV files as expected events.

Of iCalendar the part that calendars of holidays and campaigns use is read: VEVENT with DTSTART, DTEND or DURATION,
SUMMARY, and RRULE:FREQ=YEARLY on the event's own date. Source: RFC 5545.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from monitor.alerts.calendar import LONGEST_NAME, ExpectedEvent
from monitor.errors import BadInput
from monitor.windows import Window, moment_of, parse_moment

MOST_BYTES = 4 * 2**20
_DAY = timedelta(days=1)
_DURATION = re.compile(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_ESCAPED = {"n": " ", "N": " "}
_TRUE, _FALSE = ("yes", "true", "1", "yearly"), ("", "no", "false", "0")


@dataclass(frozen=True, kw_only=True)
class Read:
    """The events of a file, and a sentence for each entry that cannot be one."""

    events: tuple[ExpectedEvent, ...]
    left_out: tuple[str, ...]


def read_calendar(path: Path) -> Read:
    """The events of an .ics or .csv file (columns name, start, end, yearly); times without a zone are UTC.

    Raises:
        BadInput: no such file, another kind of file, or one that holds no event at all.
    """
    text = _text(path)
    match path.suffix.lower():
        case ".ics":
            entries = _ics_entries(text, path.name)
        case ".csv":
            entries = _csv_entries(text, path.name)
        case other:
            raise BadInput(f"expected a calendar as .ics or .csv, got {other or 'a file without an ending'}")
    events, left_out = [], []
    for place, entry in entries:
        try:
            events.append(_event(entry))
        except (BadInput, ValueError, OverflowError) as error:
            left_out.append(f"{path.name}, line {place}: {error}")
    if not events and not left_out:
        raise BadInput(f"expected events in {path.name}, got none")
    return Read(events=tuple(events), left_out=tuple(left_out))


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """An event as the file writes it; `end` is the first moment after it."""

    name: str
    start: date
    end: date | None = None
    duration: timedelta | None = None
    rule: str = ""


def _event(found: "_Entry | BadInput") -> ExpectedEvent:
    if isinstance(found, BadInput):
        raise found
    start = moment_of(found.start)
    end = moment_of(found.end) if found.end is not None else None
    if end is None or end == start:
        whole_day = not isinstance(found.start, datetime)
        end = start + (found.duration or (_DAY if whole_day else timedelta(hours=1)))
    name = " ".join(found.name.split())[:LONGEST_NAME] or "event"
    return ExpectedEvent(name=name, span=Window(start, end), yearly=_is_yearly(found.rule, found.start))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(f"expected a calendar of at most {MOST_BYTES >> 20} MiB, got {path.name} which is larger")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"expected a readable calendar, got {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"expected {path.name} in UTF-8: {error.reason} at byte {error.start}") from error


def _csv_entries(text: str, name: str) -> Iterator[tuple[int, _Entry | BadInput]]:
    rows = csv.DictReader(text.splitlines())
    if not {"name", "start"} <= set(rows.fieldnames or ()):
        raise BadInput(
            f"expected the columns name, start, end and yearly in {name}, got {', '.join(rows.fieldnames or ())}"
        )
    for row in rows:
        yield rows.line_num, _csv_entry(row)


def _csv_entry(row: Mapping[str, str | None]) -> _Entry | BadInput:
    try:
        start = parse_moment(row.get("start") or "")
        end = parse_moment(row["end"] or "") if row.get("end") else None
        yearly = (row.get("yearly") or "").strip().lower()
        if yearly not in _TRUE + _FALSE:
            raise BadInput(f"expected yes or no as yearly, got {yearly!r}")
    except BadInput as error:
        return error
    if end is not None and not isinstance(end, datetime):
        end += _DAY  # a person's “until the 27th” includes the 27th
    rule = "FREQ=YEARLY" if yearly in _TRUE else ""
    return _Entry(name=(row.get("name") or "").strip(), start=start, end=end, rule=rule)


def _ics_entries(text: str, name: str) -> Iterator[tuple[int, _Entry | BadInput]]:
    if "BEGIN:VCALENDAR" not in text.upper():
        raise BadInput(f"expected an iCalendar file that begins with BEGIN:VCALENDAR, got {name}")
    inside: dict[str, tuple[Mapping[str, str], str]] | None = None
    begun, depth = 0, 0
    for number, line in _unfolded(text):
        key, parameters, value = _property(line)
        match key, value.upper():
            case "BEGIN", "VEVENT":
                inside, begun, depth = {}, number, 0
            case "END", "VEVENT" if inside is not None:
                yield begun, _ics_entry(inside)
                inside = None
            case "BEGIN", _:
                depth += 1  # an alarm within the event, whose properties are its own
            case "END", _:
                depth -= 1
            case _ if inside is not None and depth == 0:
                inside.setdefault(key, (parameters, value))


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Lines with the number of their first part; one that begins with a blank continues the one before."""
    whole, begun = "", 1
    for number, line in enumerate(text.splitlines(), start=1):
        if line[:1] in (" ", "\t"):
            whole += line[1:]
            continue
        if whole:
            yield begun, whole
        whole, begun = line, number
    if whole:
        yield begun, whole


def _property(line: str) -> tuple[str, dict[str, str], str]:
    """`DTSTART;TZID=Europe/Berlin:20261127T080000` as name, parameters and value."""
    head, _, value = line.partition(":")
    key, *parameters = head.split(";")
    split = (parameter.partition("=") for parameter in parameters)
    return key.strip().upper(), {name.upper(): told.strip('"') for name, _, told in split}, value.strip()


def _ics_entry(properties: Mapping[str, tuple[Mapping[str, str], str]]) -> _Entry | BadInput:
    try:
        if "DTSTART" not in properties:
            raise BadInput("expected an event with DTSTART, got one without")
        duration = _duration(properties["DURATION"][1]) if "DURATION" in properties else None
        return _Entry(
            name=re.sub(
                r"\\(.)", lambda found: _ESCAPED.get(found[1], found[1]), properties.get("SUMMARY", ({}, ""))[1]
            ),
            start=_ics_moment(*properties["DTSTART"]),
            end=_ics_moment(*properties["DTEND"]) if "DTEND" in properties else None,
            duration=duration,
            rule=properties.get("RRULE", ({}, ""))[1],
        )
    except BadInput as error:
        return error


def _ics_moment(parameters: Mapping[str, str], value: str) -> date:
    try:
        if len(value) == 8:
            return datetime.strptime(value, "%Y%m%d").replace(tzinfo=UTC).date()
        zone = UTC if value.endswith("Z") or "TZID" not in parameters else ZoneInfo(parameters["TZID"])
        return datetime.strptime(value.removesuffix("Z"), "%Y%m%dT%H%M%S").replace(tzinfo=zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise BadInput(
            f"expected a time such as 20261127 or TZID=Europe/Berlin:20261127T080000, "
            f"got {';'.join((*parameters.values(), value))}"
        ) from error


def _duration(value: str) -> timedelta:
    match = _DURATION.fullmatch(value.removeprefix("+"))
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in (match.groups() if match else (None,) * 5))
    found = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not found:
        raise BadInput(f"expected a duration such as P2D or PT4H, got {value}")
    return found


def _is_yearly(rule: str, start: date) -> bool:
    """Whether it comes back every year on its own date; any other recurrence cannot be kept.

    Raises:
        BadInput: another recurrence.
    """
    if not rule:
        return False
    parts = dict(part.upper().partition("=")[::2] for part in rule.split(";") if part)
    own = {"FREQ": "YEARLY", "INTERVAL": "1", "BYMONTH": str(start.month), "BYMONTHDAY": str(start.day)}
    parts.pop("WKST", None)
    if parts.get("FREQ") == "YEARLY" and all(own.get(key) == value for key, value in parts.items()):
        return True
    raise BadInput(
        f"expected no recurrence or FREQ=YEARLY on the event's own date, got {rule}: add its dates one by one"
    )
