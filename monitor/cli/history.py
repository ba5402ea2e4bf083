"""A person's own file, read as the history of a model: which column is what, what was normal, what to leave out."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from monitor.cli.meaning import meaning_of
from monitor.cli.schema_guess import vectors_of
from monitor.db.trace_tables import RESERVED
from monitor.drift import likely_leaks, time_proxies, unique_columns, year_columns
from monitor.drift.reference import MIN_WINDOW_ROWS
from monitor.errors import BadInput, NotEnoughData
from monitor.intake.columns import Columns, require_columns, roles
from monitor.intake.sources.files import read_file
from monitor.schema import Schema
from monitor.windows import Window, floor_to_grid, grid, parse_width

AUTO_WIDTHS = (timedelta(days=1), timedelta(days=7), timedelta(days=30))
AUTO_ROWS = 200  # a window this full makes a daily AUC worth reading
ENOUGH_TICKS = 50  # of a reference, to tell drift from season and from the weather of days
REFERENCE_SHARE = 0.3
CLOCK_STEP = timedelta(days=7)  # at most: a wider step hides a column that follows months or seasons
LEAST_REFERENCE_ROWS = 1_000
LEAST_REFERENCE_WINDOWS = 4


@dataclass(frozen=True, kw_only=True)
class History:
    """Rows in order of time, with everything that monitoring needs to know about them.

    `rows` has `trace_id`, `event_time` and the features; `label`, `label_time`, `prediction` (text) and `score` where
    the file has them; a score is the probability of the positive class, of several classes that of the predicted one.
    `notes` are sentences for the person.
    """

    rows: pd.DataFrame
    schema: Schema
    task: str
    positive: str | None
    classes: tuple[str, ...]
    width: timedelta
    reference: Window
    end: datetime
    notes: tuple[str, ...]
    ignored: dict[str, str]
    leaks: dict[str, str]

    @property
    def reference_windows(self) -> list[Window]:
        return list(grid(self.reference.start, self.reference.end, self.width))

    @property
    def tick(self) -> timedelta:
        """How far the drift detector steps: a window, or whole days of it where the reference holds too few windows."""
        days = self.width // timedelta(days=1)
        for tick in (self.width, *(timedelta(days=n) for n in range(days - 1, 0, -1) if days % n == 0)):
            filled = _buckets(self.within(self.reference)["event_time"], tick).value_counts()
            if len(filled) >= ENOUGH_TICKS and float(filled.median()) >= MIN_WINDOW_ROWS:
                return tick
        return self.width

    @property
    def reference_ticks(self) -> list[Window]:
        return list(grid(self.reference.start, self.reference.end, self.tick))

    @property
    def monitored_windows(self) -> list[Window]:
        return list(grid(self.reference.end, self.end, self.width))

    @property
    def sentences(self) -> list[str]:
        """What a person should know before the result."""
        told = [f"{len(self.rows):,} rows, {len(self.schema.fields)} features, windows of {_words(self.width)}"]
        told += [
            f"{vector.name} is a vector of {vector.size:,} numbers, watched by its norm and "
            f"{len(vector.summaries) - 1} projections"
            for vector in self.schema.vectors
        ]
        told += [f"{name} ignored: {why}" for name, why in self.ignored.items()]
        told += list(self.leaks.values())
        told += self.notes
        told.append(
            f"reference {self.reference.start:%Y-%m-%d} to {self.reference.end:%Y-%m-%d} "
            f"({len(self.reference_windows)} windows; change with --reference-until)"
        )
        return told

    def within(self, window: Window) -> pd.DataFrame:
        """The rows of a window; `rows` is sorted by time, so this is a slice."""
        times = self.rows["event_time"]
        return self.rows.iloc[times.searchsorted(window.start) : times.searchsorted(window.end)]


def read_history(path: Path, columns: Columns, *, window: str = "auto", reference_until: str | None = None) -> History:
    """Read a file and understand it; raises what `understand` raises, and BadInput if it cannot be read."""
    return understand(read_file(path), columns, name=path.name, window=window, reference_until=reference_until)


def understand(
    frame: pd.DataFrame, columns: Columns, *, name: str, window: str = "auto", reference_until: str | None = None
) -> History:
    """Find out what a frame says of a model: its task, schema, windows and reference. `name` makes ids where none are.

    Raises:
        BadInput: a named column that is not there, times that cannot be read, a target that is empty, constant, or not
            what it was said to be.
        NotEnoughData: the reference is shorter than the minimum.
    """
    require_columns(frame, columns)
    rows, dropped = roles(frame, columns, seed=name)
    meaning = meaning_of(rows, columns)
    width = _width(rows["event_time"], window)
    reference, end = _reference(rows["event_time"], width, reference_until)
    within = rows[rows["event_time"].between(reference.start, reference.end, inclusive="left")]
    features = frame.loc[rows.index].drop(columns=[*set(columns.named()), *columns.drop])
    features = features.rename(columns={name: f"{name}_" for name in features.columns if name in RESERVED})
    found, ignored = vectors_of(features)
    vectors = features[[vector.name for vector in found]]
    features = features.drop(columns=[*vectors.columns, *ignored])
    dated = year_columns(features, rows["event_time"])
    features = features.drop(columns=list(dated))
    timed = _ignored(features.loc[within.index], within["event_time"], reference, width)
    features = features.drop(columns=list(timed))
    ignored |= dict.fromkeys(dated, "counts the years: it tells the date, not the world") | timed
    if features.shape[1] == 0 and not found:
        raise BadInput(
            "expected at least one feature beside the time, target and ignored columns: name fewer in --drop"
        )
    known = Schema.infer(features.loc[within.index]).features if features.shape[1] else ()
    schema = Schema(known, vectors=found)
    summaries = schema.conform(pd.concat([features, vectors], axis=1))
    history = History(
        rows=pd.concat([rows, summaries, vectors], axis=1).reset_index(drop=True),
        schema=schema,
        task=str(meaning.task),
        positive=meaning.positive,
        classes=meaning.classes,
        width=width,
        reference=reference,
        end=end,
        notes=(*dropped, *meaning.notes),
        ignored=ignored,
        leaks=_leaks(features.loc[within.index], within),
    )
    return _require_reference(history)


def _width(times: "pd.Series[Any]", window: str) -> timedelta:
    if window != "auto":
        return parse_width(window)
    for width in AUTO_WIDTHS:
        if float(_buckets(times, width).value_counts().median()) >= AUTO_ROWS:
            return width
    return AUTO_WIDTHS[-1]


def _buckets(times: "pd.Series[Any]", width: timedelta) -> "pd.Series[Any]":
    origin = pd.Timestamp(floor_to_grid(datetime(1970, 1, 5, tzinfo=UTC), width))
    return (times - origin) // pd.Timedelta(width)


def _reference(times: "pd.Series[Any]", width: timedelta, until: str | None) -> tuple[Window, datetime]:
    """The whole windows of the reference, and where the last whole window of the history ends."""
    first, last = times.iloc[0].to_pydatetime(), times.iloc[-1].to_pydatetime()
    start = floor_to_grid(first, width)
    if first - start > width / 10:  # a first window that is not whole is no measure of normal
        start += width
    end = floor_to_grid(last, width) + width
    if until is None:
        border = first + REFERENCE_SHARE * (last - first)
    else:
        border = _moment(until)
        if not first < border <= last:
            raise BadInput(f"expected --reference-until between {first:%Y-%m-%d} and {last:%Y-%m-%d}, got {until}")
    stop = floor_to_grid(border, width)
    if stop <= start:
        raise NotEnoughData(
            f"expected a reference of at least {LEAST_REFERENCE_WINDOWS} windows of {_words(width)}, got none: "
            "give more history, a later --reference-until or a smaller --window"
        )
    return Window(start, stop), end


def _moment(text: str) -> datetime:
    try:
        moment = pd.Timestamp(text)
    except ValueError as error:
        raise BadInput(f"expected a date such as 2026-03-01 in --reference-until, got {text!r}") from error
    stamped = moment.tz_localize(UTC) if moment.tzinfo is None else moment.tz_convert(UTC)
    return stamped.to_pydatetime()


def _ignored(features: pd.DataFrame, times: "pd.Series[Any]", reference: Window, width: timedelta) -> dict[str, str]:
    """Columns that say nothing about the world: identifiers, and those that merely follow the clock."""
    dates = [str(name) for name in features.columns if pd.api.types.is_datetime64_any_dtype(features[name].dtype)]
    ignored = dict.fromkeys(dates, "a date: it tells the clock, not the world")
    ignored |= dict.fromkeys(unique_columns(features.drop(columns=dates)), "unique in every row: an identifier")
    rest = features.drop(columns=list(ignored))
    frames = [
        (window, rest[times.between(window.start, window.end, inclusive="left")])
        for window in grid(reference.start, reference.end, min(width, CLOCK_STEP))
    ]
    for name in time_proxies(frames):
        ignored[name] = "follows the clock: it tells the date, not the world"
    return ignored


def _leaks(features: pd.DataFrame, rows: pd.DataFrame) -> dict[str, str]:
    if "label" not in rows:
        return {}
    known = rows["label"].notna()
    target = "__target__"
    while target in features:
        target += "_"
    return {
        leak.name: leak.sentence
        for leak in likely_leaks(features[known].assign(**{target: rows.loc[known, "label"]}), target)
    }


def _require_reference(history: History) -> History:
    rows, windows = len(history.within(history.reference)), len(history.reference_windows)
    if rows < LEAST_REFERENCE_ROWS or windows < LEAST_REFERENCE_WINDOWS:
        raise NotEnoughData(
            f"expected a reference of at least {LEAST_REFERENCE_ROWS:,} rows in {LEAST_REFERENCE_WINDOWS} windows of "
            f"{_words(history.width)}, got {rows:,} rows in {windows}: give more history, a later --reference-until or "
            "a smaller --window"
        )
    if not history.monitored_windows:
        raise NotEnoughData("expected windows after the reference, got none: give an earlier --reference-until")
    return history


def _words(width: timedelta) -> str:
    hours = width.total_seconds() / 3600
    return f"{hours / 24:g} d" if hours >= 24 else f"{hours:g} h"
