"""Messages are sent once each, tried again when that can help, and given up when it cannot."""

import http.server
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from monitor.alerts import Message, Severity
from monitor.db.alerts import Outbox, Route, queue_messages
from monitor.db.engine import transaction
from monitor.jobs.deliver import send_due
from tests.streams import rows_of, tools_for


class _Hook(http.server.BaseHTTPRequestHandler):
    """A webhook that answers as it is told."""

    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def hook() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def _owe(engine: Engine, url: str) -> None:
    message = Message(title="fraud: harmful drift", severity=Severity.PAGE).to_document()
    with transaction(engine) as session:
        session.add(Route(name="hook", url=url))
        session.flush()
        queue_messages(session, event="fired", message=message, severity="page", model_id=None, key="one")


def _owed(engine: Engine) -> Outbox:
    (owed,) = rows_of(engine, Outbox)
    return owed


def test_a_message_is_sent_once(engine: Engine, tmp_path: Path, hook: str):
    _Hook.status = 200
    _owe(engine, hook)
    assert len(send_due(tools_for(engine, tmp_path))) == 1
    assert send_due(tools_for(engine, tmp_path)) == []
    assert _owed(engine).state == "sent"


def test_a_server_in_trouble_is_tried_again_later(engine: Engine, tmp_path: Path, hook: str):
    _Hook.status = 503
    _owe(engine, hook)
    send_due(tools_for(engine, tmp_path))
    owed = _owed(engine)
    assert (owed.state, owed.attempts) == ("queued", 1)
    assert owed.run_at > owed.created_at


def test_a_refusal_is_a_dead_letter(engine: Engine, tmp_path: Path, hook: str):
    _Hook.status = 404
    _owe(engine, hook)
    send_due(tools_for(engine, tmp_path))
    assert (_owed(engine).state, "HTTP 404" in str(_owed(engine).last_error)) == ("dead", True)


def test_after_three_days_nobody_tries_any_more(engine: Engine, tmp_path: Path, hook: str):
    _Hook.status = 503
    _owe(engine, hook)
    with transaction(engine) as session:
        session.execute(update(Outbox).values(created_at=Outbox.created_at - timedelta(hours=73)))
    send_due(tools_for(engine, tmp_path))
    assert _owed(engine).state == "dead"
