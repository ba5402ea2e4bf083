"""One signed event to one web address: CloudEvents 1.0 as JSON, signed as Standard Webhooks are.

The receiver knows a repeated event by its id, and that it was not altered by `webhook-signature`: `v1,` and the base64
of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>` under the shared secret. Nothing here retries or records.
Sources: https://github.com/cloudevents/spec (1.0.2), https://www.standardwebhooks.com.
"""

import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from monitor.notify.addresses import host_of
from monitor.notify.channels import Delivery

_TRANSIENT_4XX = frozenset({408, 409, 425, 429})
_ANSWER_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened. The same `id` is the same event, however often it is sent."""

    id: str
    type: str
    source: str
    subject: str
    time: datetime
    data: Mapping[str, Any]

    def body(self) -> bytes:
        """The event as CloudEvents' JSON."""
        document = {
            "specversion": "1.0", "id": self.id, "type": self.type, "source": self.source, "subject": self.subject,
            "time": self.time.astimezone(UTC).isoformat(), "datacontenttype": "application/json",
            "data": dict(self.data),
        }  # fmt: skip
        return json.dumps(document, allow_nan=False, sort_keys=True).encode()


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """What `webhook-signature` says.

    >>> signature("s3cret", "msg_1", 1_700_000_000, b"{}")
    'v1,uNtIplUOMTIs6G1RRPpb6NsRUZZLxUiBZsZiXV3ycuM='
    """
    signed = b".".join([event_id.encode(), str(timestamp).encode(), body])
    return "v1," + base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    """The bytes of a secret; `whsec_` announces base64, as the libraries for these webhooks write them."""
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        return secret.encode()


def post(url: str, event: Event, *, secret: str, now: datetime, timeout: float = 10.0) -> Delivery:
    """Send once and wait at most `timeout` seconds for each part of the answer; redirects are not followed.

    Without a secret it is sent unsigned. Never raises; no sentence quotes more of the address than its host.
    """
    body, stamp = event.body(), int(now.timestamp())
    headers = {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "User-Agent": "holdfast",
        "Idempotency-Key": event.id,
        "webhook-id": event.id,
        "webhook-timestamp": str(stamp),
    }
    if secret:
        headers["webhook-signature"] = signature(secret, event.id, stamp, body)
    shown = host_of(url)
    try:
        with build_opener(_NoRedirect).open(Request(url, data=body, headers=headers), timeout=timeout) as answer:
            answer.read(_ANSWER_BYTES)
            return Delivery(ok=True, permanent=False, detail=f"{shown} answered HTTP {answer.status}")
    except HTTPError as error:
        error.close()
        return _refused(shown, error.code)
    except (URLError, OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "reason", error)
        return Delivery(ok=False, permanent=False, detail=f"{shown} could not be reached ({type(why).__name__})")


def _refused(shown: str, status: int) -> Delivery:
    if 300 <= status < 400:
        detail = f"{shown} answered HTTP {status}, a redirect: give the address that it leads to"
        return Delivery(ok=False, permanent=True, detail=detail)
    permanent = 400 <= status < 500 and status not in _TRANSIENT_4XX
    return Delivery(ok=False, permanent=permanent, detail=f"{shown} answered HTTP {status}")


class _NoRedirect(HTTPRedirectHandler):
    """A signed request goes where it was meant to go, and nowhere else."""

    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str) -> None:
        return None
