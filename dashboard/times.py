"""Moments as the viewer reads them: in their own zone, with UTC at hand."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
import streamlit as st


def zone_name() -> str:
    """The viewer's time zone, UTC where the browser tells none that is known here."""
    name = st.context.timezone
    try:
        return str(ZoneInfo(name)) if isinstance(name, str) else "UTC"
    except (ZoneInfoNotFoundError, ValueError):
        return "UTC"


def local(moment: datetime) -> datetime:
    return moment.astimezone(ZoneInfo(zone_name()))


def moment(at: datetime) -> str:
    """“14 May 2026, 09:00”, in the viewer's zone."""
    return f"{local(at):%-d %b %Y, %H:%M}"


def utc(at: datetime) -> str:
    """“14 May 2026, 07:00 UTC”, for hovering."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def window(starts: datetime, ends: datetime) -> str:
    """A window in words: a whole UTC day is the day, anything else its two ends."""
    whole = starts.astimezone(UTC).time() == ends.astimezone(UTC).time() == datetime.min.time()
    if whole and ends - starts == timedelta(days=1):
        return f"{starts.astimezone(UTC):%-d %b %Y} (UTC day)"
    if whole:
        return f"{starts.astimezone(UTC):%-d %b} to {ends.astimezone(UTC):%-d %b %Y} (UTC)"
    return f"{moment(starts)} to {moment(ends)}"


def axis(moments: pd.Series) -> pd.Series:
    """Times for a chart's axis, which knows no zones: the viewer's wall clock."""
    wall: pd.Series = moments.dt.tz_convert(zone_name()).dt.tz_localize(None)
    return wall


def on_axis(at: datetime) -> datetime:
    return local(at).replace(tzinfo=None)
