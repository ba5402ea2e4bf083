"""An expected event is looked at and not judged; what an owner asks of the detector holds from the next window on."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from monitor.acts.calendar import add_event, import_events, remove_event, windows_judged
from monitor.acts.detection import configure_detection
from monitor.alerts.calendar import ExpectedEvent
from monitor.db.alerts import Alert
from monitor.db.audit import AuditEntry
from monitor.db.calendar import calendar_of, whole_calendar
from monitor.db.checks import Finding
from monitor.db.engine import database_now, transaction
from monitor.db.registry import ModelSettings, champion, model_named, reference_for
from monitor.drift import FeatureOverride
from monitor.errors import BadInput, NotAllowed, NotFound, StaleDecision
from monitor.governance import Actor
from monitor.windows import Window
from tests.streams import OWNER, REFERENCE_DAYS, World, drain_checks, register, runs_of, serve_days, tools_for, window

VIEWER = Actor(id="vic", name="Vic", roles=frozenset({"viewer"}))
WILD = World(shift=(REFERENCE_DAYS + 2, 1.5))


def expect(engine: Engine, name: str, span: Window, *, model: str | None = None) -> None:
    with transaction(engine) as session:
        about = model_named(session, model) if model else None
        add_event(
            session, ExpectedEvent(name=name, span=span), model=about, by=OWNER, now=database_now(session)
        )  # fmt: skip


def configure(engine: Engine, **asked: object) -> ModelSettings:
    with transaction(engine) as session:
        return configure_detection(
            session, model_named(session, "fraud"), by=OWNER, now=database_now(session), **asked
        )  # fmt: skip


def test_a_window_of_an_expected_event_is_shown_and_never_alarms(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    expect(engine, "Black Friday", Window(window(REFERENCE_DAYS + 2).start, window(REFERENCE_DAYS + 3).end))
    serve_days(engine, WILD, REFERENCE_DAYS, REFERENCE_DAYS + 4, labels=False)
    serve_days(engine, World(), REFERENCE_DAYS + 4, REFERENCE_DAYS + 5, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    runs = runs_of(engine, "drift")
    assert [run.status for run in runs] == ["ok", "ok", "skipped", "skipped", "ok"]
    assert runs[2].sentence == "Black Friday was expected: shown, and not judged"
    assert (runs[2].document["expected"], runs[2].document["features"]["amount"]["magnitude"] > 0.5) == (
        "Black Friday", True,
    )  # fmt: skip
    with transaction(engine) as session:
        assert session.scalars(select(Alert)).all() == []
        shown = session.scalars(select(Finding).where(Finding.check_run_id == runs[2].id, Finding.subject == "amount"))
        assert shown.one().effect is None


def test_a_late_event_changes_no_window_that_was_judged(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    serve_days(engine, WILD, REFERENCE_DAYS, REFERENCE_DAYS + 3, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    before = [(run.status, run.document) for run in runs_of(engine, "drift")]
    event = ExpectedEvent(name="Sale", span=Window(window(0).start, window(90).end), yearly=False)
    expect(engine, "Sale", event.span, model="fraud")
    drain_checks(tools_for(engine, tmp_path))
    assert [(run.status, run.document) for run in runs_of(engine, "drift")] == before
    with transaction(engine) as session:
        assert windows_judged(session, event, model=None) == 3
        yearly = ExpectedEvent(name="Sale", span=event.span, yearly=True)
        assert windows_judged(session, yearly, model=model_named(session, "fraud")) == 3


def test_a_reference_is_learned_without_expected_days_where_the_others_suffice(engine: Engine, tmp_path: Path):
    world = World(shift=(20, 1.5))
    register(engine, world, reference=False, served=False)
    expect(engine, "Launch", Window(window(20).start, window(24).end))
    serve_days(engine, world, 0, 24, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    with transaction(engine) as session:
        learned = reference_for(session, champion(session, model_named(session, "fraud")))
    assert (learned.windows, learned.ends) == (20, window(19).end)


def test_the_calendar_is_kept_by_operators_and_holds_an_event_once(engine: Engine):
    register(engine, World(), reference=False, served=False)
    expect(engine, "Sale", window(1))
    expect(engine, "Repair", window(2), model="fraud")
    with pytest.raises(StaleDecision, match="Sale from 2026-01-06 is in the calendar already"):
        expect(engine, "Sale", window(1))
    days = [ExpectedEvent(name="Sale", span=window(day)) for day in (1, 2, 3)]
    with transaction(engine) as session:
        now = database_now(session)
        added = import_events(session, days, model=None, source="x.ics", by=OWNER, now=now)
        assert (added.new, added.known) == (2, 1)
        with pytest.raises(NotAllowed):
            import_events(session, days, model=None, source="x.ics", by=VIEWER, now=now)
        assert [event.name for event in calendar_of(session, model_named(session, "fraud"))] == [
            "Sale", "Repair", "Sale", "Sale",
        ]  # fmt: skip
        mine = next(event.id for event, model in whole_calendar(session) if model == "fraud")
        remove_event(session, mine, by=OWNER, now=now)
        with pytest.raises(NotFound, match=f"no event {mine}"):
            remove_event(session, mine, by=OWNER, now=now)
        acts = session.scalars(select(AuditEntry.action).where(AuditEntry.action.like("calendar.%"))).all()
    assert acts == ["calendar.event_added", "calendar.event_added", "calendar.imported", "calendar.event_removed"]


def test_a_muted_feature_is_shown_and_never_alarms(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    configure(engine, features={"amount": FeatureOverride(weight=0)})
    serve_days(engine, WILD, REFERENCE_DAYS, REFERENCE_DAYS + 4, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    last = runs_of(engine, "drift")[-1].document
    assert (last["state"], last["features"]["amount"]["moved"]) == ("quiet", False)
    assert last["features"]["amount"]["effect"] > 1
    assert last["terms"]["overrides"] == {"amount": {"tolerance": None, "weight": 0}}


def test_muting_what_alone_holds_an_incident_open_ends_it_with_the_next_window(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    serve_days(engine, WILD, REFERENCE_DAYS, REFERENCE_DAYS + 3, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    assert runs_of(engine, "drift")[-1].document["culprits"] == ["amount"]
    configure(engine, features={"amount": FeatureOverride(weight=0)})
    serve_days(engine, WILD, REFERENCE_DAYS + 3, REFERENCE_DAYS + 4, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    assert runs_of(engine, "drift")[-1].document["state"] == "quiet"
    with transaction(engine) as session:
        assert session.scalars(select(Alert.state)).all() == ["resolved"]


def test_settings_hold_from_the_next_window_on_and_the_memory_is_kept(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    serve_days(engine, World(), REFERENCE_DAYS, REFERENCE_DAYS + 3, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    configure(engine, sensitivity="quiet", incidents=2, per_days=30, features={"age": FeatureOverride(tolerance=0.4)})
    serve_days(engine, World(), REFERENCE_DAYS + 3, REFERENCE_DAYS + 5, labels=False)
    drain_checks(tools_for(engine, tmp_path))
    terms = [run.document["terms"] for run in runs_of(engine, "drift")]
    assert [one["sensitivity"] for one in terms] == ["balanced"] * 3 + ["quiet"] * 2
    assert (terms[-1]["ticks"], terms[-1]["tolerance"], terms[-1]["overrides"]["age"]["tolerance"]) == (30, 0.15, 0.4)
    assert runs_of(engine, "drift")[-1].document["features"]["age"]["scale"] >= 1


def test_overrides_add_up_go_back_and_say_the_same_without_a_record(engine: Engine):
    register(engine, World(), reference=False, served=False)
    configure(engine, features={"amount": FeatureOverride(weight=0), "age": FeatureOverride(tolerance=0.1)})
    kept = configure(engine, features={"amount": None})
    assert kept.overrides == {"age": {"tolerance": 0.1, "weight": 1.0}}
    assert configure(engine, features={"age": FeatureOverride(tolerance=0.1)}) == kept
    with transaction(engine) as session:
        acts = session.scalars(select(AuditEntry).where(AuditEntry.action == "model.detection_configured")).all()
        assert len(acts) == 2
        assert ModelSettings.of(model_named(session, "fraud")) == kept


IMPOSSIBLE: dict[str, dict[str, object]] = {
    "expected a sensitivity of sensitive, balanced, quiet, got 'loud'": {"sensitivity": "loud"},
    "expected a budget above 0": {"incidents": 0},
    "expected a finite budget": {"per_days": float("inf")},
    "expected overrides of amount, age, channel, score, prediction, got amont": {
        "features": {"amont": FeatureOverride(weight=0)}
    },
}


def test_what_the_detector_cannot_be_asked_is_a_sentence(engine: Engine):
    register(engine, World(), reference=False, served=False)
    for sentence, asked in IMPOSSIBLE.items():
        with pytest.raises(BadInput, match=sentence):
            configure(engine, **asked)


def test_settings_written_before_there_were_overrides_are_read():
    old = {name: value for name, value in ModelSettings().to_document().items() if name != "overrides"}
    assert ModelSettings(**old) == ModelSettings()
