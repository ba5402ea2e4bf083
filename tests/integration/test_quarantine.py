"""Refused rows under review: by the acts, at the command line and on the page."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from dashboard import auth, place, queries
from monitor.acts.quarantine import discard, retake, waiting
from monitor.db.audit import entries
from monitor.db.engine import database_now, transaction
from monitor.db.quarantine import Quarantined
from monitor.db.read_quarantine import quarantine_groups
from monitor.db.registry import Model, model_named
from monitor.db.traces import read_traces
from monitor.errors import BadInput, NotAllowed
from monitor.governance import Actor, Role
from monitor.intake.formats import JSON, read
from monitor.intake.receive import take_request_labels, take_traces
from tests.commands import Commands
from tests.integration.test_intake import MARCH, add_model
from tests.integration.test_intake_http import ROWS
from tests.integration.test_views import said, view
from tests.unguarded import unguarded

OLGA = Actor(id="olga", name="olga", roles=frozenset({Role.OPERATOR}))
EVE = Actor(id="eve", name="eve", roles=frozenset({Role.VIEWER}))


def send(session: Session, *rows: dict[str, object]) -> None:
    take_traces(session, "fraud", read(orjson.dumps(list(rows)), JSON))


@pytest.fixture
def model(session: Session) -> Model:
    with unguarded(session):
        return add_model(session)


def renamed(row: dict[str, object]) -> dict[str, object]:
    return {("id" if name == "trace_id" else name): value for name, value in row.items()}


def test_rows_that_were_ahead_of_the_clock_can_be_taken_once_somebody_looked(session, model):
    later = (database_now(session) + timedelta(days=3)).isoformat()
    send(session, ROWS[0], ROWS[1] | {"event_time": later})
    found = retake(session, model, waiting(session, model), by=OLGA, now=database_now(session))
    assert (found.taken, found.refused) == (0, 1)
    assert found.sentence.startswith("0 rows were taken, 1 waits still: 1 × event_time: expected a time up to")
    found = retake(session, model, waiting(session, model), trust_time=True, by=OLGA, now=database_now(session))
    assert (found.taken, found.known, found.refused) == (1, 0, 0)
    assert session.scalars(select(Quarantined.decision)).all() == ["taken"]
    assert [entry.action for entry in entries(session)][-2:] == ["quarantine.retaken"] * 2


def test_fields_under_other_names_are_taken_under_their_right_ones(session, model):
    send(session, ROWS[0], renamed(ROWS[1]))
    send(session, ROWS[2] | {"event_time": "2036-01-01"}, ROWS[3] | {"event_time": "2037-02-03 10:00"})
    group, late = quarantine_groups(session, "fraud")[::-1]
    assert (late.reason, late.rows) == ("event_time: expected a time up to …", 2)
    assert group.reason == "trace_id: expected an id"
    found = retake(
        session, model, waiting(session, model, group=group.reason), rename={"id": "trace_id"}, by=OLGA,
        now=database_now(session),
    )  # fmt: skip
    assert found.sentence == "1 row was taken"
    assert read_traces(session, model, MARCH)["trace_id"].tolist() == ["t0", "t1"]


def test_a_row_that_came_another_way_meanwhile_is_known(session, model):
    send(session, ROWS[0], renamed(ROWS[1]))
    send(session, ROWS[1])
    found = retake(
        session, model, waiting(session, model), rename={"id": "trace_id"}, by=OLGA, now=database_now(session)
    )
    assert (found.taken, found.known) == (0, 1)


def test_refused_labels_are_tried_again_as_labels(session, model):
    send(session, ROWS[0])
    sent = [{"trace_id": "t0", "label": 1, "label_time": "2036-01-01T00:00:00Z"}, {"id": "t0", "label": 1}]
    take_request_labels(session, "fraud", read(orjson.dumps(sent), JSON))
    found = retake(
        session, model, waiting(session, model), rename={"id": "trace_id"}, by=OLGA, now=database_now(session)
    )
    assert (found.taken, found.refused) == (1, 1)
    assert read_traces(session, model, MARCH)["label"].tolist() == ["1"]


def test_what_is_discarded_needs_a_reason_and_stays_on_record(session, model):
    send(session, renamed(ROWS[0]) | {"trace_id": None}, ROWS[1])
    rows = waiting(session, model)
    with pytest.raises(BadInput, match="expected a reason"):
        discard(session, model, rows, reason=" ", by=OLGA, now=database_now(session))
    with pytest.raises(NotAllowed):
        discard(session, model, rows, reason="test rows", by=EVE, now=database_now(session))
    assert discard(session, model, rows, reason="test rows", by=OLGA, now=database_now(session)) == 1
    with pytest.raises(BadInput, match="there are none such"):
        waiting(session, model)
    assert session.scalars(select(Quarantined.decision)).all() == ["discarded"]
    assert list(entries(session))[-1].details["reason"] == "test rows"


def test_raw_text_that_is_no_row_waits_on_and_can_only_be_discarded(session, model):
    take_traces(session, "fraud", read(b"{broken\n" + orjson.dumps(ROWS[0]), "application/x-ndjson"))
    found = retake(session, model, waiting(session, model), by=OLGA, now=database_now(session))
    assert (found.taken, found.refused) == (0, 1)
    assert "not one" in quarantine_groups(session, "fraud")[0].reason


@pytest.fixture
def refused(engine: Engine) -> None:
    with transaction(engine) as session, unguarded(session):
        add_model(session)
    with transaction(engine) as session:
        send(session, ROWS[0], *(renamed(row) for row in ROWS[1:4]))


@pytest.mark.usefixtures("refused")
def test_the_command_line_lists_shows_renames_and_discards(database_url: str, tmp_path: Path):
    holdfast = Commands(url=database_url, home=tmp_path)
    assert "3  trace_id: expected an id" in holdfast.well("quarantine", "list", "fraud")
    assert '"id": "t3"' in holdfast.well("quarantine", "show", "fraud")
    assert "expected one of --reason TEXT" in holdfast("quarantine", "replay", "fraud").err
    assert "expected --rename OLD=NEW" in holdfast("quarantine", "remap", "fraud", "--all", "--rename", "id").err
    chosen = ("--id", 1, "--id", 2, "--rename", "id=trace_id")
    assert "2 rows were taken" in holdfast.well("quarantine", "remap", "fraud", *chosen)
    assert "1 row is discarded" in holdfast.well("quarantine", "discard", "fraud", "--all", "--why", "a test")
    assert "no row waits" in holdfast("quarantine", "list", "fraud").err


@pytest.fixture
def page(engine: Engine, refused: None, database_url: str, tmp_path: Path, monkeypatch) -> Iterator[AppTest]:
    place.use(place.Place(database_url=database_url, artifact_dir=tmp_path))
    monkeypatch.setattr(auth, "current_actor", lambda **_: OLGA)
    queries.forget()
    yield view("intake")
    place.engine().dispose()


def test_the_page_shows_refused_rows_and_takes_them_by_a_click(engine: Engine, page: AppTest):
    assert "3 wait in quarantine" in page.title[0].value
    page.text_input(key="rename").set_value("id=trace_id")
    next(button for button in page.button if button.label == "Rename and try again").click().run()
    assert "3 rows were taken" in said(page)
    with transaction(engine) as session:
        assert len(read_traces(session, model_named(session, "fraud"), MARCH)) == 4


def test_who_only_looks_has_no_button(page: AppTest, monkeypatch):
    monkeypatch.setattr(auth, "current_actor", lambda **_: EVE)
    assert [button.label for button in page.run().button] == ["Sign out"]
