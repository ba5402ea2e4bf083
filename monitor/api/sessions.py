"""The signed-in person of an HTTP request, by the session cookie that the sign-in route set."""

from datetime import timedelta
from urllib.parse import urlsplit

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from monitor.db.engine import transaction
from monitor.db.users import actor_for
from monitor.errors import NotAllowed
from monitor.governance.roles import Actor

COOKIE = "holdfast_session"
LIFETIME = timedelta(hours=8)
_SAFE = ("GET", "HEAD", "OPTIONS")


def actor_of(request: Request, engine: Engine) -> Actor | None:
    """Who sent the request; None without a live session.

    Raises:
        NotAllowed: another origin's page tries to act with this person's cookie (cookies ignore ports, origins do not).
    """
    token = request.cookies.get(COOKIE)
    if not token:
        return None
    origin = request.headers.get("origin")
    if request.method not in _SAFE and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise NotAllowed(f"expected a request from this dashboard, got one from {origin}")
    with transaction(engine) as session:
        return actor_for(session, token)


def set_session(response: Response, token: str, *, secure: bool) -> None:
    """Hand the browser its session: out of scripts' reach, and not sent along by other sites' forms."""
    response.set_cookie(
        COOKIE, token, max_age=int(LIFETIME.total_seconds()), httponly=True, samesite="lax", secure=secure, path="/"
    )  # fmt: skip
