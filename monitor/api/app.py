"""The HTTP API, mounted at /v1: what programs may read and decide, by the same acts as the dashboard."""

from pathlib import Path

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from monitor.acts import retraining as acts
from monitor.api import (
    counts,
    deciding,
    envelopes,
    evidently,
    ingest,
    loop,
    outside,
    people,
    registry,
    serving,
    trail,
)
from monitor.api.admission import Admission
from monitor.api.asking import NotSignedIn, Open, Someone
from monitor.api.bodies import Decision, Done, ModelOut, RollBack, VerdictOut
from monitor.api.problems import problem
from monitor.api.storing import InThreads, Storing
from monitor.db.engine import database_now
from monitor.db.read_model import model_history
from monitor.db.read_overview import overview
from monitor.db.registry import model_named
from monitor.db.retraining import Proposal
from monitor.errors import (
    BadInput,
    HoldfastError,
    IllegalTransition,
    NotAllowed,
    NotFound,
    StaleDecision,
    TooLarge,
    Unavailable,
)

STATUS = {
    NotFound: 404, StaleDecision: 409, IllegalTransition: 409, NotAllowed: 403, Unavailable: 503, TooLarge: 413,
    BadInput: 422,
}  # fmt: skip
MAX_WINDOWS = 10_000
routes = APIRouter()


def api(
    engine: Engine, artifact_dir: Path | None = None, *, admission: Admission | None = None,
    storing: Storing | None = None,
) -> FastAPI:  # fmt: skip
    """The application on one database and its artefacts.

    `admission` bounds how much intake is taken on at once, `storing` does it; in threads of this process by default.

    The mounting application owns the engine: a mounted lifespan does not run.
    """
    app = FastAPIOffline(
        title="Holdfast",
        redoc_url=None,
        swagger_ui_parameters={"validatorUrl": None},
        dependencies=[Depends(HTTPBearer(auto_error=False, description="what `holdfast token create` printed"))],
        summary=__doc__.splitlines()[0],
    )
    app.state.engine, app.state.artifact_dir = engine, artifact_dir
    app.state.admission, app.state.storing = admission or Admission(), storing or InThreads(engine)
    app.add_exception_handler(HoldfastError, _refused)
    app.include_router(ingest.routes)
    app.include_router(counts.routes)
    app.include_router(routes)
    app.include_router(evidently.routes)
    app.include_router(deciding.routes)
    app.include_router(outside.routes)
    app.include_router(envelopes.routes)
    app.include_router(loop.routes)
    app.include_router(serving.routes)
    app.include_router(people.routes)
    app.include_router(trail.routes)
    app.include_router(registry.routes)
    return app


@routes.get("/models")
def list_models(actor: Someone, session: Open) -> list[ModelOut]:
    """Every model, the neediest first."""
    return [
        ModelOut(
            name=row.name, owner=row.owner, tier=row.tier, champion=row.version, verdict=row.verdict, needs=row.why,
            proposal=row.proposal_id,
        )
        for row in overview(session).rows
        if actor.model in (None, row.name)
    ]  # fmt: skip


@routes.get("/models/{name}/verdicts")
def read_verdicts(name: str, actor: Someone, session: Open, last: int = 90) -> list[VerdictOut]:
    """The newest windows in order of time, each as it is judged now."""
    history = model_history(session, name, last=max(1, min(last, MAX_WINDOWS)))
    return [VerdictOut.of(window) for window in history.windows]


@routes.post("/proposals/{proposal_id}/approve")
def approve(proposal_id: int, vote: Decision, actor: Someone, session: Open) -> Done:
    """Approve a training on the evidence of this hash."""
    proposal, now = _proposal(session, proposal_id), database_now(session)
    acts.approve(session, proposal, by=actor, evidence_sha256=vote.evidence_sha256, reason=vote.reason, now=now)
    return Done(sentence=f"proposal {proposal_id} is approved: the training is queued", state=proposal.state)


@routes.post("/proposals/{proposal_id}/reject")
def reject(proposal_id: int, vote: Decision, actor: Someone, session: Open) -> Done:
    """Decide against a training or a promotion."""
    proposal, now = _proposal(session, proposal_id), database_now(session)
    acts.reject(session, proposal, by=actor, evidence_sha256=vote.evidence_sha256, reason=vote.reason, now=now)
    return Done(sentence=f"proposal {proposal_id} is rejected", state=proposal.state)


@routes.post("/proposals/{proposal_id}/promote")
def promote(proposal_id: int, vote: Decision, actor: Someone, session: Open) -> Done:
    """Vote for the candidate; it is promoted once the votes suffice."""
    proposal, now = _proposal(session, proposal_id), database_now(session)
    decided = acts.approve_promotion(
        session, proposal, by=actor, evidence_sha256=vote.evidence_sha256, reason=vote.reason, now=now
    )
    words = "the promotion is queued" if decided else "the vote counts; one more person must decide"
    return Done(sentence=words, state=proposal.state)


@routes.post("/models/{name}/rollback")
def roll_back(name: str, why: RollBack, actor: Someone, session: Open) -> Done:
    """Make the version that the champion took over from the champion again."""
    previous = acts.rollback(
        session, model_named(session, name), by=actor, reason=why.reason, now=database_now(session)
    )  # fmt: skip
    return Done(sentence=f"{previous.name} is the champion of {name} again")


def _proposal(session: Session, proposal_id: int) -> Proposal:
    proposal = session.get(Proposal, proposal_id)
    if proposal is None:
        raise NotFound(f"there is no proposal {proposal_id}")
    return proposal


def _refused(request: Request, error: Exception) -> JSONResponse:
    """Every error that Holdfast raises on purpose, as its sentence."""
    if isinstance(error, NotSignedIn | outside.NoToken):
        return problem(401, str(error))
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    return problem(status, str(error), kind=getattr(error, "problem", ""))
