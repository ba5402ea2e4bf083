"""Heavy work in a process of its own: a crash, a leak or an endless loop ends the child alone, never the worker.

The child knows files only. It gets a folder, writes its result there, and reports by lines of JSON; it has no database
address. Children start by forkserver with torch preloaded: a fork after torch has computed hangs, and a spawn takes a
second.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Protocol

import psutil

from monitor import errors
from monitor.errors import HoldfastError, JobCancelled, JobFailed
from monitor.jobs.context import Tools

Progress = Mapping[str, Any]  # done, total, sentence, and what else a curve shows
OnProgress = Callable[[Progress], None]

_POLL_SECONDS = 0.1
_STOP_CHECK_SECONDS = 1.0
_MEMORY_SHARE = 0.75  # of the machine
LIMIT_SECONDS = 3_600.0
_PROGRESS, _ERROR = "progress.jsonl", "error.json"
_SECRETS = ("DATABASE_URL", "HOLDFAST_DATABASE_URL", "HOLDFAST_MIGRATE_URL", "PGPASSWORD", "PGUSER", "PGHOST")
_SECRET_PREFIXES = ("HOLDFAST_SECRET_", "HOLDFAST_WEBHOOK_SECRET")  # what requests are signed with
_starting = threading.Lock()


class Work(Protocol):
    """A function that can run in a child: files in `folder` to files in `folder`."""

    def __call__(self, folder: Path, on_progress: OnProgress) -> None: ...


def run_in_child(
    function_path: str,
    folder: Path,
    *,
    tools: Tools,
    on_progress: OnProgress = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    limit_seconds: float = LIMIT_SECONDS,
    memory_bytes: int | None = None,
) -> None:
    """Run `module:function(folder, on_progress)` in a child process, or here when `tools.children` is off.

    Raises:
        JobCancelled: `should_stop` said so; the child and its group are gone.
        JobFailed: the child crashed, was killed, ran too long or took too much memory.
        HoldfastError: whatever the function itself raised on purpose.
    """
    if not tools.children:
        load(function_path)(folder, _stopping(on_progress, should_stop))
        return
    process = _start(function_path, folder)
    try:
        _follow(
            process, folder, on_progress, should_stop, limit_seconds, memory_bytes or _default_memory(), function_path
        )
    finally:
        _end(process)


def load(function_path: str) -> Work:
    """The function that `module:function` names."""
    module, _, name = function_path.partition(":")
    found: Work = getattr(importlib.import_module(module), name)
    return found


def _stopping(on_progress: OnProgress, should_stop: Callable[[], bool]) -> OnProgress:
    def report(progress: Progress) -> None:
        on_progress(progress)
        if should_stop():
            raise JobCancelled("stopped on request")

    return report


def _start(function_path: str, folder: Path) -> multiprocessing.process.BaseProcess:
    for left in (_PROGRESS, _ERROR):  # of an earlier run in this folder
        (folder / left).unlink(missing_ok=True)
    context = multiprocessing.get_context("forkserver")
    with _starting:
        context.set_forkserver_preload(["torch", "monitor.jobs.child"])
        with _without_secrets():
            forkserver.ensure_running()  # inherits the environment once, for all children
        process = context.Process(target=_enter, args=(function_path, str(folder)), daemon=True)
        process.start()
    return process


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if _is_secret(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _is_secret(name: str) -> bool:
    return name in _SECRETS or name.startswith(_SECRET_PREFIXES)


def _enter(function_path: str, folder: str) -> None:
    os.setsid()
    for name in list(os.environ):
        if _is_secret(name):
            del os.environ[name]
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    try:
        with (Path(folder) / _PROGRESS).open("a", buffering=1, encoding="utf-8") as lines:
            load(function_path)(Path(folder), lambda progress: print(json.dumps(dict(progress)), file=lines))
    except Exception as error:
        told = {"type": type(error).__name__, "message": str(error)}
        (Path(folder) / _ERROR).write_text(json.dumps(told), encoding="utf-8")
        raise SystemExit(1) from error


def _die_with_parent(parent: int) -> None:
    """The fork server ends when the worker does; then nobody waits for this child any more."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _follow(
    process: multiprocessing.process.BaseProcess,
    folder: Path,
    on_progress: OnProgress,
    should_stop: Callable[[], bool],
    limit_seconds: float,
    memory_bytes: int,
    name: str,
) -> None:
    told, started, asked = 0, time.monotonic(), time.monotonic()
    while process.is_alive():
        process.join(_POLL_SECONDS)
        told = _tell(folder / _PROGRESS, told, on_progress)
        if time.monotonic() - started > limit_seconds:
            raise JobFailed(f"{name} ran longer than {limit_seconds:.0f} s and was ended")
        if (used := _memory_of(process.pid)) > memory_bytes:
            raise JobFailed(f"{name} used {used / 2**30:.1f} GiB of the {memory_bytes / 2**30:.1f} allowed, was ended")
        if time.monotonic() - asked > _STOP_CHECK_SECONDS:
            asked = time.monotonic()
            if should_stop():
                raise JobCancelled("stopped on request")
    _tell(folder / _PROGRESS, told, on_progress)
    if process.exitcode:
        raise _failure(folder / _ERROR, name, process.exitcode)


def _tell(path: Path, offset: int, on_progress: OnProgress) -> int:
    """Pass on the whole lines that were written since `offset`; the new offset."""
    if not path.exists():
        return offset
    with path.open("rb") as lines:
        lines.seek(offset)
        new = lines.read()
    whole = new[: new.rfind(b"\n") + 1]
    for line in whole.splitlines():
        on_progress(json.loads(line))
    return offset + len(whole)


def _failure(path: Path, name: str, exitcode: int) -> HoldfastError:
    if not path.exists():
        how = signal.Signals(-exitcode).name if exitcode < 0 else f"exit code {exitcode}"
        return JobFailed(f"the child process of {name} died ({how}); nothing was stored")
    told = json.loads(path.read_text(encoding="utf-8"))
    kind = getattr(errors, told["type"], None)
    if isinstance(kind, type) and issubclass(kind, HoldfastError) and kind is not errors.BinMismatch:
        return kind(told["message"])
    return JobFailed(f"{name}: {told['type']}: {told['message']}")


def _memory_of(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _default_memory() -> int:
    return int(psutil.virtual_memory().total * _MEMORY_SHARE)


def _end(process: multiprocessing.process.BaseProcess) -> None:
    if process.is_alive() and process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # it may not have made its own group yet
            os.kill(process.pid, signal.SIGKILL)
    process.join(5)
