"""`holdfast up` keeps the platform alive: all processes are there, a killed one comes back, stop leaves nothing."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from monitor.db import embedded
from monitor.settings import Settings
from monitor.up import UpState, running_supervisor, stop_supervisor

pytestmark = pytest.mark.slow


@pytest.fixture
def home():
    """A folder that the system user of PostgreSQL can reach."""
    folder = Path(tempfile.mkdtemp(prefix="holdfast-up-"))
    yield folder
    embedded.stop(folder)
    shutil.rmtree(folder)


def _until(ask: Callable[[], bool], *, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
    return answer


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_platform_starts_survives_a_kill_and_stops_whole(home, free_port):
    settings = Settings.load(home=home, port=free_port)
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    up = subprocess.Popen(
        [sys.executable, "-m", "monitor.cli.app", "up", "--home", str(home), "--port", str(free_port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _until(lambda: _healthy(free_port))
        state = running_supervisor(settings)
        assert isinstance(state, UpState)
        assert set(state.programs) == {"scheduler", "worker-1", "dashboard"}
        link = subprocess.run(
            [sys.executable, "-m", "monitor.cli.app", "link", "--home", str(home)],
            env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert link.stdout.startswith(f"http://127.0.0.1:{free_port}/?once="), link.stderr
        with httpx.Client(follow_redirects=True) as browser:
            assert browser.get(link.stdout.strip()).status_code == 200
            assert browser.get(f"http://127.0.0.1:{free_port}/v1/models").json() == []
        os.kill(state.programs["worker-1"], signal.SIGKILL)
        again = _until(
            lambda: (running_supervisor(settings) or state).programs["worker-1"] != state.programs["worker-1"]
        )
        assert again
    finally:
        assert stop_supervisor(settings)
        told = up.communicate(timeout=30)[1]
    assert "worker-1 ended with code -9" in told
    assert f"http://127.0.0.1:{free_port}/?once=" in told
    assert not [pid for pid in state.programs.values() if psutil.pid_exists(pid) and _is_alive(pid)]
    assert embedded.running(home) is None


def _is_alive(pid: int) -> bool:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_stopping_what_does_not_run_says_so(home):
    assert not stop_supervisor(Settings.load(home=home))
