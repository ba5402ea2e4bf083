"""A real PostgreSQL for the tests: one embedded server a run, and a database cloned from a template for each test."""

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from monitor.db import embedded
from monitor.db.engine import libpq_url, make_engine, sessions
from monitor.db.scratch import scratch_database

SERVER = "HOLDFAST_TEST_DATABASE_URL"  # an external server to use instead
_HOME = "HOLDFAST_TEST_HOME"  # how xdist's workers learn the folder of the run's server


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[_HOME] = tempfile.mkdtemp(prefix="holdfast-tests-")


# The only reasons for which a test may skip; on CI any other skip fails the run.
ALLOWED_SKIPS = ("needs HOLDFAST_DATA", "needs a GPU", "needs PostgreSQL 15", "needs the extra ")


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("HOLDFAST_STRICT_SKIPS") != "1" or reporter is None:
        return
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])]
    forbidden = [why for why in reasons if not why.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS)]
    if forbidden:
        reporter.write_line(f"skips without an allowed reason: {forbidden}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        home = Path(os.environ.pop(_HOME))
        embedded.stop(home)
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets: HOLDFAST_DATA, else the one beside the project."""
    folder = Path(os.environ.get("HOLDFAST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("needs HOLDFAST_DATA: the folder with the real data sets")
    return folder


@pytest.fixture(scope="session")
def server_url() -> str:
    """A PostgreSQL server on which databases may be made; its data may be lost."""
    return os.environ.get(SERVER) or embedded.start(Path(os.environ[_HOME]), durable=False)


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """An empty, migrated database of this test alone."""
    with scratch_database(server_url) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session in an open transaction, which the test may commit."""
    with sessions(engine)() as opened:
        yield opened


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """A database without any table."""
    url = embedded.ensure_database(server_url, name := f"empty_{uuid.uuid4().hex}")
    yield url
    with psycopg.connect(libpq_url(server_url), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def free_port() -> int:
    """A port of loopback on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
