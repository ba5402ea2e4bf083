"""The peers' processes: started once, asked by line, so that ours and theirs take turns without the cost of a start."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from monitor.schema import FloatArray

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Method:
    """One attack of one peer at a number of gradient calls a row; `least_classes` is what its loss needs."""

    peer: str
    method: str
    steps: int
    least_classes: int = 2

    @property
    def name(self) -> str:
        return f"{self.peer} {self.method}-{self.steps}"


METHODS = (
    Method(peer="art", method="PGD", steps=40),
    Method(peer="foolbox", method="LinfPGD", steps=40),
    Method(peer="torchattacks", method="APGD-CE", steps=40),
    Method(peer="torchattacks", method="APGD-DLR", steps=40, least_classes=3),
    Method(peer="autoattack", method="APGD-CE", steps=101),
)


class PeerFailed(Exception):
    """A peer has no environment, or an attack of it failed; the benchmark goes on without it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a peer made of the rows, and what it cost."""

    rows: FloatArray
    seconds: float
    processor_seconds: float
    gradient_rows: int
    forward_rows: int


@dataclass
class Peer:
    """One running peer."""

    name: str
    process: subprocess.Popen[str]
    version: str = ""
    said: dict[str, Any] = field(default_factory=dict)

    def ask(self, folder: Path, method: str, **question: Any) -> Answer:
        """Run one attack on the case saved in `folder`; raises PeerFailed."""
        out = folder / f"{self.name}.npy"
        said = self._exchange({"folder": str(folder), "method": method, "out": str(out), "seed": 0, **question})
        rows = np.load(out).astype(np.float64)
        costs = ("seconds", "processor_seconds", "gradient_rows", "forward_rows")
        return Answer(rows=rows, **{key: said[key] for key in costs})

    def greet(self) -> None:
        """Wait until it has imported its library, and note the version."""
        self.version = self._read()["version"]

    def _exchange(self, question: Mapping[str, Any]) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        said = self._read()
        if "error" in said:
            raise PeerFailed(f"{self.name}: {said['error']}")
        return said

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        watchdog = threading.Timer(TIMEOUT_SECONDS, self.process.kill)
        watchdog.start()
        try:
            line = self.process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise PeerFailed(f"{self.name} ended or took more than {TIMEOUT_SECONDS} s without an answer")
        said: dict[str, Any] = json.loads(line)
        return said


@contextmanager
def running(names: Sequence[str]) -> Iterator[dict[str, Peer]]:
    """The peers that have an environment, up and warm; the others are told on stderr and left out."""
    with ExitStack() as stack:
        up = {}
        for name in names:
            if not peers.installed(name):
                print(f"{name} has no environment with the pinned versions: make peers ARGS={name}", file=sys.stderr)
                continue
            up[name] = Peer(name=name, process=stack.enter_context(_process(name)))
        for name, peer in list(up.items()):
            try:
                peer.greet()
            except PeerFailed as error:
                print(error, file=sys.stderr)
                del up[name]
        yield up


@contextmanager
def _process(name: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(peers.python(name)), "-m", f"benchmarks.peer_attack.{name}"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
