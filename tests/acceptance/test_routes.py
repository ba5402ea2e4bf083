"""`holdfast route`: where messages go. A wrong address is refused when it is typed, and secrets are never shown."""

from pathlib import Path

import pytest

from monitor.db.audit import entries
from monitor.db.engine import transaction
from tests.commands import FLAGS, Commands, log_of


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path / "home")


def test_route_is_listed_without_its_secrets(holdfast, engine):
    holdfast.well("route", "add", "hook", "json://user:hunter2@hooks.example/token", "--least", "ticket")
    holdfast.well("route", "add", "screen", "console:")
    listed = holdfast.well("route", "list").splitlines()
    assert [line.split() for line in listed] == [
        ["hook", "ticket", "json://hooks.example/***"],
        ["screen", "info", "console:"],
    ]
    with transaction(engine) as session:
        assert "hunter2" not in str([entry.details for entry in entries(session)])


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("slack", "no apprise URL"),
        ("nonsense://x", "no apprise URL"),
        ("file://relative/path", "expected file:///an/absolute/path"),
    ],
)
def test_address_that_cannot_work_is_refused_at_once(holdfast, url, sentence):
    answer = holdfast("route", "add", "mine", url)
    assert answer.code == 2
    assert sentence in answer.err
    assert holdfast.well("route", "list") == ""


def test_taken_name_unknown_model_and_unknown_severity_are_refused(holdfast):
    holdfast.well("route", "add", "screen", "console:")
    assert "already" in holdfast("route", "add", "screen", "console:").err
    assert "no model 'fraud'" in holdfast("route", "add", "other", "console:", "--model", "fraud").err
    assert "page" in holdfast("route", "add", "other", "console:", "--least", "loud").err


def test_route_of_one_model_gets_no_other_models_messages(holdfast, tmp_path):
    log_of(0, 16).to_parquet(tmp_path / "log.parquet")
    for model in ("fraud", "credit"):
        holdfast.well("watch", tmp_path / "log.parquet", "--model", model, *FLAGS, "--once")
    holdfast.well("route", "add", "mine", (tmp_path / "mine").as_uri(), "--model", "fraud")
    assert holdfast("drill", "credit").code == 2
    assert holdfast("drill", "fraud").code == 0
    assert (tmp_path / "mine").read_text().count("DRILL PAGE fraud") == 1
