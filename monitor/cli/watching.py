"""`holdfast watch`: files as a production log. The flags of the first time are kept with the model's source."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pandas as pd
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from monitor.acts.sources import add_source
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.backtest import model_settings
from monitor.cli.enroll import Enrolment, enroll
from monitor.cli.history import REFERENCE_SHARE, History, understand
from monitor.db.engine import database_now, transaction
from monitor.db.read_alerts import alert_list
from monitor.db.read_model import model_history
from monitor.db.registry import (
    Model,
    ModelSettings,
    Source,
    feature_schema,
    model_named,
    models,
    schema_of,
    source_of,
)
from monitor.drift.reference import MIN_WINDOWS
from monitor.errors import BadInput, HoldfastError, NotFound
from monitor.intake.columns import Columns, read_rows
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.intake.sources.files import FileSource, Part, parse_times
from monitor.jobs.context import Tools
from monitor.jobs.worker import drain
from monitor.windows import parse_width

SOURCE = "files"
REFERENCE_WINDOWS = 28  # as many as the false-alarm budget is held with
_NEWEST = "newest"  # in the bookmark: the newest event time that was taken in
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What a person said this time; None where they said nothing."""

    pattern: str | None
    columns: Columns | None
    window: str = "auto"
    reference_until: str | None = None
    mutable: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One model that follows one pattern of files."""

    tools: Tools
    model: str
    say: Say

    @classmethod
    def begin(cls, tools: Tools, flags: Flags, *, model: str, say: Say) -> Self:
        """Register the model on the first call, from the files that are there; later calls only need its name.

        Raises:
            BadInput: a flag is lacking the first time, or is not the one that was remembered.
            NotEnoughData: the files are too short to say what the model looks like.
        """
        with transaction(tools.engine) as session:
            known = model in {registered.name for registered in models(session)}
            source = _source(session, model_named(session, model)) if known else None
            if source is not None:
                _require_same(session, model_named(session, model), source, flags)
        if source is None:
            pattern, columns = _first_flags(flags, model)
            follow = _follow if known else _register
            follow(tools, replace(flags, pattern=pattern), columns, model, say)
        return cls(tools=tools, model=model, say=say)

    def once(self) -> list[str]:
        """Take in what is there and check it in this process; sentences about how the model is."""
        self.take_in()
        drain(self.tools)
        with transaction(self.tools.engine) as session:
            history = model_history(session, self.model)
            alerts = [line for line in alert_list(session, model=self.model).live if not line.drill]
        told = [f"{self.model}: {history.headline}"]
        told += [f"  {check.kind:<12} until {check.ends:%-d %b %Y}: {check.words}" for check in history.checks]
        told += [f"  {line.severity.upper()} #{line.id} since {line.starts:%-d %b %Y}: {line.title}" for line in alerts]
        if history.next_rung:
            told.append(f"  next: {history.next_rung.command}  ({history.next_rung.gives})")
        return told

    def run(self, *, every_seconds: float) -> None:
        """Take in what is new until told to stop; the checks are left to `holdfast up`.

        A file that is being written, or a database that restarts, is said once and tried again.
        """
        said = ""
        with _until_told() as stop:
            while not stop.is_set():
                try:
                    self.take_in(should_stop=stop.is_set)
                    said = ""
                except (HoldfastError, SQLAlchemyError) as error:
                    sentence = str(error).splitlines()[0]
                    if sentence != said:
                        self.say(f"{sentence}; trying again every {every_seconds:g} s")
                    said = sentence
                stop.wait(every_seconds)

    def take_in(self, *, should_stop: Callable[[], bool] = lambda: False) -> int:
        """Ingest every row that the bookmark has not seen; how many were new.

        Stream time goes on when the last file is in, since an earlier window may lie in a later one.
        """
        with transaction(self.tools.engine) as session:
            row = source_of(session, model_named(session, self.model), SOURCE)
            location, mapping, bookmark = row.location, dict(row.mapping), dict(row.bookmark)
        columns, files = Columns.of(mapping), FileSource(location, bookmark=bookmark)
        new = 0
        for part in files.new_files():
            if should_stop():
                return new
            new += self._take_in_part(part, columns, files.bookmark_after(part), _name(part.path, location))
        self._advance()
        return new

    def _take_in_part(self, part: Part, columns: Columns, bookmark: dict[str, Any], name: str) -> int:
        """Rows and bookmark in one transaction, so that a crash between the two cannot be."""
        rows = _rows(part.frame, columns, name)
        with transaction(self.tools.engine) as session:
            model = model_named(session, self.model)
            taken = ingest(session, model, rows.drop(columns=["label", "label_time"], errors="ignore"), source=SOURCE)
            labels = 0
            if "label" in rows:
                known = rows[rows["label"].notna()]
                labels = ingest_labels(session, model, known[["trace_id", "label", "label_time"]])
            source = source_of(session, model, SOURCE)
            source.bookmark = bookmark | _newest(source.bookmark, taken.newest)
        self.say(
            f"{name}: {taken.accepted:,} new rows, {taken.duplicate:,} known, {taken.quarantined:,} quarantined"
            + (f", {labels:,} labels" if columns.target else "")
        )
        return taken.accepted

    def _advance(self) -> None:
        with transaction(self.tools.engine) as session:
            model = model_named(session, self.model)
            newest = source_of(session, model, SOURCE).bookmark.get(_NEWEST)
            if newest is not None:
                advance_watermark(session, model, datetime.fromisoformat(newest))


def _newest(bookmark: dict[str, Any], taken: datetime | None) -> dict[str, str]:
    known = [datetime.fromisoformat(bookmark[_NEWEST])] if _NEWEST in bookmark else []
    moments = [*known, *([taken] if taken else [])]
    return {_NEWEST: max(moments).isoformat()} if moments else {}


def _rows(frame: pd.DataFrame, columns: Columns, name: str) -> pd.DataFrame:
    """The rows of a file that may have come before its labels did."""
    if columns.target not in frame.columns:
        columns = replace(columns, target=None, label_time=None)
    rows = read_rows(frame, columns, name=name)
    if columns.id is None:  # a file that was replaced under its name counts its rows from 0 again
        microseconds = rows["event_time"].dt.as_unit("us").astype("int64")
        rows["trace_id"] = rows["trace_id"] + "@" + microseconds.astype(str)
    return rows


def _name(path: Path, pattern: str) -> str:
    """The file's path below the pattern's fixed folder: files of one name in two folders are two files.

    >>> _name(Path("/logs/2026/01/part-0.csv"), "/logs/**/*.csv"), _name(Path("/logs/a.csv"), "/logs/a.csv")
    ('2026/01/part-0.csv', 'a.csv')
    """
    fixed = Path(pattern)
    while set("*?[") & set(str(fixed)):
        fixed = fixed.parent
    return path.relative_to(fixed).as_posix() if fixed != path else path.name


def _source(session: Session, model: Model) -> Source | None:
    try:
        return source_of(session, model, SOURCE)
    except NotFound:
        return None


def _first_flags(flags: Flags, model: str) -> tuple[str, Columns]:
    if flags.pattern is None or flags.columns is None:
        raise BadInput(
            f"{model} is not followed yet: say which files and which column is the time, "
            f"holdfast watch 'logs/*.parquet' --model {model} --time COLUMN, and what else there is"
        )
    return str(Path(flags.pattern).expanduser().absolute()), flags.columns


def _require_same(session: Session, model: Model, source: Source, flags: Flags) -> None:
    """Flags that are said again must be those that were remembered: others would change what the log means."""
    if flags.pattern is not None and (said := str(Path(flags.pattern).expanduser().absolute())) != source.location:
        raise BadInput(f"expected the files that are followed already, {source.location}, got {said}: leave them out")
    remembered = Columns.of(source.mapping)
    if flags.columns is not None and flags.columns != remembered:
        other = [name for name, value in asdict(remembered).items() if asdict(flags.columns)[name] != value]
        was = ", ".join(f"{name} {_words(asdict(remembered)[name])}" for name in other)
        raise BadInput(f"expected the columns as they were the first time ({was}): leave these flags out")
    seconds = ModelSettings.of(model).window_seconds
    if flags.window != "auto" and parse_width(flags.window) != timedelta(seconds=seconds):
        raise BadInput(f"expected windows of {seconds / 3600:g} h as the first time, got {flags.window}: leave it out")
    declared = {feature.name for feature in schema_of(feature_schema(session, model)).features if feature.mutable}
    if flags.mutable and set(flags.mutable) != declared:
        raise BadInput(
            f"expected the mutable features that were declared ({', '.join(sorted(declared)) or 'none'}), "
            f"got {', '.join(flags.mutable)}: declare others with holdfast model attach … --mutable"
        )


def _words(value: Any) -> str:
    return ",".join(value) or "none" if isinstance(value, tuple) else str(value or "none")


def _register(tools: Tools, flags: Flags, columns: Columns, name: str, say: Say) -> None:
    history = _history(FileSource(flags.pattern or "").read_all(), flags, columns, name)
    for sentence in history.sentences:
        say(sentence)
    windows = [(span, history.within(span)) for span in history.reference_windows]
    if len(windows) < MIN_WINDOWS:
        say(f"learning normal: drift is tested from the {MIN_WINDOWS}th window on; {len(windows)} are there")
        windows = []
    enrolment = Enrolment(
        name=name,
        owner="me",
        task=history.task,
        schema=history.schema.with_mutable(flags.mutable),
        settings=model_settings(history, policy=True),
        windows=windows,
        judged=history.within(history.reference),
    )
    with transaction(tools.engine) as session:
        model, _ = enroll(session, enrolment, by=COMMAND_LINE, now=database_now(session))
        _remember(session, model, flags, columns)


def _follow(tools: Tools, flags: Flags, columns: Columns, name: str, say: Say) -> None:
    """Add files as a source of a model that was registered without them."""
    say(f"{name} is registered already: {flags.pattern} is added to what it is fed by")
    with transaction(tools.engine) as session:
        _remember(session, model_named(session, name), flags, columns)


def _remember(session: Session, model: Model, flags: Flags, columns: Columns) -> None:
    add_source(
        session, model, name=SOURCE, kind="files", location=flags.pattern or "", mapping=asdict(columns),
        by=COMMAND_LINE, now=database_now(session),
    )  # fmt: skip


def _history(frame: pd.DataFrame, flags: Flags, columns: Columns, name: str) -> History:
    """Unless told otherwise normal is 28 windows, more of a long log, and of a short one all but its last window."""
    if flags.reference_until is not None:
        return understand(frame, columns, name=name, window=flags.window, reference_until=flags.reference_until)
    last = parse_times(frame, list(columns.time)).max().isoformat()
    longest = understand(frame, columns, name=name, window=flags.window, reference_until=last)
    wanted = max(REFERENCE_WINDOWS, int(REFERENCE_SHARE * len(longest.reference_windows)))
    if len(longest.reference_windows) <= wanted:
        return longest
    until = longest.reference_windows[wanted].start.isoformat()
    return understand(frame, columns, name=name, window=flags.window, reference_until=until)


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    before = {name: signal.signal(name, lambda *_: stop.set()) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
