"""Routes for the audit trail: for auditors and admins."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel
from starlette.responses import StreamingResponse

from monitor.api.asking import Open, Someone
from monitor.db.engine import database_now, transaction
from monitor.db.read_audit import AuditLine, Chosen, audit_page, links
from monitor.governance import Action, authorize
from monitor.governance.audit_export import csv_lines, export_lines

routes = APIRouter()
MOST = 1_000
_BLOCK = 500  # lines sent together
Model = Annotated[str | None, Query(max_length=100)]


class EntryOut(BaseModel):
    """One act."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    model: str | None
    details: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, line: AuditLine) -> Self:
        return cls(**vars(line))


@routes.get("/audit")
def list_acts(
    asker: Someone, session: Open, model: Model = None, actor: str | None = None, action: str | None = None,
    since: AwareDatetime | None = None, until: AwareDatetime | None = None, last: int = 200,
) -> list[EntryOut]:  # fmt: skip
    """The newest acts that were chosen, the newest first."""
    authorize(asker, Action.READ_AUDIT)
    chosen = Chosen(model=model, actor=actor, action=action, since=since, until=until)
    return [EntryOut.of(line) for line in audit_page(session, chosen, most=max(1, min(last, MOST))).lines]


@routes.get("/audit/export")
def export_acts(
    request: Request, asker: Someone, model: Model = None, actor: str | None = None, action: str | None = None,
    since: AwareDatetime | None = None, until: AwareDatetime | None = None,
    form: Annotated[Literal["jsonl", "csv"], Query(alias="format")] = "jsonl",
) -> StreamingResponse:  # fmt: skip
    """The trail, or a part of it, as a file: JSON lines that `holdfast audit verify --file` checks, or a CSV."""
    authorize(asker, Action.READ_AUDIT)
    chosen = Chosen(model=model, actor=actor, action=action, since=since, until=until)
    kind = "text/csv; charset=utf-8" if form == "csv" else "application/jsonl"
    named = {"Content-Disposition": f'attachment; filename="audit.{form}"'}
    return StreamingResponse(_blocks(request, chosen, form), media_type=kind, headers=named)


def _blocks(request: Request, chosen: Chosen, form: str) -> Iterator[str]:
    """A few hundred lines at a time: neither the trail nor a call for each of its lines."""
    block: list[str] = []
    with transaction(request.app.state.engine) as session:  # the request's own is closed before the answer is sent
        at, entries = database_now(session).isoformat(timespec="seconds"), links(session, chosen)
        lines = csv_lines(entries) if form == "csv" else export_lines(entries, at=at, chosen=chosen.to_document())
        for line in lines:
            block.append(line)
            if len(block) == _BLOCK:
                yield "".join(block)
                block.clear()
    yield "".join(block)
