"""From verdicts to alerts, messages and proposals: one problem is told once."""

import json
from pathlib import Path

from sqlalchemy import Engine, select

from monitor.acts.schema_files import read_schema, write_schema
from monitor.acts.schemas import evolve_schema
from monitor.db.alerts import Alert, Outbox, Route
from monitor.db.checks import WindowVerdict
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.registry import champion, model_named
from monitor.db.retraining import Proposal
from monitor.jobs.raise_alerts import judge
from monitor.performance.verdict import ADVICE, Verdict
from tests.streams import (
    OWNER,
    REFERENCE_DAYS,
    World,
    drain_checks,
    label_days,
    register,
    rows_of,
    schema,
    serve_days,
    tools_for,
    window,
)

FIRST = REFERENCE_DAYS + 1


def _watched(engine: Engine, folder: Path, world: World, days: int, *, labels: bool = True) -> list[Alert]:
    register(engine, world)
    with transaction(engine) as session:
        session.add(Route(name="file", url=f"file://{folder}/messages.jsonl"))
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + days, labels=labels)
    drain_checks(tools_for(engine, folder, link="http://127.0.0.1:8501"))
    return rows_of(engine, Alert)


def _messages(folder: Path) -> list[dict[str, object]]:
    path = folder / "messages.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_quiet_days_raise_nothing(engine: Engine, tmp_path: Path):
    assert _watched(engine, tmp_path, World(), 5) == []
    assert _messages(tmp_path) == []


def test_a_pipeline_break_is_paged_once_and_over_when_the_data_are_sound_again(engine: Engine, tmp_path: Path):
    (alert,) = _watched(engine, tmp_path, World(unit=(FIRST, FIRST + 2)), 5)
    assert (alert.kind, alert.severity, alert.state) == ("quality", "page", "resolved")
    assert (alert.verdict, alert.culprits) == ("pipeline_break", ["amount"])
    assert (alert.starts, alert.ends) == (window(FIRST).start, window(FIRST + 1).end)
    assert [message["event"] for message in _messages(tmp_path)] == ["fired", "resolved"]
    assert rows_of(engine, Proposal) == []


def test_the_message_says_what_to_do_and_what_not(engine: Engine, tmp_path: Path):
    _watched(engine, tmp_path, World(unit=(FIRST, FIRST + 2)), 2)
    text = str(_messages(tmp_path)[0]["text"])
    assert text.startswith("PAGE fraud: pipeline break, not drift\namount ×100")
    assert "Do NOT retrain" in text
    assert "http://127.0.0.1:8501/" in text


def test_moved_features_are_a_ticket_that_is_revised_when_labels_prove_them_harmless(engine: Engine, tmp_path: Path):
    world = World(shift=(FIRST, 1.5))
    (alert,) = _watched(engine, tmp_path, world, 3, labels=False)
    assert (alert.kind, alert.severity, alert.verdict) == ("drift", "ticket", "pending_labels")
    label_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 3)
    drain_checks(tools_for(engine, tmp_path))
    (revised,) = rows_of(engine, Alert)
    assert (revised.verdict, revised.revised) == ("harmless_drift", True)
    assert (revised.message["do"], revised.message["dont"]) == ADVICE[Verdict.HARMLESS_DRIFT]
    assert [message["event"] for message in _messages(tmp_path)] == ["fired"]


def test_harm_is_paged_and_proposes_a_retraining_once(engine: Engine, tmp_path: Path):
    alerts = _watched(engine, tmp_path, World(flip=FIRST, shift=(FIRST, 1.5)), 4)
    assert {alert.cause: alert.severity for alert in alerts} == {"drift": "ticket", "performance": "page"}
    (proposal,) = rows_of(engine, Proposal)
    assert (proposal.state, proposal.verdict) == ("awaiting_approval", "harmful_covariate_shift")
    assert proposal.evidence["metric"]["name"] == "auroc"
    assert proposal.alert_id == next(alert.id for alert in alerts if alert.cause == "performance")


def test_a_frozen_model_is_watched_but_nothing_is_proposed(engine: Engine, tmp_path: Path):
    world = World(flip=REFERENCE_DAYS)
    register(engine, world)
    with transaction(engine) as session:
        model_named(session, "fraud").frozen = True
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 2)
    drain_checks(tools_for(engine, tmp_path))
    assert [alert.cause for alert in rows_of(engine, Alert)] == ["performance"]
    assert rows_of(engine, Proposal) == []


def test_harm_to_a_model_with_vectors_is_paged_and_nothing_is_proposed(engine: Engine, tmp_path: Path):
    world = World(flip=REFERENCE_DAYS)
    register(engine, world)
    with transaction(engine) as session:
        declared = read_schema(write_schema(schema()) + "vectors: {face: {size: 4}}")
        evolve_schema(session, model_named(session, "fraud"), declared, by=OWNER, now=database_now(session))
    serve_days(engine, world, REFERENCE_DAYS, REFERENCE_DAYS + 2)
    drain_checks(tools_for(engine, tmp_path))
    assert [alert.cause for alert in rows_of(engine, Alert)] == ["performance"]
    assert rows_of(engine, Proposal) == []


def test_an_alert_orders_one_report_of_its_window(engine: Engine, tmp_path: Path):
    (alert,) = _watched(engine, tmp_path, World(unit=(FIRST, FIRST + 2)), 4)
    with transaction(engine) as session:
        (payload,) = session.scalars(select(Job.payload).where(Job.kind == "report"))
    assert (payload["alert_id"], payload["starts"]) == (alert.id, window(FIRST).start.isoformat())


def test_judging_every_window_again_doubles_nothing(engine: Engine, tmp_path: Path):
    _watched(engine, tmp_path, World(flip=FIRST, shift=(FIRST, 1.5)), 4)
    before = _everything(engine)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        for number in range(REFERENCE_DAYS, REFERENCE_DAYS + 4):
            now = database_now(session)
            judge(session, tools_for(engine, tmp_path), model, champion(session, model), window(number), now)
    assert _everything(engine) == before


def _everything(engine: Engine) -> list[tuple[object, ...]]:
    return [
        tuple(getattr(row, column.key) for column in table.__table__.columns)
        for table in (Alert, Outbox, WindowVerdict, Proposal)
        for row in rows_of(engine, table)
    ]
