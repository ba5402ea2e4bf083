"""Routes for what the registry knows and what people do about models by hand: versions, cards, proposals, freezing."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from monitor.acts import retraining as acts
from monitor.acts.requests import request_retraining
from monitor.api.asking import Open, Someone
from monitor.api.bodies import Done
from monitor.db.engine import database_now
from monitor.db.read_registry import VersionEntry, registry_page
from monitor.db.read_retraining import ProposalLine, proposals
from monitor.db.registry import model_named, version_named
from monitor.db.retraining import Proposal
from monitor.errors import NotFound

routes = APIRouter()
Number = Annotated[int, Path(ge=1, lt=2**63)]


class VersionOut(BaseModel):
    """A version and where it came from."""

    name: str
    state: str
    flavour: str
    manifest_sha256: str
    weights_sha256: str | None
    parent: str | None
    proposal: int | None
    recipe: str | None
    snapshot_sha256: str | None
    created_at: datetime
    promoted_at: datetime | None
    confirmed_at: datetime | None

    @classmethod
    def of(cls, entry: VersionEntry) -> Self:
        return cls(**{name: getattr(entry, name) for name in cls.model_fields if name != "proposal"},
                   proposal=entry.proposal_id)  # fmt: skip


class ProposalOut(BaseModel):
    """A proposal as the history lists it."""

    id: int
    model: str
    state: str
    reason: str
    requested_by: str
    created_at: datetime

    @classmethod
    def of(cls, line: ProposalLine) -> Self:
        return cls(**vars(line))


class Reason(BaseModel):
    """Why; it is kept in the audit trail."""

    reason: str = Field(min_length=1, max_length=500)


@routes.get("/models/{name}/versions")
def list_versions(name: str, actor: Someone, session: Open) -> list[VersionOut]:
    """Every version, the newest first."""
    return [VersionOut.of(entry) for entry in registry_page(session, name).versions]


@routes.get("/models/{name}/versions/{version}/card")
def read_card(name: str, version: str, actor: Someone, session: Open) -> Response:
    """The model card of a version, in Markdown."""
    from monitor.reports.card import card_of

    found = version_named(session, model_named(session, name), version)
    named = {"Content-Disposition": f'attachment; filename="model-card-{found.id}.md"'}
    return Response(card_of(session, found), media_type="text/markdown; charset=utf-8", headers=named)


@routes.get("/models/{name}/proposals")
def list_proposals(
    name: str, actor: Someone, session: Open, last: Annotated[int, Query(ge=1, le=1_000)] = 100
) -> list[ProposalOut]:  # fmt: skip
    """The model's proposals, the open one first."""
    return [ProposalOut.of(line) for line in proposals(session, model=name, limit=last)]


@routes.post("/models/{name}/proposals")
def request(name: str, why: Reason, actor: Someone, session: Open) -> Done:
    """Ask for a retraining; a person who did not ask decides on it."""
    proposal = request_retraining(
        session, model_named(session, name), by=actor, reason=why.reason, now=database_now(session)
    )  # fmt: skip
    return Done(sentence=f"proposal {proposal.id} awaits approval", state=proposal.state)


@routes.post("/proposals/{proposal_id}/cancel")
def cancel(proposal_id: Number, why: Reason, actor: Someone, session: Open) -> Done:
    """Take a proposal back, or stop its training."""
    proposal = session.get(Proposal, proposal_id)
    if proposal is None:
        raise NotFound(f"there is no proposal {proposal_id}")
    acts.cancel(session, proposal, by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence=f"proposal {proposal_id} is cancelled", state=proposal.state)


@routes.get("/proposals/{proposal_id}/bundle")
def read_bundle(proposal_id: Number, actor: Someone, session: Open) -> Response:
    """The proposal as one file that `holdfast proposal verify` checks without a database."""
    from monitor.reports.bundle import bundle

    named = {"Content-Disposition": f'attachment; filename="proposal-{proposal_id}.json"'}
    return Response(bundle(session, proposal_id), media_type="application/json", headers=named)


@routes.post("/models/{name}/freeze")
def freeze(name: str, why: Reason, actor: Someone, session: Open) -> Done:
    """Stop every automatic act on a model."""
    acts.freeze(session, model_named(session, name), by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence=f"{name} is frozen")


@routes.post("/models/{name}/unfreeze")
def unfreeze(name: str, why: Reason, actor: Someone, session: Open) -> Done:
    """Let policy act on a model again."""
    acts.unfreeze(session, model_named(session, name), by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence=f"{name} is unfrozen")
