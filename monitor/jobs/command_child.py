"""Run the user's own training program in a folder, without a shell and without anything of ours in its environment."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Any

import psutil

from monitor.errors import BadInput
from monitor.jobs.child import OnProgress

WORK = "monitor.jobs.command_child:run"
WORKSHOP = "outside"  # the folder in which the program runs
_TAIL = 12  # lines of output that an error quotes
_LONGEST_LINE = 400
_POLL_SECONDS = 0.05


def write_work(folder: Path, argv: tuple[str, ...], seconds: float) -> Path:
    """What the child reads; the folder into which the program's own inputs go."""
    workshop = folder / WORKSHOP
    workshop.mkdir()
    (folder / "command.json").write_text(json.dumps({"argv": list(argv), "seconds": seconds}), encoding="utf-8")
    return workshop


def run(folder: Path, on_progress: OnProgress) -> None:
    """command.json → whatever the program leaves in its folder; its lines of JSON are told as progress.

    Raises:
        BadInput: it cannot be run, fails, or takes too long; with the end of its output.
    """
    given = json.loads((folder / "command.json").read_text(encoding="utf-8"))
    argv, seconds = given["argv"], float(given["seconds"])
    workshop = folder / WORKSHOP
    try:
        process = subprocess.Popen(
            argv, cwd=workshop, env=_environment(workshop), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", bufsize=1,
        )  # fmt: skip
    except OSError as error:
        raise BadInput(f"expected a program that can be run, got {argv[0]}: {error.strerror}") from None
    said: deque[str] = deque(maxlen=_TAIL)
    try:
        late = _follow(process, seconds, said, on_progress)
    finally:
        _end(process)
    if late:
        raise BadInput(f"the training command ran longer than {seconds:g} s and was ended{_quoted(said)}")
    if process.returncode:
        raise BadInput(f"the training command ended with {_how(process.returncode)}{_quoted(said)}")


def _environment(workshop: Path) -> dict[str, str]:
    """No address, no secret, no setting of ours."""
    return {
        "PATH": os.defpath, "HOME": str(workshop), "TMPDIR": str(workshop), "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def _follow(process: "subprocess.Popen[str]", seconds: float, said: deque[str], on_progress: OnProgress) -> bool:
    """Tell its progress until it ends; True when it took too long."""
    assert process.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    started = time.monotonic()
    while process.poll() is None:
        _tell(lines, said, on_progress)
        if time.monotonic() - started > seconds:
            return True
        time.sleep(_POLL_SECONDS)
    reader.join(1.0)  # a grandchild may hold the pipe open
    _tell(lines, said, on_progress)
    return False


def _read(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    with contextlib.suppress(ValueError):  # the pipe was closed while it was read
        for line in iter(lambda: stream.readline(65_536), ""):
            lines.put(line.rstrip()[:_LONGEST_LINE])


def _tell(lines: "queue.SimpleQueue[str]", said: deque[str], on_progress: OnProgress) -> None:
    while not lines.empty():
        line = lines.get()
        progress = _progress(line)
        if progress is None:
            said.append(line)
        else:
            on_progress(progress)


def _progress(line: str) -> dict[str, Any] | None:
    """`{"done": 3, "total": 10, "sentence": "epoch 3"}`; None for any other line."""
    try:
        found = json.loads(line)
        return {"done": int(found["done"]), "total": int(found["total"]), "sentence": str(found["sentence"])[:200]}
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _end(process: "subprocess.Popen[str]") -> None:
    """End the program and whatever it started."""
    ours = psutil.Process()
    left = ours.children(recursive=True) if os.getpgrp() == os.getpid() else _family(process.pid)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return [*psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _how(returncode: int) -> str:
    return f"exit code {returncode}" if returncode > 0 else signal.Signals(-returncode).name


def _quoted(said: deque[str]) -> str:
    text = " / ".join(line for line in said if line.strip())
    return f": {text}" if text else "; it said nothing"
