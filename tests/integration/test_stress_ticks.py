"""Robust accuracy as a stream: what a tick remembers, when it fires, and what people are told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from monitor.alerts import AlertKind
from monitor.db.alerts import Alert, Route
from monitor.db.checks import Finding, WindowVerdict
from monitor.db.engine import transaction
from monitor.db.registry import Version
from monitor.jobs import stress_child
from monitor.robustness import CampaignReport
from monitor.robustness.report import FragileFeature
from monitor.robustness.stream import BUDGET_TICKS
from tests.streams import REFERENCE_DAYS, World, drain_checks, rows_of, runs_of, serve_days
from tests.stressed import stressed

LEANED_ON = FragileFeature(feature="amount", moved=0.9, repaired=0.62, recovered=0.7, typical=12.0, unit=None)


@pytest.fixture
def leaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Campaigns that say which feature the attack leans on."""
    real = stress_child.run_campaign

    def run(*arguments: object, **settings: object) -> CampaignReport:
        return replace(real(*arguments, **settings), fragile_features=(LEANED_ON,))

    monkeypatch.setattr(stress_child, "run_campaign", run)


def test_a_tick_goes_on_from_the_last_one_and_quiet_ones_do_not_fire(engine: Engine, tmp_path: Path):
    drain_checks(stressed(engine, tmp_path, days=4, stress_every_windows=2))
    first, second = runs_of(engine, "stress")
    assert [json.loads(run.detector_state)["ticks"] for run in (first, second)] == [1, 2]
    assert json.loads(second.detector_state)["level"] == "S2"
    assert not any(run.document["below_registration"] for run in (first, second))
    assert second.document["stream"]["evidence"] < BUDGET_TICKS
    with transaction(engine) as session:
        found = session.scalars(select(Finding).where(Finding.metric == "lost_to_attack")).all()
    assert [one.statistic for one in found] == [run.document["stream"]["lost"] for run in (first, second)]


def test_a_new_registration_starts_the_stream_anew(engine: Engine, tmp_path: Path):
    tools = stressed(engine, tmp_path, days=4, stress_every_windows=2)
    drain_checks(tools)
    with transaction(engine) as session:
        version = session.scalars(select(Version)).one()
        lost = version.baseline["stress_stream"]["lost"]
        stream = version.baseline["stress_stream"] | {"lost": {name: count + 9 for name, count in lost.items()}}
        version.baseline = version.baseline | {"stress_stream": stream}
    serve_days(engine, World(), REFERENCE_DAYS + 4, REFERENCE_DAYS + 6)
    drain_checks(tools)
    assert [json.loads(run.detector_state)["ticks"] for run in runs_of(engine, "stress")] == [1, 2, 1]


@pytest.mark.usefixtures("leaning")
def test_more_lost_rows_are_a_ticket_that_names_the_feature_and_its_budget(engine: Engine, tmp_path: Path):
    fewer = {"0": 1, "1": 1}
    tools = stressed(engine, tmp_path, days=4, lost=fewer, stress_every_windows=4, stress_level="S3")
    with transaction(engine) as session:
        session.add(Route(name="file", url=f"file://{tmp_path}/messages.jsonl"))
    drain_checks(tools)
    (run,) = runs_of(engine, "stress")
    assert run.document["below_registration"]
    assert "rows are lost to the attack at S3" in run.sentence
    alert = next(alert for alert in rows_of(engine, Alert) if alert.kind == AlertKind.ROBUSTNESS)
    assert (alert.verdict, alert.culprits, alert.severity) == ("fragile", ["amount"], "ticket")
    text, asked = [json.loads(line)["text"] for line in (tmp_path / "messages.jsonl").read_text().splitlines()]
    assert asked.startswith("TICKET fraud: retraining is proposed")
    assert text.startswith("TICKET fraud: more fragile than at registration, by amount\n")
    assert "Restoring amount alone repairs 62 % of the broken rows (moved in 90 %, by 12 as a rule)." in text
    assert "An attacker may move amount ± " in text
    assert "somebody adapts" not in text
    assert rows_of(engine, WindowVerdict)[-1].verdict == "fragile"
