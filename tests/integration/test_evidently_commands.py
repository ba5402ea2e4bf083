"""`holdfast monitor …` and `holdfast report …` as they are typed."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from monitor.acts import monitors
from monitor.db.checks import Report
from monitor.db.engine import transaction
from monitor.db.jobs import Job
from monitor.db.registry import Monitor
from monitor.errors import JobFailed
from monitor.jobs import report as report_job
from monitor.reports.render import Rendered
from tests.commands import Commands
from tests.streams import REFERENCE_DAYS, World, register, serve_days, window

DONE = Rendered(html=b"<!doctype html>", json=b"{}", snapshot=b"{}", left_out={})


@pytest.fixture
def holdfast(engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line on a model whose reference was served; Evidently's own processes are left out."""
    register(engine, World())
    monkeypatch.setattr(monitors, "checked", lambda config, *_, **__: config)
    monkeypatch.setattr(report_job, "render", lambda *_, **__: DONE)
    return Commands(url=database_url, home=tmp_path)


def settings(engine: Engine, name: str) -> dict[str, Any]:
    with transaction(engine) as session:
        found = session.scalars(select(Monitor.settings).where(Monitor.name == name)).one()
        return dict(found)


def test_one_metric_is_typed_with_its_arguments_after_it(holdfast: Commands, engine: Engine):
    told = holdfast.well(
        "monitor", "add", "fraud", "--metric", "ValueDrift", "column=amount", "method=psi", "threshold=0.2"
    )  # fmt: skip
    assert told.splitlines() == [
        "valuedrift-amount: every window, shown only", "  ValueDrift column=amount method=psi threshold=0.2",
    ]  # fmt: skip
    assert settings(engine, "valuedrift-amount")["metrics"] == [
        {"name": "ValueDrift", "arguments": {"column": "amount", "method": "psi", "threshold": 0.2}}
    ]
    listed = holdfast.well("monitor", "list", "fraud")
    assert "waits for the next window that is checked" in listed
    holdfast.well("monitor", "remove", "fraud", "valuedrift-amount")
    assert holdfast.well("monitor", "list", "fraud") == ""


def test_several_metrics_are_typed_in_quotes_and_tests_in_short(holdfast: Commands, engine: Engine):
    typed = ("--metric", "MinValue column=amount tests=gte:0,lte:1e3", "--metric", "RowCount tests=eq:10%")
    told = holdfast.well("monitor", "add", "fraud", *typed, "--name", "range", "--alert", "--report-every", 7)
    assert "a report every 7 windows, may raise a ticket" in told
    assert "MinValue column=amount tests=gte:0,lte:1000.0" in told
    assert "RowCount tests=eq:10%" in told
    first, second = settings(engine, "range")["metrics"]
    assert first["arguments"]["tests"][0] == {"name": "gte", "arguments": {"threshold": 0}}
    assert second["arguments"]["tests"] == [{"name": "eq", "arguments": {"expected": {"relative": 0.1}}}]


def test_a_monitor_may_be_a_file(holdfast: Commands, engine: Engine, tmp_path: Path):
    file = tmp_path / "monitor.yaml"
    file.write_text(
        "name: weekly\nevery_windows: 7\nmetrics:\n  - name: ValueDrift\n    arguments: {column: channel}\n"
    )
    assert holdfast.well("monitor", "add", "fraud", "--file", file).startswith("weekly: one window in 7")
    assert settings(engine, "weekly")["every_windows"] == 7


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--metric", "ValueDrift", "column"), "expected key=value, got 'column'"),
        (("--metric", "RowCount", "--metric", "ColumnCount", "a=1"), "put each in quotes"),
        (("column=amount",), "expected --metric NAME before 'column=amount'"),
        (("--metric", "RowCount", "tests=many"), "expected a test such as gte:0"),
        (("--file", "/nowhere.yaml"), "expected a YAML file"),
        ((), "there is nothing to do"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(holdfast: Commands, arguments: tuple[str, ...], words: str):
    answer = holdfast("monitor", "add", "fraud", *arguments)
    assert (answer.code, words in answer.err) == (2, True), answer.err


def test_a_report_is_made_here_and_now_and_once(holdfast: Commands, engine: Engine, tmp_path: Path):
    serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 1)
    out = tmp_path / "report.html"
    assert holdfast.well("report", "fraud", "--preset", "drift", "--out", out).strip() == str(out)
    assert out.read_bytes() == DONE.html
    day = window(REFERENCE_DAYS).start.isoformat()
    assert holdfast.well("report", "fraud", "--preset", "drift", "--window", day).strip().endswith("/reports/1")
    with transaction(engine) as session:
        (report,) = session.scalars(select(Report)).all()
        assert (report.kind, report.state, report.starts) == ("evidently:drift", "ready", window(REFERENCE_DAYS).start)
        assert report.snapshot_sha256 is not None
        assert session.scalars(select(Job).where(Job.kind == "report")).all() == []


def test_a_report_that_cannot_be_made_says_why(holdfast: Commands, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object, **__: object) -> Rendered:
        raise JobFailed("Evidently could not do it: no luck")

    monkeypatch.setattr(report_job, "render", broken)
    answer = holdfast("report", "fraud")
    assert (answer.code, "no report: Evidently could not do it: no luck" in answer.err) == (2, True)
    assert holdfast("report", "fraud", "--preset", "regression").code == 2
    assert "no report that can be exported" in holdfast("report", "export", "fraud", "--workspace", "ws").err
