"""The supervisor of `holdfast up`: starts every process, restarts what dies with back-off, stops them together."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from monitor.errors import BadInput, Unavailable
from monitor.settings import Settings

STOP_SECONDS = 12.0
FIRST_BACKOFF_SECONDS = 0.5
LAST_BACKOFF_SECONDS = 30.0
STEADY_SECONDS = 60.0  # alive this long: the next death starts with the first back-off again


@dataclass(frozen=True, kw_only=True)
class Program:
    """One process that the supervisor keeps alive; `arguments` follow `holdfast`."""

    name: str
    arguments: tuple[str, ...]


@dataclass(kw_only=True)
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    restarts: int = 0
    due: float | None = None  # when to start it again, while it is down


@dataclass(kw_only=True)
class Supervisor:
    """Keeps `programs` alive, each with its own log file under `settings.logs_dir`."""

    settings: Settings
    programs: Sequence[Program]
    environment: Mapping[str, str]
    _running: dict[str, _Running] = field(default_factory=dict)

    def start(self) -> None:
        self.settings.logs_dir.mkdir(parents=True, exist_ok=True)
        for program in self.programs:
            self._running[program.name] = _Running(
                program=program, process=self._launch(program), started=time.monotonic()
            )
        self._write_state()

    def watch_once(self) -> list[str]:
        """Restart what is due; returns a sentence for each process that was found dead just now."""
        sentences = []
        for running in self._running.values():
            if running.due is not None and time.monotonic() >= running.due:
                running.process, running.started, running.due = self._launch(running.program), time.monotonic(), None
                self._write_state()
            elif running.due is None and running.process.poll() is not None:
                sentences.append(self._note_death(running))
        return sentences

    def watch(self, *, should_stop: Callable[[], bool], on_event: Callable[[str], None]) -> None:
        while not should_stop():
            for sentence in self.watch_once():
                on_event(sentence)
            time.sleep(0.2)

    @contextlib.contextmanager
    def in_background(self, on_event: Callable[[str], None]) -> Iterator[None]:
        """Watch from a thread while the caller does something else."""
        ended = threading.Event()
        thread = threading.Thread(target=self.watch, kwargs={"should_stop": ended.is_set, "on_event": on_event})
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def stop(self) -> None:
        """Ask every process to end, then insist."""
        alive = [running.process for running in self._running.values() if running.process.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._running.clear()
        state_file(self.settings).unlink(missing_ok=True)

    def pids(self) -> dict[str, int]:
        return {name: running.process.pid for name, running in self._running.items()}

    def _launch(self, program: Program) -> subprocess.Popen[bytes]:
        with (self.settings.logs_dir / f"{program.name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "monitor.cli.app", *program.arguments],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _note_death(self, running: _Running) -> str:
        steady = time.monotonic() - running.started > STEADY_SECONDS
        running.restarts = 0 if steady else running.restarts + 1
        wait = min(FIRST_BACKOFF_SECONDS * 2 ** max(0, running.restarts - 1), LAST_BACKOFF_SECONDS)
        running.due = time.monotonic() + wait
        return f"{running.program.name} ended with code {running.process.returncode}; starting it again in {wait:g} s"

    def _write_state(self) -> None:
        path = state_file(self.settings)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "pid": os.getpid(),
            "created": psutil.Process().create_time(),
            "link": self.settings.link,
            # of the embedded server alone: it has no password
            "database_url": None if self.settings.database_url else self.environment.get("DATABASE_URL"),
            "programs": self.pids(),
        }
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(state), encoding="utf-8")
        partial.replace(path)


def state_file(settings: Settings) -> Path:
    return settings.run_dir / "up.json"


@dataclass(frozen=True, kw_only=True)
class UpState:
    """What a running supervisor wrote down of itself."""

    process: psutil.Process
    link: str
    database_url: str | None
    programs: Mapping[str, int]


def running_supervisor(settings: Settings) -> UpState | None:
    """The supervisor that runs on this home, or None. A state file that outlived its process does not count."""
    try:
        state = json.loads(state_file(settings).read_text(encoding="utf-8"))
        process = psutil.Process(state["pid"])
        alive = abs(process.create_time() - state["created"]) < 1 and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    if not alive:
        return None
    return UpState(process=process, link=state["link"], database_url=state["database_url"], programs=state["programs"])


def stop_supervisor(settings: Settings) -> bool:
    """Ask the running supervisor to stop everything; False if none runs."""
    state = running_supervisor(settings)
    if state is None:
        return False
    state.process.terminate()
    try:
        state.process.wait(STOP_SECONDS + 10)
    except psutil.TimeoutExpired as error:
        raise Unavailable(f"the supervisor (process {state.process.pid}) did not stop: end it with kill -9") from error
    return True


def platform_programs(settings: Settings, *, dashboard: bool = True) -> list[Program]:
    """The processes of a whole platform on one machine."""
    programs = [Program(name="scheduler", arguments=("scheduler",))]
    programs += [Program(name=f"worker-{n}", arguments=("worker",)) for n in range(1, settings.workers + 1)]
    if dashboard:
        programs.append(Program(name="dashboard", arguments=("dashboard",)))
    return programs


def child_environment(settings: Settings, database_url: str) -> dict[str, str]:
    """The environment in which every process of the platform runs: the settings, made explicit."""
    environment = dict(os.environ)
    environment |= {
        "DATABASE_URL": database_url,
        "HOLDFAST_HOME": str(settings.home),
        "HOLDFAST_HOST": settings.host,
        "HOLDFAST_PORT": str(settings.port),
        "HOLDFAST_POLL_SECONDS": str(settings.poll_seconds),
        "DO_NOT_TRACK": "1",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if settings.failpoint:
        environment["HOLDFAST_FAILPOINT"] = settings.failpoint
    return environment


def require_free_port(settings: Settings) -> None:
    """Fail early, and say what to do, if something else listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise BadInput(
                f"expected a free port, but {settings.host}:{settings.port} is taken ({error.strerror}): "
                "stop what listens there, or choose another with --port"
            ) from error
