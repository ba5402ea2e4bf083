"""Evidently runs in a process of its own, which knows one folder: files in, files out, no database, no credentials."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from monitor.errors import JobFailed

_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


class TookTooLong(JobFailed):
    """The process was ended; what it had written until then is there."""


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder of this run alone, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="holdfast-evidently-") as name:
        yield Path(name)


def run(command: str, folder: Path, *, limit_seconds: float) -> None:
    """Run one command of `monitor.reports.evidently` on the files of `folder`.

    Raises:
        TookTooLong: it ran longer than `limit_seconds`.
        JobFailed: it ended with an error.
    """
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "monitor.reports.evidently", command, str(folder)],
            env={**environment, "DO_NOT_TRACK": "1", "MPLCONFIGDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=limit_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TookTooLong(f"Evidently ran longer than {limit_seconds:g} s on this window and was ended") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise JobFailed(f"Evidently could not do it: {lines[-1] if lines else f'exit code {done.returncode}'}")


def end_with_parent() -> None:
    """In the child: end once the worker that waits for it is gone."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def end_now(error: str = "") -> NoReturn:
    """In the child: end without the libraries' farewell, in which a running thread of theirs may abort the process."""
    if error:
        sys.stderr.write(f"{error}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if error else 0)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """In the child: no metric may eat the time of the others. What is caught too early is raised again."""

    def end(*_: object) -> None:
        raise TimeoutError(f"longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
