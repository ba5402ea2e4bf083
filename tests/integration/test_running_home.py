"""Commands on a home whose processes run talk to the database that these use: the demo's has a name of its own."""

import json
import os
from pathlib import Path

import psutil
import pytest

from monitor.cli.platform import database_url as database_of
from monitor.settings import Settings
from monitor.up import state_file
from tests.commands import Commands


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a home on which this very process runs a platform on a database of its own."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    settings = Settings.load(home=tmp_path)
    state = {
        "pid": os.getpid(), "created": psutil.Process().create_time(), "link": settings.link,
        "database_url": database_url, "programs": {},
    }  # fmt: skip
    state_file(settings).parent.mkdir()
    state_file(settings).write_text(json.dumps(state))
    return settings


def test_a_command_finds_the_database_of_the_processes_that_run_on_its_home(settings, database_url):
    assert database_of(settings) == database_url


def test_status_tells_of_the_models_in_the_database_of_the_running_processes(settings, database_url):
    assert "No model is monitored yet" in Commands(url="", home=settings.home).well("status")
