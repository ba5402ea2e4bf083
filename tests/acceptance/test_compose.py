"""compose.yaml cannot be run without a container engine: its shape is checked, and each command is run as a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
PROCESSES = [name for name in COMPOSE["services"] if name not in ("postgres", "migrate")]


def test_compose_file_follows_the_compose_specification():
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(ROOT / "compose.yaml"),
        ],
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout


def test_every_service_of_the_platform_is_there():
    assert set(PROCESSES) == {"api", "scheduler", "worker", "dashboard"}


def test_ports_are_published_on_loopback_only():
    published = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@contextmanager
def _service(name: str, database_url: str, home: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = COMPOSE["services"][name]["command"]
    assert command[0] == "holdfast"
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "HOLDFAST_HOME": str(home),
        "HOLDFAST_PORT": str(port),
        "HOLDFAST_HOST": "127.0.0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "monitor.cli.app", *command[1:]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_command_of_the_service_runs_against_a_given_postgresql(name, database_url, tmp_path, free_port):
    with _service(name, database_url, tmp_path, free_port) as process:
        deadline = time.monotonic() + 60
        serves = name in ("api", "dashboard")
        while process.poll() is None and time.monotonic() < deadline:
            if serves and _healthy(free_port):
                break
            if not serves and time.monotonic() > deadline - 52:  # eight seconds without a crash
                break
            time.sleep(0.2)
        assert process.poll() is None, process.communicate()[0]
        assert not serves or _healthy(free_port)
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_migrate_command_brings_an_empty_database_up_to_date(server_url, empty_database, tmp_path):
    command = COMPOSE["services"]["migrate"]["command"]
    environment = {**os.environ, "DATABASE_URL": empty_database, "HOLDFAST_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "monitor.cli.app", *command[1:]], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "the schema is up to date"), done.stderr
