"""`holdfast check`, `baseline`, `alert`, `calendar`, `model set`: what a person types, and what comes back."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from monitor.db.alerts import Alert
from monitor.db.checks import CheckRun
from monitor.db.engine import transaction
from monitor.db.jobs import Job
from tests.commands import Commands
from tests.streams import REFERENCE_DAYS, World, drain_checks, register, runs_of, serve_days, tools_for, window

SHIFT = REFERENCE_DAYS + 2
WORLD = World(shift=(SHIFT, 1.0))


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path)


def day(number: int) -> str:
    return window(number).start.date().isoformat()


def serve(engine: Engine, first: int, last: int) -> None:
    serve_days(engine, WORLD, first, last, labels=False)


def test_check_runs_what_is_due_once_and_tells_the_newest_window(holdfast: Commands, engine: Engine):
    register(engine, WORLD, served=False)
    serve(engine, REFERENCE_DAYS, SHIFT)
    answer = holdfast("check", "fraud", "--explain")
    assert (answer.code, answer.err) == (0, "checking fraud: 2 windows are due\n")
    assert answer.out.startswith(f"fraud v1, {day(SHIFT - 1)}: 200 rows, ok, quiet\n  Did not fire:")
    assert "Nearest to firing:" in answer.out
    assert "of what the budget of 1 false incident in 365 days asks for" in answer.out
    again = holdfast("check", "fraud", "--explain")
    assert (again.out, again.err, len(runs_of(engine, "drift"))) == (answer.out, "", 2)


def test_an_open_incident_is_exit_code_one_and_an_older_window_is_only_read(holdfast: Commands, engine: Engine):
    register(engine, WORLD, served=False)
    serve(engine, REFERENCE_DAYS, SHIFT)
    holdfast.well("check", "fraud")
    serve(engine, SHIFT, SHIFT + 1)
    old = holdfast("check", "fraud", "--window", day(SHIFT - 1))
    assert (old.code, len(runs_of(engine, "drift"))) == (0, 2)
    new = holdfast("check", "fraud", "--window", day(SHIFT), "--explain")
    assert (new.code, len(runs_of(engine, "drift"))) == (1, 3)
    assert "Fired: an incident opened with this window, by amount." in new.out
    assert "it fires (window lane)" in new.out
    serve(engine, SHIFT + 1, SHIFT + 2)
    assert holdfast("check", "fraud", "--window", f"{day(SHIFT)}..{day(SHIFT + 3)}").out.count("fraud v1, ") == 2
    both = holdfast("check", "fraud", "--window", f"{day(SHIFT - 1)}..{day(SHIFT)}", "--json", "--explain")
    first, last = json.loads(both.out)["windows"]
    assert (first["incident_open"], last["incident_open"], last["alarm"]) == (False, True, True)
    assert last["features"]["amount"]["moved"]
    assert last["why"]["features"]["amount"][0].startswith("amount rose by ")
    newest = json.loads(holdfast("check", "fraud", "--window", "3", "--json").out)["windows"][:2]
    assert [one["window"] for one in newest] == [first["window"], last["window"]]


def test_what_cannot_be_checked_is_a_sentence_and_exit_code_two(holdfast: Commands, engine: Engine):
    register(engine, WORLD, served=False)
    for arguments, sentence in {
        ("check", "credit"): "no model 'credit'; there are: fraud",
        ("check", "fraud"): "no window of fraud can be checked for drift yet",
        ("check", "fraud", "--window", "yesterday"): "expected a day or time such as 2026-11-27",
        ("check", "fraud", "--window", "0"): "expected 1 to 1,000 windows",
        ("check", "fraud", "--window", "2026-02-02..2026-01-01"): "expected an end after 2026-02-02, got 2026-01-01",
    }.items():
        answer = holdfast(*arguments)
        assert (answer.code, answer.out) == (2, "")
        assert sentence in answer.err
    serve(engine, REFERENCE_DAYS, SHIFT)
    answer = holdfast("check", "fraud", "--window", day(3))
    assert answer.code == 2
    assert f"among those that were checked, {day(REFERENCE_DAYS)} 00:00 to {day(SHIFT)} 00:00 UTC" in answer.err


def test_check_leaves_other_models_and_other_kinds_of_work_alone(holdfast: Commands, engine: Engine, tmp_path: Path):
    register(engine, WORLD)
    serve_days(engine, WORLD, REFERENCE_DAYS, SHIFT)
    holdfast.well("check", "fraud")
    with transaction(engine) as session:
        assert set(session.scalars(select(CheckRun.kind))) == {"quality", "drift"}
        assert session.scalars(select(Job.kind).where(Job.state == "queued")).all() == ["check_performance"]
    drain_checks(tools_for(engine, tmp_path))
    assert len(runs_of(engine, "performance")) == 2


def test_a_person_works_off_an_incident_from_the_command_line(holdfast: Commands, engine: Engine, tmp_path: Path):
    register(engine, WORLD, served=False)
    serve(engine, REFERENCE_DAYS, SHIFT + 14)
    assert holdfast("check", "fraud").code == 1
    with transaction(engine) as session:
        number = session.scalars(select(Alert.id)).one()
    assert f"#{number}    TICKET firing" in holdfast.well("alert", "list")
    assert "is snoozed until" in holdfast.well("alert", "snooze", number, "--for", "2d", "--reason", "campaign")
    assert "snoozed until" in holdfast.well("alert", "list", "fraud")
    assert holdfast.well("alert", "wake", number) == f"alert {number} speaks again\n"
    holdfast.well("alert", "snooze", "--model", "fraud", "--feature", "amount", "--for", "1w", "--reason", "campaign")
    assert "Snoozed until" in holdfast("check", "fraud", "--explain").out
    assert "got 5 sound windows" in holdfast("baseline", "accept", "fraud", "--last", 5, "--reason", "new").err
    done = holdfast.well("baseline", "accept", "fraud", "--reason", "the campaign stays")
    assert done.startswith(f"fraud v1: 14 windows, {day(SHIFT)} 00:00 to {day(SHIFT + 14)} 00:00 UTC, 2,800 rows are")
    listed = holdfast.well("baseline", "list", "fraud").splitlines()
    assert [line.endswith("active") for line in listed] == [True, False]
    over = holdfast("check", "fraud")
    assert (over.code, "A new baseline was accepted since" in over.out) == (0, True)
    assert "accepted as the new baseline by command line" in holdfast.well("alert", "list")


def test_a_calendar_is_kept_from_the_command_line(holdfast: Commands, engine: Engine, tmp_path: Path):
    register(engine, WORLD, served=False)
    assert "holdfast calendar add" in holdfast("calendar", "list").err
    added = holdfast.well("calendar", "add", "Launch", day(SHIFT), day(SHIFT + 1), "--model", "fraud", "--yearly")
    assert added.endswith(f"{day(SHIFT)} 00:00 to {day(SHIFT + 2)} 00:00 UTC, every year, of fraud\n")
    (tmp_path / "holidays.csv").write_text("name,start,end\nMay Day,2026-05-01,\nWrong,someday,\n")
    imported = holdfast("calendar", "import", tmp_path / "holidays.csv")
    assert (imported.code, imported.out) == (0, "1 events are new, 0 were known, 1 were left out\n")
    assert "left out: holidays.csv, line 3: expected a day or time" in imported.err
    assert len(holdfast.well("calendar", "list", "--model", "fraud").splitlines()) == 2
    serve(engine, REFERENCE_DAYS, SHIFT + 1)
    answer = holdfast("check", "fraud", "--explain")
    assert (answer.code, "Not judged (skipped): Launch was expected" in answer.out) == (0, True)
    number = added.split()[0].removeprefix("#")
    assert "Launch from" in holdfast.well("calendar", "remove", number)
    assert f"no event {number}" in holdfast("calendar", "remove", number).err


def test_a_segment_is_watched_and_explained_from_the_command_line(holdfast: Commands, engine: Engine):
    world = World(shift=(SHIFT, 1.0), rows=dict.fromkeys(range(SHIFT + 1), 300))
    register(engine, world)
    added = holdfast.well("segment", "add", "fraud", "channel=app", "--feature", "amount:weight=0")
    assert added == "fraud: channel=app has a drift stream of its own; 2 streams share the false-alarm budget\n"
    assert "amount: muted" in holdfast.well("segment", "list", "fraud")
    serve_days(engine, world, REFERENCE_DAYS, SHIFT + 1, labels=False)
    answer = holdfast("check", "fraud")
    assert (answer.code, "segment channel=app: " in answer.out) == (1, True)
    within = holdfast("check", "fraud", "--segment", "channel=app", "--explain")
    assert (within.code, "Muted by the owner (shown, never alarms): amount." in within.out) == (0, True)
    assert "got 'channel=fax'" in holdfast("check", "fraud", "--segment", "channel=fax").err
    assert "not watched by itself" in holdfast.well("segment", "remove", "fraud", "channel=app")
    assert "has no segment" in holdfast("segment", "list", "fraud").err


def test_setting_the_detector_tells_what_it_would_have_said_of_the_reference(holdfast: Commands, engine: Engine):
    register(engine, WORLD, served=False)
    told = holdfast.well("model", "set", "fraud", "--feature", "score:weight=0").splitlines()
    assert told[1] == "fraud: score: muted: shown, never alarms"
    assert told[2].startswith("fraud: these settings would have raised 0 alerts in the 28 days of the reference")


def test_the_detector_is_set_and_shown_from_the_command_line(holdfast: Commands, engine: Engine):
    register(engine, WORLD, reference=False, served=False)
    told = holdfast.well(
        "model", "set", "fraud", "--sensitivity", "quiet", "--incidents", 2, "--per-days", 180,
        "--feature", "amount:weight=0", "--feature", "age:tolerance=.1,weight=2",
    )  # fmt: skip
    assert told.splitlines() == [
        "fraud: at most 2 false incidents in 180 days, sensitivity quiet",
        "fraud: age: weight 2, a change within 0.1σ is tolerated",
        "fraud: amount: muted: shown, never alarms",
    ]
    assert holdfast.well("model", "set", "fraud") == told
    assert "long stress tests every 7 days from 3:00 UTC" in holdfast.well("model", "set", "fraud", "--nights", "3/7")
    assert "no long stress tests at night" in holdfast.well("model", "set", "fraud", "--nights", "off")
    assert "amount" not in holdfast.well("model", "set", "fraud", "--feature", "amount:default")
    for wrong, sentence in {
        "amount": "expected FEATURE:tolerance=.1,weight=0",
        "amount:weight=x": "expected a number as in amount:weight=0, got 'weight=x'",
        "amount:colour=1": "expected tolerance=… or weight=…",
        "amount:weight=-1": "expected a weight from 0",
        "amont:weight=0": "got amont",
    }.items():
        answer = holdfast("model", "set", "fraud", "--feature", wrong)
        assert (answer.code, sentence in answer.err) == (2, True), answer.err
