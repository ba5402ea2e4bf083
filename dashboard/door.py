"""The one door: dashboard, API, sign-in and reports of a Holdfast installation as one ASGI application."""

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import streamlit as st
from sqlalchemy import Engine
from starlette.datastructures import QueryParams
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

from dashboard import pages, place
from monitor.api.app import api
from monitor.api.probes import healthz, metrics, readyz
from monitor.api.reports import report
from monitor.api.sessions import set_session
from monitor.api.storing import InProcesses, Storing
from monitor.db.engine import transaction
from monitor.db.users import redeem_link
from monitor.errors import HoldfastError
from monitor.settings import Settings

SCRIPT = Path(__file__).with_name("app.py")
VIEW_PATHS = frozenset(f"/{view.stem}" for view in SCRIPT.with_name("views").glob("[!_]*.py"))
ASKED = "holdfast_asked"  # the view that was last loaded, so that a sign-in leads there
ASKED_SECONDS = 900
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),  # a sign-in link must not travel on in a Referer
    (b"x-frame-options", b"SAMEORIGIN"),
)
HEADINGS = ["1.9rem", "1.35rem", "1.15rem", "1rem", "0.95rem", "0.9rem"]
CONFIG: dict[str, Any] = {
    "browser.gatherUsageStats": False,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    **{
        f"theme.{scheme}.{option}": value  # named for both, or Streamlit would not follow the viewer's choice
        for scheme, primary in (("light", "#0072B2"), ("dark", "#1A7FC1"))
        for option, value in {"primaryColor": primary, "baseRadius": "small", "headingFontSizes": HEADINGS}.items()
    },
}


def app() -> ASGIApp:
    """For `uvicorn dashboard.door:app --factory`: the installation that the environment names."""
    return build(place.Place.from_settings(Settings.load()))


def build(where: place.Place) -> ASGIApp:
    """The application on one database and one artefact store."""
    place.use(where)
    for option, value in CONFIG.items():
        config.set_option(option, value)
    storing = InProcesses(where.database_url, where.intake_processes)
    served = routes(place.engine(), where.artifact_dir, storing=storing)
    return st.App(SCRIPT, routes=served, middleware=[Middleware(AtTheDoor)])


def routes(engine: Engine, artifact_dir: Path, *, storing: Storing | None = None) -> list[BaseRoute]:
    """Declared before Streamlit's catch-all, which answers 200 to everything that it does not know."""

    def sign_in(request: Request) -> Response:
        return _sign_in(request, engine)

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz(engine)),
        Route("/metrics", metrics(engine)),
        Route("/sign-in", sign_in),
        Route("/reports/{report_id}", report(engine, artifact_dir)),
        Mount("/v1", api(engine, artifact_dir, storing=storing)),
    ]


def _sign_in(request: Request, engine: Engine) -> Response:
    """Turn a one-time link into a session; a used or unknown link leads nowhere."""
    once = request.query_params.get("once", "")
    if not once:
        return RedirectResponse("/", status_code=303)
    try:
        with transaction(engine) as session:
            token = redeem_link(session, once)
    except HoldfastError as error:
        return HTMLResponse(pages.link_refused(str(error)), status_code=403)
    response = RedirectResponse(_asked(request), status_code=303)
    response.delete_cookie(ASKED)
    set_session(response, token, secure=request.url.scheme == "https")
    return response


def _asked(request: Request) -> str:
    """The view that was asked for before the sign-in, Overview without one; never a place outside."""
    asked = urlsplit(unquote(request.cookies.get(ASKED, "")))
    return f"{asked.path}?{asked.query}" if asked.path in VIEW_PATHS and not asked.netloc else "/"


def _remembering(scope: Scope) -> bytes:
    """The cookie that names the view of this request for a while."""
    asked = quote(f"{scope['path']}?{scope['query_string'].decode('latin-1')}")
    return f"{ASKED}={asked}; Path=/; Max-Age={ASKED_SECONDS}; HttpOnly; SameSite=lax".encode("latin-1")


class AtTheDoor:
    """Sends `/?once=TOKEN` to the sign-in, remembers a view's address for it, and sets the safety headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        once = QueryParams(scope["query_string"]).get("once")
        if scope["path"] == "/" and once:
            await RedirectResponse(f"/sign-in?{urlencode({'once': once})}", status_code=303)(scope, receive, send)
            return

        remember = [(b"set-cookie", _remembering(scope))] if scope["path"] in VIEW_PATHS else []

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS, *remember]
            await send(message)

        await self.app(scope, receive, send_with_headers)
