"""Calendars as people have them: what is understood, and what is left out with a sentence."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.alerts.calendar import ExpectedEvent, expected_in
from monitor.errors import BadInput
from monitor.intake.calendar_files import Read, read_calendar
from monitor.windows import Window

ICS = r"""BEGIN:VCALENDAR
VERSION:2.0
BEGIN:VEVENT
SUMMARY:Tag der Deutschen Einheit\, everywhere
DTSTART;VALUE=DATE:20261003
DTEND;VALUE=DATE:20261004
RRULE:FREQ=YEARLY;BYMONTH=10;BYMONTHDAY=3
BEGIN:VALARM
SUMMARY:not the event's
TRIGGER:-PT15M
END:VALARM
END:VEVENT
BEGIN:VEVENT
SUMMARY:Black Fri
 day
DTSTART;TZID=Europe/Berlin:20261127T080000
DURATION:PT40H
END:VEVENT
BEGIN:VEVENT
SUMMARY:Team lunch
DTSTART:20261127T110000Z
DTEND:20261127T120000Z
RRULE:FREQ=WEEKLY
END:VEVENT
BEGIN:VEVENT
SUMMARY:One day
DTSTART;VALUE=DATE:20260501
END:VEVENT
END:VCALENDAR
"""


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)


def read(folder: Path, text: str, name: str) -> Read:
    path = folder / name
    path.write_text(text)
    return read_calendar(path)


def test_an_ics_file_gives_days_moments_durations_and_years(tmp_path: Path):
    found = read(tmp_path, ICS, "holidays.ics")
    unity, friday, may = found.events
    assert unity == ExpectedEvent(
        name="Tag der Deutschen Einheit, everywhere", span=Window(at(2026, 10, 3), at(2026, 10, 4)), yearly=True
    )
    assert friday.name == "Black Friday"
    assert (friday.span.start, friday.span.width) == (at(2026, 11, 27, 7), timedelta(hours=40))
    assert may.span == Window(at(2026, 5, 1), at(2026, 5, 2))
    (sentence,) = found.left_out
    assert sentence.startswith("holidays.ics, line 19: expected no recurrence or FREQ=YEARLY")


def test_a_csv_file_includes_its_last_day(tmp_path: Path):
    text = "name,start,end,yearly\nChristmas,2026-12-24,2026-12-26,yes\nRepair,2026-06-01T08:00,2026-06-01T09:30,\n"
    christmas, repair = read(tmp_path, text, "events.csv").events
    assert (christmas.span.end, christmas.yearly) == (at(2026, 12, 27), True)
    assert (repair.span.width, repair.yearly) == (timedelta(minutes=90), False)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("Easter,5 April,,", "expected a day or time such as 2026-11-27"),
        ("Easter,2026-04-05,2026-04-01,", "ends after it starts"),
        ("Easter,2026-04-05,,maybe", "expected yes or no as yearly, got 'maybe'"),
        ("Move,2026-04-05,2028-04-05,", "at most 366 days"),
    ],
)
def test_a_bad_row_is_left_out_with_its_line_and_the_others_stay(tmp_path: Path, row: str, sentence: str):
    found = read(tmp_path, f"name,start,end,yearly\n{row}\nGood,2026-04-05,,\n", "events.csv")
    assert [event.name for event in found.events] == ["Good"]
    assert found.left_out[0].startswith("events.csv, line 2: ")
    assert sentence in found.left_out[0]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.txt", "x", "as .ics or .csv, got .txt"),
        ("a.ics", "<html>", "begins with BEGIN:VCALENDAR"),
        ("a.ics", "BEGIN:VCALENDAR\nEND:VCALENDAR", "expected events in a.ics, got none"),
        ("a.csv", "when,what\n1,2\n", "expected the columns name, start, end and yearly"),
    ],
)
def test_a_file_that_is_no_calendar_is_refused(tmp_path: Path, name: str, text: str, sentence: str):
    with pytest.raises(BadInput, match=sentence):
        read(tmp_path, text, name)


def test_a_missing_or_binary_file_is_a_sentence(tmp_path: Path):
    with pytest.raises(BadInput, match="No such file"):
        read_calendar(tmp_path / "none.ics")
    (tmp_path / "b.ics").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="in UTF-8"):
        read_calendar(tmp_path / "b.ics")


def test_a_yearly_event_over_new_year_is_found_on_both_sides():
    event = ExpectedEvent(name="New year", span=Window(at(2020, 12, 30), at(2021, 1, 3)), yearly=True)
    hits = [day for day in range(1, 366) if event.overlaps(_day(day))]
    assert hits == [1, 2, 364, 365]
    assert not event.overlaps(Window(at(2019, 12, 31), at(2020, 1, 1)))


def test_a_leap_day_is_left_out_in_other_years():
    event = ExpectedEvent(name="Leap", span=Window(at(2024, 2, 29), at(2024, 3, 1)), yearly=True)
    assert [year for year in range(2024, 2033) if event.overlaps(Window(at(year, 2, 1), at(year, 4, 1)))] == [
        2024, 2028, 2032,
    ]  # fmt: skip


def test_the_names_of_all_events_of_a_window_are_told_once():
    events = [ExpectedEvent(name=name, span=_day(1)) for name in ("Sale", "Audit", "Sale")]
    assert expected_in(events, _day(1)) == "Audit, Sale"
    assert expected_in(events, _day(2)) is None


def _day(number: int) -> Window:
    return Window(at(2026, 1, 1) + timedelta(days=number - 1), at(2026, 1, 1) + timedelta(days=number))
