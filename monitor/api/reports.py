"""Rendered reports, served so that what they contain cannot act in the reader's name."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from monitor.api.sessions import actor_of
from monitor.db.checks import Report
from monitor.db.engine import transaction
from monitor.db.registry import Model
from monitor.errors import NotAllowed

SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts", "X-Content-Type-Options": "nosniff"}


def report(engine: Engine, artifact_dir: Path) -> Callable[[Request], Response]:
    """The HTML of a report for a signed-in person, in an origin of its own: scripts run, cookies are out of reach."""

    def serve(request: Request) -> Response:
        from monitor.artifacts.store import Store  # its room brings torch along, which no other page needs

        try:
            actor = actor_of(request, engine)
        except NotAllowed as error:
            return PlainTextResponse(f"{error}\n", status_code=401)
        if actor is None:
            return PlainTextResponse("Sign in first: `holdfast link` prints a link.\n", status_code=401)
        asked = request.path_params["report_id"]
        with transaction(engine) as session:
            row = session.get(Report, int(asked)) if asked.isdecimal() and len(asked) < 10 else None
            foreign = row is not None and actor.model not in (None, session.get_one(Model, row.model_id).name)
        if row is None or row.html_sha256 is None or foreign:
            return PlainTextResponse("There is no report of this number.\n", status_code=404)
        return FileResponse(Store(artifact_dir).path(row.html_sha256), media_type="text/html", headers=SANDBOX)

    return serve
