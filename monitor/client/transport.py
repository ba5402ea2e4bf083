"""One kept connection to the server, from the standard library."""

import http.client
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

_IDLE_SECONDS = 3.0  # servers close idle connections after five or more
_MOST_ANSWER = 2**25


class Unreachable(Exception):
    """No answer came: nobody knows whether the rows were stored, and sending them again is harmless."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Transport(Protocol):
    """How a body gets to the server. Used from one thread at a time."""

    def send(self, path: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        """Post a body.

        Raises:
            Unreachable: no whole answer came.
        """

    def fetch(self, path: str, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        """Get what is there; asked only where rows are counted or checked. It raises as `send` does."""

    def close(self) -> None: ...


class Http:
    """A connection that is kept while it is used."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"expected an address such as http://127.0.0.1:8501, got {url!r}: set HOLDFAST_URL")
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/").removesuffix("/v1")
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def send(self, path: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return self._answer("POST", path, body, headers, timeout_seconds)

    def fetch(self, path: str, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return self._answer("GET", path, None, headers, timeout_seconds)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _answer(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_seconds: float
    ) -> Answer:
        kept = self._connection is not None and time.monotonic() - self._used < _IDLE_SECONDS
        if not kept:
            self.close()
        try:
            return self._ask(method, path, body, headers, timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not kept or isinstance(error, TimeoutError):
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:  # the server had closed the kept connection
            return self._ask(method, path, body, headers, timeout_seconds)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_seconds: float
    ) -> Answer:
        connection = self._connection = self._connection or self._connect(timeout_seconds)
        if connection.sock is not None:
            connection.sock.settimeout(timeout_seconds)
        with suppress(BrokenPipeError, ConnectionResetError):  # who is refused early finds the answer waiting
            connection.request(method, self._base + path, body, dict(headers))
        response = connection.getresponse()
        told = response.read(_MOST_ANSWER)
        if response.will_close or not response.isclosed():
            self.close()
        self._used = time.monotonic()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=found, body=told)

    def _connect(self, timeout_seconds: float) -> http.client.HTTPConnection:
        make = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return make(self._host, self._port, timeout=timeout_seconds)
