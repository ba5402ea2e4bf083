"""`holdfast watch`: files as a production log. The flags of the first time are kept with the model's source."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
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
from monitor.intake.columns import Columns
from monitor.intake.pulling import Pull, Pulled, settle
from monitor.intake.sources.files import FileSource
from monitor.intake.sources.times import day_comes_first, parse_times
from monitor.jobs.context import Tools
from monitor.jobs.worker import drain
from monitor.windows import parse_width

SOURCE = "files"
REFERENCE_WINDOWS = 28  # as many as the false-alarm budget is held with
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
class Once:
    """Sentences about how the model is, and what could not be read."""

    sentences: list[str]
    unread: str | None


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

    def once(self) -> Once:
        """Take in what is there and check it in this process."""
        pulled = self.take_in()
        drain(self.tools)
        with transaction(self.tools.engine) as session:
            history = model_history(session, self.model)
            alerts = [line for line in alert_list(session, model=self.model).live if not line.drill]
        told = [f"{self.model}: {history.headline}"]
        told += [f"  {check.kind:<12} until {check.ends:%-d %b %Y}: {check.words}" for check in history.checks]
        told += [f"  {line.severity.upper()} #{line.id} since {line.starts:%-d %b %Y}: {line.title}" for line in alerts]
        if history.next_rung:
            told.append(f"  next: {history.next_rung.command}  ({history.next_rung.gives})")
        return Once(sentences=told, unread=pulled.sentence)

    def run(self, *, every_seconds: float) -> None:
        """Take in what is new until told to stop; the checks are left to `holdfast up`.

        A file that is being written, or a database that restarts, is said once and tried again.
        """
        said = ""
        with _until_told() as stop:
            while not stop.is_set():
                try:
                    sentence = self.take_in(should_stop=stop.is_set).sentence or ""
                except (HoldfastError, SQLAlchemyError) as error:
                    sentence = str(error).splitlines()[0]
                if sentence not in ("", said):
                    self.say(f"{sentence}; trying again every {every_seconds:g} s")
                said = sentence
                stop.wait(every_seconds)

    def take_in(self, *, should_stop: Callable[[], bool] = lambda: False) -> Pulled:
        """Ingest every row that the bookmark has not seen; what was new, and what could not be read."""
        with transaction(self.tools.engine) as session:
            source_id = source_of(session, model_named(session, self.model), SOURCE).id
        pull = Pull(
            transaction=lambda: transaction(self.tools.engine), source_id=source_id, secret=self.tools.secret,
            say=self.say, should_stop=should_stop,
        )  # fmt: skip
        pulled = pull.run()
        with transaction(self.tools.engine) as session:
            settle(session, source_id, pulled, database_now(session))
        return pulled


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
    return FileSource.remembered(flags.pattern), flags.columns


def _require_same(session: Session, model: Model, source: Source, flags: Flags) -> None:
    """Flags that are said again must be those that were remembered: others would change what the log means."""
    if flags.pattern is not None and (said := FileSource.remembered(flags.pattern)) != source.location:
        raise BadInput(f"expected the files that are followed already, {source.location}, got {said}: leave them out")
    remembered = replace(Columns.of(source.mapping), day_first=None)  # which no flag says
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
    frame = FileSource(flags.pattern or "", secret=tools.secret).read_all()
    columns = replace(columns, day_first=day_comes_first(frame[columns.time[0]]) if columns.time[0] in frame else None)
    history = _history(frame, flags, columns, name)
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
        session, model, name=SOURCE, kind="files", location=flags.pattern or "", columns=columns,
        by=COMMAND_LINE, now=database_now(session),
    )  # fmt: skip


def _history(frame: pd.DataFrame, flags: Flags, columns: Columns, name: str) -> History:
    """Unless told otherwise normal is 28 windows, more of a long log, and of a short one all but its last window."""
    if flags.reference_until is not None:
        return understand(frame, columns, name=name, window=flags.window, reference_until=flags.reference_until)
    last = parse_times(frame, list(columns.time), day_first=columns.day_first).max().isoformat()
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
