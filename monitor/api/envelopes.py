"""Routes for envelopes, retirement and the freeze of everything."""

from datetime import datetime, timedelta
from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.acts import envelopes, freezing, retiring
from monitor.api.asking import Open, Someone
from monitor.api.bodies import Done
from monitor.api.registry import Reason
from monitor.db.engine import database_now
from monitor.db.registry import model_named, version_named
from monitor.db.retraining import Envelope as EnvelopeRow
from monitor.errors import NotFound
from monitor.governance import Envelope

routes = APIRouter()


class EnvelopeIn(BaseModel):
    """Limits to sign; what is left out takes its default."""

    reason: str = Field(min_length=1, max_length=500)
    days: float = Field(default=90.0, gt=0, le=366)
    limits: dict[str, Any] = Field(default_factory=dict)


class EnvelopeOut(BaseModel):
    """What policy may decide, who signed it, and until when it holds."""

    limits: dict[str, Any]
    sha256: str
    signed_by: str
    reason: str
    expires_at: datetime

    @classmethod
    def of(cls, row: EnvelopeRow) -> Self:
        return cls(
            limits=row.document, sha256=row.document_sha256, signed_by=row.signed_by, reason=row.reason,
            expires_at=row.expires_at,
        )  # fmt: skip


@routes.get("/models/{name}/envelope")
def read_envelope(name: str, actor: Someone, session: Open) -> EnvelopeOut:
    """The envelope in force."""
    row = envelopes.signed_envelope(session, model_named(session, name))
    if row is None:
        raise NotFound(f"model {name} has no envelope: people decide")
    return EnvelopeOut.of(row)


@routes.post("/models/{name}/envelope")
def sign(name: str, asked: EnvelopeIn, actor: Someone, session: Open) -> EnvelopeOut:
    """Let policy decide inside these limits; an approver's act."""
    row = envelopes.sign_envelope(
        session, model_named(session, name), Envelope.from_document(asked.limits),
        lifetime=timedelta(days=asked.days), reason=asked.reason, by=actor, now=database_now(session),
    )  # fmt: skip
    return EnvelopeOut.of(row)


@routes.post("/models/{name}/envelope/revoke")
def revoke(name: str, why: Reason, actor: Someone, session: Open) -> Done:
    """Let people decide again."""
    envelopes.revoke_envelope(
        session, model_named(session, name), by=actor, reason=why.reason, now=database_now(session)
    )  # fmt: skip
    return Done(sentence=f"{name} has no envelope any more: people decide")


@routes.post("/freeze")
def freeze_everything(why: Reason, actor: Someone, session: Open) -> Done:
    """Stop every automatic act on every model."""
    freezing.freeze_all(session, by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence="everything is frozen: policy does nothing by itself")


@routes.post("/unfreeze")
def unfreeze_everything(why: Reason, actor: Someone, session: Open) -> Done:
    """Lift the freeze of everything."""
    freezing.unfreeze_all(session, by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence="policy may act again")


@routes.post("/models/{name}/retire")
def retire_model(name: str, why: Reason, actor: Someone, session: Open) -> Done:
    """Check, alert and retrain no more."""
    retiring.retire_model(
        session, model_named(session, name), by=actor, reason=why.reason, now=database_now(session)
    )  # fmt: skip
    return Done(sentence=f"{name} is retired")


@routes.post("/models/{name}/versions/{version}/retire")
def retire_version(name: str, version: str, why: Reason, actor: Someone, session: Open) -> Done:
    """Never let a version serve again."""
    found = version_named(session, model_named(session, name), version)
    retiring.retire_version(session, found, by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence=f"{name} {version} is retired")
