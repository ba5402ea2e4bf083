"""Every channel delivers the same message, and a failure says whether another try can help."""

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from monitor.alerts.message import Message
from monitor.alerts.rules import Severity
from monitor.notify.channels import check_url, send

MESSAGE = Message(
    title="fraud: pipeline break, not drift",
    severity=Severity.PAGE,
    lines=("amount ×100 on channel=app (38 % of rows)",),
    do="call payments-data.",
    dont="retrain.",
)


@contextmanager
def _server(status: int) -> Iterator[tuple[int, list[bytes]]]:
    received: list[bytes] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _to_webhook(tmp_path: Path) -> str:
    with _server(200) as (port, received):
        assert send(f"json://127.0.0.1:{port}/", MESSAGE, timeout=2).ok
    document = json.loads(received[0])
    return f"{document['title']}\n{document['message']}"


def _to_console(tmp_path: Path) -> str:
    stream = io.StringIO()
    assert send("console:", MESSAGE, console=stream).ok
    return stream.getvalue().rstrip()


def _to_file(tmp_path: Path) -> str:
    path = tmp_path / "my alerts.jsonl"
    assert send(path.as_uri(), MESSAGE).ok
    return str(json.loads(path.read_text().splitlines()[-1])["text"])


@pytest.mark.parametrize("channel", [_to_webhook, _to_console, _to_file])
def test_every_channel_delivers_the_whole_message(channel, tmp_path):
    assert channel(tmp_path) == MESSAGE.as_text()


@pytest.mark.parametrize(
    ("status", "permanent"), [(500, False), (503, False), (429, False), (404, True), (410, True), (401, True)]
)
def test_a_refusal_by_status_is_permanent_only_where_another_try_cannot_help(status, permanent):
    with _server(status) as (port, _):
        delivery = send(f"json://127.0.0.1:{port}/", MESSAGE, timeout=2)
    assert (delivery.ok, delivery.permanent) == (False, permanent)
    assert str(status) in delivery.detail


def test_a_refused_connection_is_worth_another_try():
    delivery = send(f"json://127.0.0.1:{_free_port()}/", MESSAGE, timeout=1)
    assert (delivery.ok, delivery.permanent) == (False, False)


def test_a_silent_server_is_given_up_after_the_timeout():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        delivery = send(f"json://127.0.0.1:{silent.getsockname()[1]}/", MESSAGE, timeout=0.3)
    assert (delivery.ok, delivery.permanent) == (False, False)


def test_a_url_that_no_service_understands_is_permanent_and_named_without_its_secret():
    delivery = send("slack://only-a-secret", MESSAGE)
    assert (delivery.ok, delivery.permanent) == (False, True)
    assert "secret" not in delivery.detail


def test_a_file_in_a_folder_that_is_not_there_is_permanent(tmp_path):
    delivery = send(f"file://{tmp_path}/nowhere/alerts.jsonl", MESSAGE)
    assert (delivery.ok, delivery.permanent) == (False, True)


def test_no_detail_or_log_line_shows_the_secrets_of_a_url(caplog):
    with _server(500) as (port, _):
        delivery = send(f"json://ann:hunter2@127.0.0.1:{port}/t0ken?+X-Key=k3y", MESSAGE, timeout=2)
    shown = f"{delivery.detail}{caplog.text}"
    assert not [secret for secret in ("hunter2", "t0ken", "k3y") if secret in shown]


def test_urls_are_checked_before_they_are_kept():
    assert check_url("console:") is None
    assert check_url("file:///var/log/alerts.jsonl") is None
    assert check_url("json://127.0.0.1/") is None
    assert "absolute" in check_url("file:alerts.jsonl")
    assert "no apprise URL" in check_url("nonsense")
