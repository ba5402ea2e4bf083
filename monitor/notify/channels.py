"""One message to one channel: a payload (pure), one send, and a verdict whether a failure is worth another try.

A channel is any apprise URL (`slack://…`, `mailto://…`, `json://host/path`), `console:` or `file:///path`. Nothing
here retries or records; `jobs/deliver` does. URLs carry secrets, so no error or log line quotes one: `mask` says what
may be shown.
"""

import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

from apprise import Apprise, AppriseAsset, NotifyBase, NotifyFormat, NotifyType

from monitor.alerts.message import Message
from monitor.alerts.rules import Severity

# Worth another try although the server says that the request was at fault: too slow, too early, too often.
_TRANSIENT_4XX = frozenset({408, 425, 429})
_HOST_IS_PUBLIC = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
_STATUS = re.compile(r"error=(\d{3})")


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What is sent: `document` is the message with its event, for machines."""

    title: str
    body: str
    notify_type: NotifyType
    document: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What became of one send. `permanent`: another try cannot help; a person must mend the route."""

    ok: bool
    permanent: bool
    detail: str


def build(message: Message, event: str) -> Payload:
    """The payload of a message; `event` is what happened (fired, updated, resolved, proposed, …)."""
    return Payload(
        title=message.headline,
        body=message.body or message.headline,
        notify_type=_notify_type(message),
        document={"event": event, "text": message.as_text(), "message": message.to_document()},
    )


def send(
    url: str, message: Message, event: str = "fired", *, timeout: float = 10.0, console: TextIO | None = None
) -> Delivery:
    """Send once, waiting at most `timeout` seconds to connect and again for the answer. Never raises.

    `console` is the stream of `console:` routes, standard error by default.
    """
    payload = build(message, event)
    if url.startswith("console:"):
        return _to_console(payload, console or sys.stderr)
    if url.startswith("file:"):
        return _to_file(payload, Path(unquote(urlsplit(url).path)))
    return _by_apprise(payload, url, timeout)


def check_url(url: str) -> str | None:
    """What is wrong with a channel's URL, or None; nothing is sent."""
    if url.startswith("console:"):
        return None
    if url.startswith("file:"):
        whole = urlsplit(url).netloc in ("", "localhost") and urlsplit(url).path.startswith("/")
        return None if whole else "expected file:///an/absolute/path"
    if _service(url) is None:
        return f"{mask(url)} is no apprise URL: see https://appriseit.com/services for the form of each service"
    return None


def mask(url: str) -> str:
    """The URL with all that may be secret left out.

    >>> mask("slack://T0/B0/secret/#ops"), mask("json://user:pw@hooks.example:8080/token"), mask("console:")
    ('slack://***', 'json://hooks.example:8080/***', 'console:')
    """
    scheme = url.split(":", 1)[0].lower()
    if scheme in {"console", "file"}:
        return url
    if scheme not in _HOST_IS_PUBLIC:
        return f"{scheme}://***" if "://" in url else "***"
    return f"{scheme}://{urlsplit(url).netloc.rsplit('@', 1)[-1]}/***"


def _to_console(payload: Payload, stream: TextIO) -> Delivery:
    try:
        stream.write(f"{payload.document['text']}\n\n")
        stream.flush()
    except (OSError, ValueError) as error:
        return Delivery(ok=False, permanent=False, detail=f"the console cannot be written: {type(error).__name__}")
    return Delivery(ok=True, permanent=False, detail="written to the console")


def _to_file(payload: Payload, path: Path) -> Delivery:
    line = json.dumps(payload.document, ensure_ascii=False, allow_nan=False)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError)
        return Delivery(ok=False, permanent=gone, detail=f"{path} cannot be written: {error.strerror}")
    return Delivery(ok=True, permanent=False, detail=f"appended to {path}")


def _by_apprise(payload: Payload, url: str, timeout: float) -> Delivery:
    service = _service(url)
    if service is None:
        return Delivery(ok=False, permanent=True, detail=f"{mask(url)} is no apprise URL")
    service.socket_connect_timeout = service.socket_read_timeout = timeout
    channel = Apprise(asset=_asset())
    channel.add(service)
    with _overheard() as said:
        sent = channel.notify(
            title=payload.title, body=payload.body, notify_type=payload.notify_type, body_format=NotifyFormat.TEXT
        )
    if sent:
        return Delivery(ok=True, permanent=False, detail=f"accepted by {mask(url)}")
    return _failure(mask(url), "\n".join(said))


def _failure(shown: str, said: str) -> Delivery:
    status = _STATUS.search(said)
    if status is None:
        return Delivery(ok=False, permanent=False, detail=f"{shown} could not be reached")
    code = int(status[1])
    permanent = 400 <= code < 500 and code not in _TRANSIENT_4XX
    return Delivery(ok=False, permanent=permanent, detail=f"{shown} answered HTTP {code}")


class _Listener(logging.Handler):
    """Keeps what a logger says."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextmanager
def _overheard() -> Iterator[list[str]]:
    """What apprise says while it works, kept from the logs: it tells the status only there, and may quote the URL."""
    logger, listener = logging.getLogger("apprise"), _Listener()
    logger.addHandler(listener)
    logger.propagate = False
    try:
        with warnings.catch_warnings():  # apprise imports all its services at first use, some of them dated
            warnings.simplefilter("ignore", DeprecationWarning)
            yield listener.said
    finally:
        logger.removeHandler(listener)
        logger.propagate = True


def _service(url: str) -> NotifyBase | None:
    with _overheard():
        found = Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    return found if isinstance(found, NotifyBase) else None


def _asset() -> AppriseAsset:
    return AppriseAsset(app_id="Holdfast", app_desc="Holdfast", app_url="", async_mode=False)


def _notify_type(message: Message) -> NotifyType:
    if message.resolved:
        return NotifyType.SUCCESS
    return {Severity.PAGE: NotifyType.FAILURE, Severity.TICKET: NotifyType.WARNING}.get(
        message.severity, NotifyType.INFO
    )
