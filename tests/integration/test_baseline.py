"""A person says what is normal from now on: the bins stay, the proportions change, the drift is over."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from monitor.acts.alerts import add_route
from monitor.acts.baselines import accept_baseline
from monitor.acts.calendar import add_event
from monitor.alerts.calendar import ExpectedEvent
from monitor.db.alerts import Alert, Outbox
from monitor.db.audit import AuditEntry
from monitor.db.engine import database_now, transaction
from monitor.db.read_baseline import baselines
from monitor.db.registry import Reference, champion, model_named, reference_for
from monitor.db.registry import Reference as Row
from monitor.drift import Reference as Normal
from monitor.errors import BadInput, NotAllowed, NotEnoughData, StaleDecision
from monitor.governance import Actor
from monitor.jobs.plan import plan
from monitor.jobs.worker import Worker
from monitor.windows import Window
from tests.streams import (
    CHECKS,
    OWNER,
    REFERENCE_DAYS,
    World,
    drain_checks,
    register,
    runs_of,
    serve_days,
    tools_for,
    window,
)

SHIFT = REFERENCE_DAYS + 1
WORLD = World(shift=(SHIFT, 1.0))
VIEWER = Actor(id="vic", name="Vic", roles=frozenset({"viewer"}))


def accept(session: Session, **asked: object) -> Reference:
    model = model_named(session, "fraud")
    given: dict[str, object] = {"reason": "the campaign stays", "by": OWNER, "now": database_now(session)} | asked
    return accept_baseline(session, model, champion(session, model), **given)


@pytest.fixture
def drifting(engine: Engine, tmp_path: Path) -> Engine:
    """Fourteen windows of an open incident."""
    register(engine, WORLD)
    with transaction(engine) as session:
        add_route(
            session, name="ops", url=f"file://{tmp_path}/said", model=None, least_severity="info", by=OWNER,
            now=database_now(session),
        )  # fmt: skip
    serve_days(engine, WORLD, REFERENCE_DAYS, SHIFT + 14, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    return engine


def test_an_accepted_baseline_keeps_the_bins_ends_the_alert_and_starts_afresh(drifting: Engine, tmp_path: Path):
    with transaction(drifting) as session:
        before = reference_for(session, champion(session, model_named(session, "fraud")))
        accepted = accept(session)
        assert accepted.binning_id == before.binning_id
        assert (accepted.windows, accepted.starts, accepted.ends) == (14, window(SHIFT).start, window(SHIFT + 13).end)
        assert Normal.from_document(accepted.document).total.rows == 14 * 200
    with transaction(drifting) as session:
        alert = session.scalars(select(Alert).where(Alert.cause == "drift")).one()
        assert (alert.state, alert.resolution) == ("resolved", "accepted as the new baseline by Ana")
        told = session.scalars(select(Outbox.message).where(Outbox.event == "resolved", Outbox.alert_id == alert.id))
        assert told.one()["lines"] == ["Accepted as the new baseline by Ana: the campaign stays"]
        acts = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id.desc()).limit(3)).all()
        assert acts == ["alert.resolved", "baseline.accepted", "reference.accepted"]
    serve_days(drifting, WORLD, SHIFT + 14, SHIFT + 16)
    drain_checks(tools_for(drifting, tmp_path))
    assert [run.document["state"] for run in runs_of(drifting, "drift")[-2:]] == ["quiet", "quiet"]
    assert {run.document["reference_id"] for run in runs_of(drifting, "drift")[-2:]} == {accepted.id}


def test_drift_from_the_new_baseline_is_a_new_alert_and_not_the_old_one_again(drifting: Engine, tmp_path: Path):
    with transaction(drifting) as session:
        accept(session)
    serve_days(drifting, World(shift=(0, 3.0)), SHIFT + 14, SHIFT + 15)
    drain_checks(tools_for(drifting, tmp_path))
    with transaction(drifting) as session:
        states = session.scalars(select(Alert.state).where(Alert.cause == "drift").order_by(Alert.id)).all()
    assert states == ["resolved", "firing"]


def test_a_job_in_hand_goes_on_under_the_baseline_that_was_accepted_meanwhile(drifting: Engine, tmp_path: Path):
    seen: list[str] = []

    def accept_once(kind: str) -> None:
        seen.append(kind)
        if seen.count("drift") == 1 and kind == "drift":
            with transaction(drifting) as session:
                accept(session)

    serve_days(drifting, WORLD, SHIFT + 14, SHIFT + 17, labels=False)
    worker = Worker(tools_for(drifting, tmp_path, checked=accept_once), "one", kinds=CHECKS)
    with transaction(drifting) as session:
        plan(session)
    while worker.run_once():
        pass
    runs = runs_of(drifting, "drift")[-3:]
    assert [run.document["state"] for run in runs] == ["open", "quiet", "quiet"]
    assert runs[0].document["reference_id"] < runs[1].document["reference_id"] == runs[2].document["reference_id"]
    with transaction(drifting) as session:
        assert session.scalars(select(Alert.state).where(Alert.cause == "drift")).all() == ["resolved"]


def test_what_cannot_be_a_baseline_is_refused_in_a_sentence(drifting: Engine):
    with transaction(drifting) as session:
        with pytest.raises(NotEnoughData, match="got 3 sound windows from 2026-02-03 .*: 11 more windows are needed"):
            accept(session, last=None, span=_span(SHIFT, SHIFT + 3))
        with pytest.raises(NotEnoughData, match="got 0 sound windows: 14 more windows"):
            accept(session, span=_span(SHIFT + 400, SHIFT + 401))
        with pytest.raises(NotAllowed, match="to accept baseline needs"):
            accept(session, by=VIEWER)
        with pytest.raises(BadInput, match="expected a reason"):
            accept(session, reason=" ")
        with pytest.raises(BadInput, match="got both"):
            accept(session, last=14, span=_span(SHIFT, SHIFT + 14))
        event = ExpectedEvent(name="Black Friday", span=window(SHIFT + 2))
        add_event(session, event, model=None, by=OWNER, now=database_now(session))
        with pytest.raises(NotEnoughData, match="got 13 sound windows"):
            accept(session)
        assert session.scalars(select(Row.windows)).all() == [28]
        assert accept(session, last=14).windows == 14
        with pytest.raises(StaleDecision, match="14 windows are the baseline of v1 already"):
            accept(session, last=14)
        listed = baselines(session, model_named(session, "fraud"))
        assert [(line.windows, line.active) for line in listed] == [(14, True), (28, False)]


def _span(first: int, last: int) -> Window:
    return Window(window(first).start, window(last - 1).end)
