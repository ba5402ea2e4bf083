"""Routes for producers that count their own rows: how to, and what they counted."""

import json
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Engine
from starlette.responses import Response

from monitor.api import intake_examples as examples
from monitor.api.admission import Admission, Busy, TooOften
from monitor.api.ingest import Name, receive, sender
from monitor.api.problems import problem
from monitor.api.storing import Accepted, database
from monitor.db.engine import transaction
from monitor.errors import Unavailable
from monitor.intake.counts_body import read_counts
from monitor.intake.formats import LINES
from monitor.intake.plan import IntakePlan
from monitor.intake.take_counts import read_plan, take_counts

routes = APIRouter(prefix="/models/{name}", tags=["intake"])


@routes.get("/intake", responses=examples.PLAN)
async def read_intake(name: Name, request: Request) -> Response:
    """How rows are counted and chosen: schema, bins, ticks, sampling. 304 while `If-None-Match` names its `ETag`."""
    admission: Admission = request.app.state.admission
    engine: Engine = request.app.state.engine
    try:
        with admission.room_for(0):
            actor = await admission.ask(lambda: sender(request, engine, name))
            admission.count(actor.id)
            plan = await admission.ask(lambda: _plan(engine, name))
    except Busy as error:
        return problem(429 if isinstance(error, TooOften) else 503, str(error), retry_after=error.retry_after)
    except Unavailable as error:
        return problem(503, str(error), retry_after=1)
    tag = {"ETag": f'"{"-".join([plan.stamp, *(f"{start.timestamp():.0f}" for start in plan.usual)])}"'}
    if request.headers.get("if-none-match") == tag["ETag"]:
        return Response(status_code=304, headers=tag)
    return Response(await admission.ask(lambda: _text(plan)), media_type="application/json", headers=tag)


@routes.post("/profiles", response_model=Accepted, openapi_extra=examples.PROFILES, responses=examples.COUNT_REFUSALS)
async def send_profiles(name: Name, request: Request) -> Response:
    """Send a batch as counts of all its rows and a sample of them, as `TraceLogger(profiles=True)` does.

    Lines of JSON: the head, as many rows as its `sample` says, and rows that are to go to quarantine (positions in the
    answer are theirs). All of it is stored or nothing. A problem of type `urn:holdfast:stale-plan` asks to read
    `…/intake` anew and to count again; one of type `urn:holdfast:rows-wanted`, or whatever is wrong with the counts, to
    send the rows to `…/traces`.
    """
    return await receive(request, name, read_counts, take_counts, (LINES,))


def _plan(engine: Engine, name: str) -> IntakePlan:
    with database(), transaction(engine) as session:
        return read_plan(session, name)


def _text(plan: IntakePlan) -> str:

    document: dict[str, Any] = plan.to_document()
    return json.dumps(document)
