"""A real PostgreSQL for the tests: one embedded server a run, and a database cloned from a template for each test."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from monitor.db import embedded
from monitor.db.engine import make_engine, sessions
from monitor.db.scratch import scratch_database

SERVER = "HOLDFAST_TEST_DATABASE_URL"  # an external server to use instead
_HOME = "HOLDFAST_TEST_HOME"  # how xdist's workers learn the folder of the run's server


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ[_HOME] = tempfile.mkdtemp(prefix="holdfast-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        home = Path(os.environ.pop(_HOME))
        embedded.stop(home)
        shutil.rmtree(home)


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
