"""`holdfast stress`: what a person types, what comes back, and what is refused."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest
from sqlalchemy import Engine

from monitor.db.audit import AuditEntry
from monitor.db.checks import Campaign
from tests.commands import Commands
from tests.streams import World, register, rows_of
from tests.stressed import stressed


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path)


def test_a_stress_test_is_told_stored_and_written_as_a_page(holdfast: Commands, engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path)
    answer = holdfast("stress", "fraud", "--report", tmp_path / "page")
    assert (answer.code, answer.err.splitlines()[0]) == (0, "fraud v1: 400 recent rows of 2 Feb 2026 to 4 Feb 2026")
    assert "an attacker may move" in answer.out
    assert "amount ± " in answer.out
    (campaign,) = rows_of(engine, Campaign)
    assert (campaign.purpose, campaign.plan, campaign.report["on"]) == ("command", "tick", "recent")
    assert f"{campaign.report['levels'][1]['attacked']:.3f} [" in answer.out
    assert "version.stressed" in [entry.action for entry in rows_of(engine, AuditEntry)]
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Features that the attack leans on" in page or not campaign.report["fragile_features"]
    assert json.loads((tmp_path / "page" / "report.json").read_text())["campaign"] == campaign.id


def test_too_few_recent_labels_take_the_reference_and_say_so(holdfast: Commands, engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path, days=0)
    answer = holdfast("stress", "fraud", "--json", "--level", "S3", "--rows", 100)
    assert "the rows of the reference were taken" in answer.err
    document = json.loads(answer.out)
    assert (document["on"], document["n_rows"]) == ("reference", 100)
    assert [level["level"] for level in document["levels"]] == ["S3"]


def test_the_same_rows_are_compared_with_the_last_time(holdfast: Commands, engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path)
    holdfast.well("stress", "fraud", "--on", "reference")
    again = holdfast.well("stress", "fraud", "--on", "reference")
    assert "Against v1 on the same 512 rows: 0 newly lost at S2, 0 no longer (p = 1)." in again


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("other",), "no model 'other'"),
        (("fraud", "--plan", "weekly"), "expected a plan among tick, nightly"),
        (("fraud", "--level", "S9"), "expected a level among S1"),
        (("fraud", "--version", "v7"), "has no version 'v7'"),
        (("fraud", "--rows", "3"), "expected at least 50 rows"),
        (("fraud", "--on", "mars"), "expected --on recent or reference"),
        (("fraud", "--report", "/dev/null/page"), "expected a folder that can be written"),
        (("fraud",), "has no artefact to stress"),
    ],
)
def test_what_cannot_be_stressed_is_one_sentence(holdfast: Commands, engine: Engine, arguments, words):
    register(engine, World(), served=False)
    answer = holdfast("stress", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err
    assert answer.err.count("\n") == 1


def test_rows_of_one_class_or_without_labels_are_refused(holdfast: Commands, engine: Engine, tmp_path: Path):
    stressed(engine, tmp_path, labels=False)
    answer = holdfast("stress", "fraud", "--on", "recent")
    assert (answer.code, "expected at least 50 labelled rows from 2 Feb 2026 to 4 Feb 2026, got 0" in answer.err) == (
        2,
        True,
    )
    with patch("monitor.performance.labels.Labels.numbers", lambda _, texts: texts.notna().to_numpy(float)):
        answer = holdfast("stress", "fraud", "--on", "reference")
    assert (answer.code, "expected rows of two classes or more" in answer.err) == (2, True)


def test_an_interrupted_stress_test_leaves_nothing(holdfast: Commands, engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path)
    with patch("monitor.jobs.stress_child.run_campaign", side_effect=KeyboardInterrupt):
        answer = holdfast("stress", "fraud")
    assert (answer.code, answer.out) == (130, "")
    assert rows_of(engine, Campaign) == []
    assert not (tools.home / "campaigns").exists()
