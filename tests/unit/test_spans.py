"""Spans as people type them: what is wrong is told in their own words."""

from datetime import date

import pytest

from monitor.errors import BadInput
from monitor.windows import parse_moment, parse_width, span_of


def test_an_end_before_its_beginning_is_refused_with_both_as_they_were_typed():
    with pytest.raises(BadInput, match="expected an end after 2026-06-02, got 2026-06-01"):
        span_of(date(2026, 6, 2), date(2026, 6, 1))


def test_a_moment_that_ends_when_it_begins_is_refused():
    moment = parse_moment("2026-06-02T08:00")
    with pytest.raises(BadInput, match="expected an end after 2026-06-02T08:00:00, got 2026-06-02T08:00:00"):
        span_of(moment, moment)


def test_a_length_of_time_that_is_none_is_not_called_a_window():
    with pytest.raises(BadInput, match="expected a length of time such as 15m, 4h, 1d or 2w, got 'soon'"):
        parse_width("soon")
