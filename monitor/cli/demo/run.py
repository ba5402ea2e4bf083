"""`holdfast demo`: the whole loop on real parts, against a generated world. All that is printed is measured."""

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from sqlalchemy.orm import Session

from monitor import up
from monitor.cli.actor import COMMAND_LINE
from monitor.cli.default_model import train_and_store
from monitor.cli.demo import acts, story
from monitor.cli.demo.payments import SCHEMA, Payments, day_start
from monitor.cli.demo.service import LABEL_DAYS, MODEL, PaymentService
from monitor.cli.enroll import Artefact, Enrolment, enroll
from monitor.cli.platform import sign_in_url
from monitor.cli.processes import make_tools
from monitor.db import embedded
from monitor.db.alerts import Route
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import has_live
from monitor.db.read_outcomes import checked_until
from monitor.db.registry import ModelSettings, model_named
from monitor.db.scratch import fresh_database
from monitor.errors import Unavailable
from monitor.jobs.context import Tools
from monitor.jobs.plan import plan
from monitor.performance import Labels, Task
from monitor.settings import Settings
from monitor.windows import Window

HISTORY_DAYS = 20  # before the stream begins; the first version is trained on them
REFERENCE_DAYS = 28
DAYS = 90
AHEAD = 4  # days that the stream may run ahead of the checks
STALL_SECONDS = 240.0
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the person asked for."""

    seed: int = 0
    headless: bool = False
    approve: bool = False


@dataclass(kw_only=True)
class Demo:
    """One run: its own database and folder under `home`, so that it never touches a person's own models."""

    settings: Settings
    options: Options
    say: Say
    tell_progress: Callable[[int, int], None] = field(default=lambda _day, _days: None)
    url: str = ""
    tools: Tools = field(init=False)
    service: PaymentService = field(init=False)
    day: int = 0
    approved_by: str | None = None
    promoted: bool = False
    rolled_back: bool = False
    _told: story.Told = field(default_factory=story.Told)

    def prepare(self) -> None:
        """A fresh database, the first version trained and registered, and its reference streamed."""
        self.url = _fresh_database(self.settings)
        self.tools = make_tools(self.settings, self.url)
        payments = Payments(self.options.seed)
        self.service = PaymentService(payments=payments, tools=self.tools)
        artefact = self._first_version(payments)
        days = [payments.day(day) for day in range(1, REFERENCE_DAYS + 1)]
        for rows in days:
            rows["score"] = artefact.model.predict_score(SCHEMA.encode(rows))
            rows["label"] = rows["fraud"].map(str)
        windows = [Window(day_start(n), day_start(n + 1)) for n in range(1, REFERENCE_DAYS + 1)]
        enrolment = Enrolment(
            name=MODEL,
            owner="payments-risk",
            task="classification",
            schema=SCHEMA,
            settings=ModelSettings(
                window_seconds=86_400,
                label_delay_seconds=LABEL_DAYS * 86_400,
                positive="1",
                sampling_rate=0.8,
                stress_every_windows=7,
            ),
            windows=list(zip(windows, days, strict=True)),
            judged=pd.concat(days, ignore_index=True),
            artefact=artefact,
        )
        with transaction(self.tools.engine) as session:
            enroll(session, enrolment, by=COMMAND_LINE, now=database_now(session), seed=self.options.seed)
            _add_routes(session, self.settings)
            acts.create_people(session)
        for day in range(1, REFERENCE_DAYS + 1):
            self.serve(day)

    def _first_version(self, payments: Payments) -> Artefact:
        history = pd.concat([payments.day(day) for day in range(1 - HISTORY_DAYS, 1)], ignore_index=True)
        target = history["fraud"].to_numpy(float)
        return train_and_store(
            SCHEMA.encode(history),
            target,
            SCHEMA,
            labels=Labels(task=Task.CLASSIFICATION, positive="1"),
            store=self.tools.store,
            seed=self.options.seed,
        )

    def serve(self, day: int) -> None:
        """One more day of the world."""
        self.service.serve(day)
        self.day = day
        self.tell_progress(day, DAYS)

    def replay(self) -> None:
        """The monitored days, no further ahead of the checks than a person can follow."""
        for day in range(self.day + 1, DAYS + 1):
            self.serve(day)
            self.wait(lambda: self._behind() <= AHEAD, "the checks to follow the stream")
            self.tell()
        self.settle()

    def settle(self) -> None:
        """Let the last labels come, and every check and message be done."""
        self.service.settle(self.day)
        self.wait_idle()
        self.tell()

    def wait_idle(self) -> None:
        self.wait(self._idle, "all checks to be done")

    def tell(self) -> None:
        """Say what is new since the last time."""
        with transaction(self.tools.engine) as session:
            for sentence in self._told.news(session, MODEL):
                self.say(sentence)

    def wait(self, ready: Callable[[], bool], what: str, *, seconds: float = STALL_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise Unavailable(f"waited {seconds:.0f} s for {what}: see holdfast logs --home {self.settings.home}")
            time.sleep(0.3)

    def _behind(self) -> int:
        with transaction(self.tools.engine) as session:
            until = checked_until(session, model_named(session, MODEL)) or day_start(REFERENCE_DAYS + 1)
        return (day_start(self.day + 1) - until).days

    def _idle(self) -> bool:
        with transaction(self.tools.engine) as session:
            return not has_live(session) and plan(session) == 0


def _fresh_database(settings: Settings) -> str:
    """An empty database for the demo on the embedded server, and empty folders beside it."""
    server = settings.database_url or embedded.start(settings.home)
    url = fresh_database(server, "holdfast_demo")
    for folder in (settings.artifact_dir, settings.logs_dir, settings.run_dir):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return url


def _add_routes(session: Session, settings: Settings) -> None:
    session.add(Route(name="console", url="console:"))
    session.add(Route(name="file", url=f"file://{settings.home.resolve()}/messages.jsonl"))


@contextmanager
def platform(demo: Demo) -> Iterator[up.Supervisor]:
    """The platform's own processes, as in production; the dashboard only when somebody looks."""
    settings = demo.settings
    running = up.Supervisor(
        settings=settings,
        programs=up.platform_programs(settings, dashboard=not demo.options.headless),
        environment=up.child_environment(settings, demo.url),
    )
    running.start()
    try:
        with running.in_background(demo.say):
            yield running
    finally:
        running.stop()


def run(settings: Settings, options: Options, *, say: Say, tell_progress: Callable[[int, int], None]) -> dict[str, Any]:
    """The whole demo; returns what its last line prints."""
    started = time.monotonic()
    demo = Demo(settings=settings, options=options, say=say, tell_progress=tell_progress)
    say("[2/4] PostgreSQL (embedded, loopback), the first version trained, its reference streamed")
    try:
        demo.prepare()
        with platform(demo):
            say(f"[3/4] replaying {DAYS} days of card payments")
            demo.replay()
            say(story.beside_convention(demo))
            if options.approve:
                acts.decide_as_people(demo)
            document = story.document(demo, seconds=time.monotonic() - started)
            if not options.headless:
                _serve_until_stopped(demo)
                document |= acts.outcome(demo)
        return document
    finally:
        if not settings.database_url:
            embedded.stop(settings.home)


def _serve_until_stopped(demo: Demo) -> None:
    """Show the dashboard; whenever the champion changes, the world goes on for some days."""
    from monitor.cli.platform import stopping

    demo.say(f"[4/4] {sign_in_url(demo.settings, demo.url)}   signs you in, once")
    demo.say("Overview says what needs you. Ctrl-C stops everything.")
    demo.say(f"In another terminal: holdfast check {MODEL} --explain --home {shlex.quote(str(demo.settings.home))}")
    demo.say("Your own file: holdfast backtest FILE --time COL --score COL")
    with stopping() as state:
        serving = acts.serving_version(demo)
        while not state["stopped"]:
            time.sleep(0.5)
            champion = acts.champion_name(demo)
            if champion != serving:
                demo.say(f"{champion} is champion; the service picks it up with the next payments")
                time.sleep(4)  # long enough to see that serving is not confirmed yet
                acts.stream_days(demo, 3)
                serving = champion
            demo.tell()
