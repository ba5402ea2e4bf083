"""Traces and labels over HTTP: read within limits, stored in one transaction, acknowledged after COMMIT.

A request may be sent again at any time: a row that is known counts as a duplicate. Refusals are problem documents
(RFC 9457); what is told to come again carries Retry-After, and nothing of it was stored.

401  no token, or one that is unknown, revoked or expired; 403 it may not send to this model; 404 no such model
408  the body did not come in time; 413 too large, or too many rows; 415 a type or packing that is not read
422  no row of it could be good; 429 too many requests from one caller
503  no room now, or the database does not answer; 507 the database's disk is full
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from sqlalchemy import Engine
from starlette.requests import ClientDisconnect

from monitor.api import intake_examples as examples
from monitor.api.admission import Admission, Busy, TooOften
from monitor.api.asking import NotSignedIn
from monitor.api.problems import problem
from monitor.api.sessions import actor_of
from monitor.api.storing import Accepted, DiskFull, Read, Sent, Storing, Take, database
from monitor.db.engine import transaction
from monitor.db.registry import model_named
from monitor.errors import NotAllowed, TooLarge, Unavailable
from monitor.governance.roles import Action, Actor, authorize
from monitor.intake.formats import ENCODINGS, MOST_BYTES, TYPES, read
from monitor.intake.receive import take_request_labels, take_traces

routes = APIRouter(prefix="/models/{name}", tags=["intake"])
BODY_SECONDS = 30.0  # a body takes longer only from a caller that holds the room on purpose
Name = Annotated[str, Path(description="the model's name")]


class UnknownType(NotAllowed):
    """The body is of a type, or packed in a way, that is not read."""


@routes.post("/traces", response_model=Accepted, openapi_extra=examples.TRACES, responses=examples.REFUSALS)
async def send_traces(name: Name, request: Request) -> Response:
    """Send traces: an object a row, with `trace_id`, `event_time`, features, and `version`, `score`, `prediction`."""
    return await receive(request, name, read, take_traces)


@routes.post("/labels", response_model=Accepted, openapi_extra=examples.LABELS, responses=examples.REFUSALS)
async def send_labels(name: Name, request: Request) -> Response:
    """Send labels: one object a row with `trace_id`, `label`, and perhaps `label_time`; a changed one is a revision."""
    return await receive(request, name, read, take_request_labels)


async def receive(
    request: Request, name: str, read: Read, take: Take, kinds: Collection[str] = tuple(TYPES.values())
) -> Response:
    """Store a body of one of these types that is read so, within the bounds of intake."""
    admission: Admission = request.app.state.admission
    engine: Engine = request.app.state.engine
    storing: Storing = request.app.state.storing
    try:
        with admission.room_for(_declared(request.headers)):
            actor = await admission.ask(lambda: sender(request, engine, name))
            admission.count(actor.id)
            kind, encoding = _type_of(request.headers, kinds), _encoding_of(request.headers)
            async with asyncio.timeout(BODY_SECONDS):
                body = await _body(request)
            sent = Sent(model=name, body=body, kind=kind, encoding=encoding, read=read, take=take)
            answer = await storing.store(sent)
    except Busy as error:
        return problem(429 if isinstance(error, TooOften) else 503, str(error), retry_after=error.retry_after)
    except TooLarge as error:
        return problem(413, str(error))
    except UnknownType as error:
        return problem(415, str(error))
    except TimeoutError:
        return problem(408, f"expected the whole body within {BODY_SECONDS:g} seconds: send less at once")
    except ClientDisconnect:
        return Response(status_code=400)  # nobody is there to read it
    except Unavailable as error:
        return problem(503, str(error), retry_after=1)
    except DiskFull as error:
        return problem(507, str(error), retry_after=60)
    return Response(answer, media_type="application/json")


def _type_of(headers: Mapping[str, str], kinds: Collection[str]) -> str:
    told = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if TYPES.get(told) not in kinds:
        raise UnknownType(f"expected Content-Type {', '.join(sorted(set(kinds)))}, got {told[:80]!r}")
    return TYPES[told]


def _encoding_of(headers: Mapping[str, str]) -> str:
    told = headers.get("content-encoding", "identity").strip().lower()
    if told not in ENCODINGS:
        raise UnknownType(f"expected Content-Encoding {', '.join(ENCODINGS)}, got {told[:80]!r}")
    return told


def _declared(headers: Mapping[str, str]) -> int:
    """The bytes that will come; those of a body that does not say are reckoned as the most there may be."""
    told = headers.get("content-length", "")
    size = int(told) if told.isdecimal() and len(told) < 19 else MOST_BYTES
    if size > MOST_BYTES:
        raise TooLarge(f"expected a body of at most {MOST_BYTES:,} bytes, got {size:,}: send it in several requests")
    return size


async def _body(request: Request) -> bytes:
    read_so_far = bytearray()
    async for chunk in request.stream():
        read_so_far += chunk
        if len(read_so_far) > MOST_BYTES:
            raise TooLarge(f"expected a body of at most {MOST_BYTES:,} bytes: send it in several requests")
    return bytes(read_so_far)


def sender(request: Request, engine: Engine, name: str) -> Actor:
    """Who sends; refused before a byte of the body is read.

    Raises:
        NotSignedIn: no token, or one that does not hold.
        NotAllowed: it may not send traces, or is for another model alone.
        NotFound: there is no such model.
    """
    with database():
        actor = actor_of(request, engine)
        if actor is None:
            raise NotSignedIn("expected `Authorization: Bearer TOKEN`: `holdfast token create NAME producer` makes one")
        authorize(actor, Action.SEND_TRACES)
        if actor.model not in (None, name):
            raise NotAllowed(f"{actor.name} is for model {actor.model} alone: expected a route of that model")
        with transaction(engine) as session:
            model_named(session, name)
    return actor
