"""What a trainer outside may fetch and send, by the token that it was handed: rows, progress, an artefact, a failure.

401  no token, or one that does not fit this training
409  late, answered already, or abandoned: nobody waits for it any more
411  an upload that does not say how long it is; 413 one that is too long
422  not what was expected, such as a file that can run code; the training is still awaited
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from monitor.acts import outside as acts
from monitor.api.bodies import Done
from monitor.db.engine import database_now, transaction
from monitor.db.retraining import OutsideTraining
from monitor.errors import BadInput, NotAllowed, NotFound

routes = APIRouter(prefix="/trainings")
_FORM_BYTES = 2**20  # what a form may hold beside the file


class NoToken(NotAllowed):
    """The request brings no token that fits."""


class ProgressIn(BaseModel):
    """How far the training is."""

    done: int = Field(ge=0, le=10**9)
    total: int = Field(ge=0, le=10**9)
    sentence: str = Field(default="", max_length=200)


class FailedIn(BaseModel):
    """Why there will be no artefact."""

    reason: str = Field(min_length=1, max_length=acts.LONGEST_REASON)


@routes.get("/{training_id}/rows", response_model=None)
def read_rows(training_id: int, request: Request) -> FileResponse:
    """The rows to learn from, as Parquet."""
    with _awaited(request, training_id) as (_, training):
        sha256 = training.document["given"]["rows_sha256"]
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-store"}
    return FileResponse(
        _store(request).path(sha256), media_type="application/vnd.apache.parquet", filename="rows.parquet",
        headers=headers,
    )  # fmt: skip


@routes.post("/{training_id}/progress")
def tell_progress(training_id: int, told: ProgressIn, request: Request) -> Done:
    """Show people how far it is."""
    with _awaited(request, training_id) as (session, training):
        acts.report_progress(
            session, training, done=told.done, total=told.total, sentence=told.sentence, now=database_now(session)
        )
    return Done(sentence="noted")


@routes.post("/{training_id}/failed")
def tell_failed(training_id: int, told: FailedIn, request: Request) -> Done:
    """There will be no artefact: the proposal ends with this reason."""
    with _awaited(request, training_id) as (session, training):
        acts.fail(session, training, reason=told.reason, now=database_now(session))
    return Done(sentence=f"training {training_id} has failed")


@routes.post("/{training_id}/artefact", response_model=None)
async def upload(training_id: int, request: Request) -> Done | JSONResponse:
    """The artefact, as a form with the file `artefact` and, if need be, `facts` as JSON. It is judged next."""
    await run_in_threadpool(_check_token, request, training_id)  # before a byte of the body is read
    refusal = _refused_length(request.headers.get("content-length"))
    if refusal is not None:
        return refusal
    async with request.form(max_files=1, max_fields=4, max_part_size=_FORM_BYTES) as form:
        return await run_in_threadpool(_take, request, training_id, form)


def _take(request: Request, training_id: int, form: FormData) -> Done:
    """Check the file as any artefact, keep it, and queue what follows."""
    from monitor.artifacts.sniff import flavour_of  # its room brings torch along, which no other page needs
    from monitor.jobs.outside_files import facts_of, file_name

    sent = form.get("artefact")
    if not isinstance(sent, UploadFile):
        raise BadInput("expected a form with the file artefact, got none")
    name, facts = file_name(sent.filename or ""), facts_of(str(form.get("facts") or "{}"))
    data = sent.file.read()
    flavour_of(name, data)
    with _awaited(request, training_id) as (session, training):
        sha256 = _store(request).put(data)
        acts.deliver(
            session, training, name=name, sha256=sha256, facts=facts.model_dump(mode="json"),
            now=database_now(session),
        )  # fmt: skip
    return Done(sentence=f"{name} is taken (sha256 {sha256}): it is compared with the champion next")


def _refused_length(told: str | None) -> JSONResponse | None:
    if told is None or not told.isdecimal():
        return JSONResponse({"error": "expected the Content-Length of the upload"}, status_code=411)
    if int(told) > acts.MOST_BYTES + _FORM_BYTES:
        return JSONResponse({"error": f"expected an artefact of at most {acts.MOST_BYTES:,} bytes"}, status_code=413)
    return None


def _check_token(request: Request, training_id: int) -> None:
    with _awaited(request, training_id):
        return


@contextmanager
def _awaited(request: Request, training_id: int) -> "Iterator[tuple[Session, OutsideTraining]]":
    """One transaction on the training that the request's token answers.

    Raises:
        NoToken: there is none that fits.
        StaleDecision: nobody waits for it any more.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token or not 0 < training_id < 2**63:
        raise NoToken("expected the header `Authorization: Bearer TOKEN` with the token of the request to train")
    with transaction(request.app.state.engine) as session:
        try:
            training = acts.awaited(session, training_id, token.strip(), now=database_now(session))
        except NotAllowed as error:
            raise NoToken(str(error)) from None
        yield session, training


def _store(request: Request) -> Any:
    """The artefacts of this installation."""
    from monitor.artifacts.store import Store  # its room brings torch along, which no other page needs

    folder: Path | None = request.app.state.artifact_dir
    if folder is None:
        raise NotFound("this API was started without its artefacts: start it with HOLDFAST_HOME set")
    return Store(folder)
