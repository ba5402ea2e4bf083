"""Named places where a crash could hurt, armed by `HOLDFAST_FAILPOINT=check.before_commit:kill9`."""

import os
import re
import signal
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from monitor.errors import BadInput


class Mode(StrEnum):
    """What happens at an armed failpoint."""

    KILL9 = "kill9"  # the process dies as if killed from outside
    RAISE = "raise"  # an exception that nobody expects
    FREEZE = "freeze"  # the process stops until it is sent SIGCONT


class FailpointReached(RuntimeError):
    """Raised on purpose by a failpoint in the mode `raise`."""


@dataclass(frozen=True, kw_only=True)
class _Armed:
    name: str
    mode: Mode
    nth: int  # fires at the nth time that this process reaches it


@dataclass(frozen=True)
class Failpoints:
    """The armed failpoints of this process: `NAME:MODE[@NTH]`, several joined by commas.

    Each fires once: the file that it leaves in `marker_dir` disarms it, so that a restarted process goes on.
    """

    spec: str | None = None
    marker_dir: Path = Path(".")
    _armed: tuple[_Armed, ...] = field(init=False)
    _reached: dict[str, int] = field(init=False, default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_armed", tuple(_parse(part) for part in (self.spec or "").split(",") if part.strip()))

    def reach(self, name: str) -> None:
        """Do what `name` is armed with; nothing if it is not armed or has fired before."""
        for armed in self._armed:
            if armed.name == name:
                self._reached[name] = self._reached.get(name, 0) + 1
                if self._reached[name] >= armed.nth and self._first_time(armed):
                    _fire(armed)

    def _first_time(self, armed: _Armed) -> bool:
        self.marker_dir.mkdir(parents=True, exist_ok=True)
        try:
            (self.marker_dir / f"{armed.name}.{armed.mode}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def _parse(text: str) -> _Armed:
    match = re.fullmatch(r"([\w.]+):(\w+)(?:@(\d+))?", text.strip())
    if match is None or match[2] not in list(Mode):
        raise BadInput(
            f"expected a failpoint such as check.before_commit:kill9 (modes {', '.join(Mode)}), got {text!r}"
        )
    return _Armed(name=match[1], mode=Mode(match[2]), nth=int(match[3] or 1))


def _fire(armed: _Armed) -> None:
    if armed.mode is Mode.RAISE:
        raise FailpointReached(f"failpoint {armed.name}")
    os.kill(os.getpid(), signal.SIGKILL if armed.mode is Mode.KILL9 else signal.SIGSTOP)
    time.sleep(0.1)  # another thread may have taken the signal: this one must not go on before the process stops
