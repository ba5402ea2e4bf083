"""What a serving process asks: which version should serve, of which files, and the files themselves by their hash.

304  the answer that the process has is still the one (`If-None-Match`)
404  the champion has no file of this hash: ask for the champion again
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from monitor.api.asking import Open, Someone
from monitor.api.bodies import ChampionFile, ChampionOut
from monitor.db.engine import transaction
from monitor.db.registry import Version, champion, model_named
from monitor.errors import NotFound

routes = APIRouter(prefix="/models/{name}/champion")
LONGEST_WAIT = 60  # seconds
_FOREVER = "private, max-age=31536000, immutable"  # a hash never names another content


@routes.get("", response_model=ChampionOut)
async def read_champion(
    name: str, actor: Someone, request: Request, wait: Annotated[int, Query(ge=0, le=LONGEST_WAIT)] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:  # fmt: skip
    """The version that should serve; with `wait`, once it is another than `If-None-Match` says, or after so long."""
    known = {one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")}
    for second in range(wait + 1):
        found = await run_in_threadpool(_champion, request.app.state.engine, name)
        tag = f'"{hashlib.sha256(found.model_dump_json().encode()).hexdigest()}"'
        if tag not in known or second == wait or await request.is_disconnected():
            break
        await asyncio.sleep(1.0)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in known:
        return Response(status_code=304, headers=headers)
    return JSONResponse(found.model_dump(mode="json"), headers=headers)


def _champion(engine: Engine, name: str) -> ChampionOut:
    """As it is now, in a transaction of its own: nobody holds one open while waiting."""
    with transaction(engine) as session:
        return _told(champion(session, model_named(session, name)), name)


def _told(version: Version, name: str) -> ChampionOut:
    return ChampionOut(
        model=name, version=version.name, flavour=version.flavour, manifest_sha256=version.manifest_sha256,
        promoted_at=version.promoted_at, confirmed_at=version.confirmed_at, manifest=version.manifest,
        files=[
            ChampionFile(name=file, sha256=of["sha256"], size=of["size"], path=_path(name, of["sha256"]))
            for file, of in _files(version).items()
        ],
    )  # fmt: skip


@routes.get("/artefact/{sha256}", response_class=FileResponse)
def read_artefact(
    name: str, sha256: str, actor: Someone, session: Open, request: Request,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:  # fmt: skip
    """A file of the champion, whose content has been checked against its hash."""
    file = _file_of(session, name, sha256)
    headers = {"ETag": f'"{sha256}"', "Cache-Control": _FOREVER}
    if if_none_match == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    path = _store(request).path(sha256)
    return FileResponse(path, media_type="application/octet-stream", filename=file, headers=headers)


def _file_of(session: Session, model: str, sha256: str) -> str:
    version = champion(session, model_named(session, model))
    for file, of in _files(version).items():
        if of["sha256"] == sha256:
            return file
    raise NotFound(f"{version.name}, the champion of {model}, has no file {sha256[:64]}: ask for the champion again")


def _files(version: Version) -> dict[str, Any]:
    files: dict[str, Any] = version.manifest.get("files") or {}
    return files


def _path(model: str, sha256: str) -> str:
    return f"/v1/models/{model}/champion/artefact/{sha256}"


def _store(request: Request) -> Any:
    from monitor.artifacts.store import Store  # its room brings torch along, which no other page needs

    folder: Path | None = request.app.state.artifact_dir
    if folder is None:
        raise NotFound("this API was started without its artefacts: start it with HOLDFAST_HOME set")
    return Store(folder)
