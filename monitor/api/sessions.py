"""Who sent an HTTP request: a person by the session cookie that the sign-in route set, or a program by its token."""

from datetime import timedelta
from urllib.parse import urlsplit

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from monitor.db.engine import transaction
from monitor.db.tokens import token_actor
from monitor.db.users import actor_for
from monitor.errors import NotAllowed
from monitor.governance.roles import Actor

COOKIE = "holdfast_session"
LIFETIME = timedelta(hours=8)
_SAFE = ("GET", "HEAD", "OPTIONS")


class NotSignedIn(NotAllowed):
    """The request names no live session and no live token."""


def actor_of(request: Request, engine: Engine) -> Actor | None:
    """Who sent the request; None without a live session. A token is taken alone: a cookie beside it does not count.

    Raises:
        NotSignedIn: it carries a token that is unknown, revoked or expired.
        NotAllowed: another origin's page tries to act with this person's cookie (cookies ignore ports, origins do not).
    """
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return _program(authorization, engine)
    cookie = request.cookies.get(COOKIE)
    if not cookie:
        return None
    origin = request.headers.get("origin")
    if request.method not in _SAFE and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise NotAllowed(f"expected a request from this dashboard, got one from {origin}")
    with transaction(engine) as session:
        return actor_for(session, cookie)


def _program(authorization: str, engine: Engine) -> Actor:
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise NotSignedIn("expected `Authorization: Bearer TOKEN`: `holdfast token create` makes one")
    with transaction(engine) as session:
        actor = token_actor(session, secret.strip())
    if actor is None:
        raise NotSignedIn("this token is unknown, was revoked, or has expired: `holdfast token create` makes another")
    return actor


def set_session(response: Response, token: str, *, secure: bool) -> None:
    """Hand the browser its session: out of scripts' reach, and not sent along by other sites' forms."""
    response.set_cookie(
        COOKIE, token, max_age=int(LIFETIME.total_seconds()), httponly=True, samesite="lax", secure=secure, path="/"
    )  # fmt: skip
