"""A real Chromium at the real door: one uvicorn process on a seeded database."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import Engine

from monitor.artifacts.store import Store
from monitor.db.checks import Report
from monitor.db.engine import transaction
from monitor.db.users import create_user, make_link, user_named
from tests.seeded import Seeded, populate

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIDENTLY = b"<!doctype html><title>Report</title><h2 id=who></h2><script>who.textContent = origin</script>"


@dataclass(frozen=True)
class Door:
    """Where the dashboard listens, and the rows behind it."""

    address: str
    engine: Engine
    seeded: Seeded

    def link(self) -> str:
        """A fresh one-time link for Ana, who approves and operates."""
        with transaction(self.engine) as session:
            return (
                f"{self.address}/?once={make_link(session, user_named(session, 'ana'), lifetime=timedelta(minutes=5))}"
            )


@pytest.fixture
def door(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Door]:
    with transaction(engine) as session:
        seeded = populate(session)
        create_user(session, "ana", ["approver", "operator"])
        sha256 = Store(tmp_path / "artifacts").put(EVIDENTLY)
        session.add(
            Report(
                model_id=seeded.model.id, alert_id=seeded.alert.id, starts=seeded.alert.starts, ends=seeded.alert.ends,
                state="ready", html_sha256=sha256,
            )
        )  # fmt: skip
    with served(database_url, tmp_path) as address:
        yield Door(address, engine, seeded)


@contextmanager
def served(database_url: str, home: Path) -> Iterator[str]:
    """The address of a dashboard in a process of its own."""
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "dashboard.door:app", "--factory", "--no-access-log", "--port"]
    with running([*command, str(port)], database_url, home, "door") as (process, log):
        _wait_until_ready(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(
    command: list[str], database_url: str, home: Path, name: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process of the platform, ended afterwards; with the file of what it says."""
    environment = os.environ | {"DATABASE_URL": database_url, "HOLDFAST_HOME": str(home)}
    path = home / f"{name}.log"
    with path.open("wb") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as process:
        try:
            yield process, path
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    installed = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    found = os.environ.get("HOLDFAST_CHROMIUM") or next(filter(None, installed), None)  # None: Playwright's own
    expect.set_options(timeout=30_000)  # a busy machine draws late
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, timezone_id="Europe/Berlin")
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(log.read_text())
