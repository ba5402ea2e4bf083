"""`holdfast drill`: the message goes the whole way to a real receiver, and nothing is left behind."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, select

from monitor.db.alerts import Alert, Outbox
from monitor.db.audit import entries
from monitor.db.base import Base
from monitor.db.engine import transaction
from monitor.db.retraining import Proposal
from tests.commands import FLAGS, Commands, log_of

DAYS = 16


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path / "home")


def _watch(holdfast: Commands, folder: Path, log: pd.DataFrame) -> None:
    log.to_parquet(folder / "log.parquet")
    holdfast.well("watch", folder / "log.parquet", "--model", "fraud", *FLAGS, "--once")


class Receiver(BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    received: list[dict[str, object]]

    def do_POST(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    Receiver.received = []
    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _rows(engine: Engine, table: type[Base]) -> list[Base]:
    with transaction(engine) as session:
        return list(session.scalars(select(table).order_by(table.id)))


def test_message_arrives_marked_drill_at_a_server_and_in_a_file(holdfast, receiver, tmp_path, engine):
    _watch(holdfast, tmp_path, log_of(0, DAYS))
    holdfast.well("route", "add", "hook", f"json://127.0.0.1:{receiver.server_port}/alerts")
    holdfast.well("route", "add", "file", (tmp_path / "messages").as_uri())
    said = holdfast.well("drill", "fraud")
    assert said.splitlines()[0].startswith("planted amount ×100 in a copy of the 100 rows until 20 Jan 2026")
    assert "found: amount ×100 (all rows)" in said
    assert said.splitlines()[-2:] == ["hook: delivered", "file: delivered"]
    [posted] = Receiver.received
    assert posted["title"] == "DRILL PAGE fraud: pipeline break, not drift"
    assert "This is a drill" in posted["message"]
    [line] = (tmp_path / "messages").read_text().splitlines()
    assert json.loads(line)["text"].startswith("DRILL PAGE fraud")


def test_drill_leaves_no_live_alert_no_proposal_and_the_log_as_it_was(holdfast, tmp_path, engine):
    _watch(holdfast, tmp_path, log_of(0, DAYS + 2))
    before = holdfast.well("watch", "--model", "fraud", "--once")
    holdfast.well("route", "add", "file", (tmp_path / "messages").as_uri())
    holdfast.well("drill", "fraud")
    holdfast.well("drill", "fraud")
    assert [(alert.drill, alert.state) for alert in _rows(engine, Alert)] == [(True, "resolved")] * 2
    assert _rows(engine, Proposal) == []
    assert holdfast.well("watch", "--model", "fraud", "--once") == before
    with transaction(engine) as session:
        assert [entry.action for entry in entries(session)].count("model.drilled") == 2


def test_route_that_nobody_answers_is_named_and_the_command_fails(holdfast, tmp_path, free_port, engine):
    _watch(holdfast, tmp_path, log_of(0, DAYS))
    holdfast.well("route", "add", "hook", f"json://user:hunter2@127.0.0.1:{free_port}/alerts")
    holdfast.well("route", "add", "file", (tmp_path / "messages").as_uri())
    answer = holdfast("drill", "fraud")
    assert answer.code == 1
    assert f"hook: NOT delivered yet: json://127.0.0.1:{free_port}/*** could not be reached" in answer.out
    assert "file: delivered" in answer.out
    assert "hunter2" not in answer.out + answer.err
    assert [row.state for row in _rows(engine, Outbox)] == ["queued", "sent"]


def test_model_of_categories_alone_is_drilled_with_a_missing_feature(holdfast, tmp_path):
    _watch(holdfast, tmp_path, log_of(0, DAYS).drop(columns=["amount", "x", "age"]))
    holdfast.well("route", "add", "file", (tmp_path / "messages").as_uri())
    assert "planted channel missing" in holdfast.well("drill", "fraud")


def test_drill_without_a_route_without_a_model_and_while_learning_says_what_to_do(holdfast, tmp_path, engine):
    assert "no model 'fraud'" in holdfast("drill", "fraud").err
    _watch(holdfast, tmp_path, log_of(0, 12))
    assert "still learning what is normal" in holdfast("drill", "fraud").err
    log_of(0, DAYS).to_parquet(tmp_path / "log.parquet")
    holdfast.well("watch", "--model", "fraud", "--once")
    answer = holdfast("drill", "fraud")
    assert answer.code == 2
    assert "add one with holdfast route add NAME URL" in answer.err
    assert _rows(engine, Alert) == []
