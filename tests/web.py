"""Real HTTP servers on loopback: the API of an installation, and a receiver that remembers what it was sent."""

import gzip
import http.server
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.routing import Mount

from monitor.api.admission import Admission
from monitor.api.app import api
from monitor.api.storing import Storing


@contextmanager
def served(
    engine: Engine, artifact_dir: Path, *, admission: Admission | None = None, storing: Storing | None = None,
    port: int = 0,
) -> Iterator[str]:  # fmt: skip
    """The API over `engine`; its address without /v1."""
    app = Starlette(routes=[Mount("/v1", api(engine, artifact_dir, admission=admission, storing=storing))])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


@dataclass
class Receiver:
    """What came, each as (headers with lower-case names, body), and how to answer from now on."""

    url: str = ""
    status: int = 202
    location: str = ""
    body: bytes = b""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    before_answering: Callable[[], object] = lambda: None

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.got]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Of packed lines."""
        return [json.loads(line) for _, body in self.got for line in gzip.decompress(body).splitlines()]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A web service that takes whatever is posted to it."""
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.before_answering()
            self.send_response(receiver.status)
            if receiver.location:
                self.send_header("Location", receiver.location)
            self.send_header("Content-Length", str(len(receiver.body)))
            self.end_headers()
            self.wfile.write(receiver.body)

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook/s3cr3t-path"
    yield receiver
    server.shutdown()
    server.server_close()


def call(
    url: str, *, token: str = "", body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """One request as any program makes it; status, body and headers (lower-case names) of the answer."""
    asked = urllib.request.Request(url, data=body, headers=headers or {})
    if token:
        asked.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), {name.lower(): value for name, value in error.headers.items()}


def call_json(url: str, document: object, *, token: str = "") -> tuple[int, dict[str, Any]]:
    status, body, _ = call(
        url, token=token, body=json.dumps(document).encode(), headers={"Content-Type": "application/json"}
    )
    return status, json.loads(body)


def upload(url: str, name: str, data: bytes, *, token: str, facts: object = None) -> tuple[int, dict[str, Any]]:
    """A form with the file `artefact` and the field `facts`, as curl -F sends it."""
    edge = "holdfast-test-edge"
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="artefact"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
    ]
    if facts is not None:
        parts.append(
            f'--{edge}\r\nContent-Disposition: form-data; name="facts"\r\n\r\n{json.dumps(facts)}\r\n'.encode()
        )
    body = b"".join([*parts, f"--{edge}--\r\n".encode()])
    status, answer, _ = call(
        url, token=token, body=body, headers={"Content-Type": f"multipart/form-data; boundary={edge}"}
    )
    return status, json.loads(answer)
