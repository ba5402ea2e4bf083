"""`holdfast watch`: files as a production log. The flags of the first time are kept with the model's source."""

import signal
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import pandas as pd

from monitor.acts.sources import add_source
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.backtest import model_settings
from monitor.cli.enroll import Enrolment, enroll
from monitor.cli.history import Columns, read_rows, understand
from monitor.db.engine import database_now, transaction
from monitor.db.registry import model_named, models, source_of
from monitor.errors import BadInput
from monitor.intake.ingest import advance_watermark, ingest
from monitor.intake.labels import ingest_labels
from monitor.intake.sources.files import FileSource
from monitor.jobs.context import Tools
from monitor.jobs.worker import drain

SOURCE = "files"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One model that follows one pattern of files."""

    tools: Tools
    model: str
    say: Say

    @classmethod
    def begin(
        cls,
        tools: Tools,
        pattern: str,
        *,
        model: str,
        columns: Columns | None,
        window: str,
        reference_until: str | None,
        say: Say,
    ) -> Self:
        """Register the model on the first call, from the files that are there; later calls only need its name."""
        with transaction(tools.engine) as session:
            known = {registered.name for registered in models(session)}
        if model not in known:
            if columns is None:
                raise BadInput(f"{model} is new: say which column is the time, --time COL, and what else there is")
            _register(tools, pattern, model, columns, window, reference_until, say)
        return cls(tools=tools, model=model, say=say)

    def run(self, *, once: bool, every_seconds: float) -> None:
        """Take in what is new; with `once` check it here, else leave the checks to `holdfast up`."""
        stop = threading.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: stop.set())
        while not stop.is_set():
            self.take_in()
            if once:
                drain(self.tools)
                return
            stop.wait(every_seconds)

    def take_in(self) -> int:
        """Ingest every row that the bookmark has not seen; how many were new."""
        with transaction(self.tools.engine) as session:
            row = source_of(session, model_named(session, self.model), SOURCE)
            location, mapping, bookmark = row.location, dict(row.mapping), dict(row.bookmark)
        columns, reading = Columns.of(mapping), FileSource(location, bookmark=bookmark)
        new = 0
        for part in reading.new_files():
            new += self._take_in_part(part.path, part.frame, columns, reading.bookmark_after(part))
        return new

    def _take_in_part(self, path: Path, frame: pd.DataFrame, columns: Columns, bookmark: dict[str, object]) -> int:
        """One file and its bookmark in one transaction, so that a crash between the two cannot be."""
        with transaction(self.tools.engine) as session:
            model = model_named(session, self.model)
            rows = read_rows(frame, columns, name=path.name)
            taken = ingest(session, model, rows.drop(columns=["label", "label_time"], errors="ignore"), source=SOURCE)
            if "label" in rows:
                known = rows[rows["label"].notna()]
                ingest_labels(session, model, known[["trace_id", "event_time", "label", "label_time"]])
            if taken.newest is not None:
                advance_watermark(session, model, taken.newest)
            source_of(session, model, SOURCE).bookmark = bookmark
        self.say(
            f"{path.name}: {taken.accepted:,} new rows, {taken.duplicate:,} known, {taken.quarantined:,} quarantined"
        )
        return taken.accepted


def _register(
    tools: Tools, pattern: str, name: str, columns: Columns, window: str, reference_until: str | None, say: Say
) -> None:
    source = FileSource(pattern)
    history = understand(source.read_all(), columns, name=name, window=window, reference_until=reference_until)
    for sentence in history.sentences:
        say(sentence)
    enrolment = Enrolment(
        name=name,
        owner="me",
        task=history.task,
        schema=history.schema,
        settings=model_settings(history, policy=True),
        windows=[(span, history.within(span)) for span in history.reference_windows],
        judged=history.within(history.reference),
    )
    with transaction(tools.engine) as session:
        now = database_now(session)
        model, _ = enroll(session, enrolment, by=COMMAND_LINE, now=now)
        add_source(
            session,
            model,
            name=SOURCE,
            kind="files",
            location=pattern,
            mapping=asdict(columns),
            by=COMMAND_LINE,
            now=now,
        )
