"""Who asks, what their token is for, and the transaction that a request has for itself."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.api.sessions import NotSignedIn, actor_of
from monitor.db.alerts import Alert
from monitor.db.engine import transaction
from monitor.db.registry import Model
from monitor.db.retraining import Proposal
from monitor.errors import NotAllowed
from monitor.governance.roles import Actor

__all__ = ["NotSignedIn", "Open", "Someone"]

_OF_A_MODEL: dict[str, type[Proposal] | type[Alert]] = {"proposal_id": Proposal, "alert_id": Alert}  # by a number
_LONGEST_NUMBER = 18  # digits that the database's numbers hold
_FILTERED = frozenset({("GET", "/models")})  # routes over all models that answer with the token's own


def signed_in(request: Request) -> Actor:
    actor = actor_of(request, request.app.state.engine)
    if actor is None:
        raise NotSignedIn("sign in first: `holdfast link` prints a link; programs send `Authorization: Bearer TOKEN`")
    if actor.model is not None:
        _require_own(request, actor.model, actor.name)
    return actor


def opened(request: Request) -> Iterator[Session]:
    """One transaction a request; an act and what it writes commit together or not at all."""
    with transaction(request.app.state.engine) as session:
        yield session


Someone = Annotated[Actor, Depends(signed_in)]
Open = Annotated[Session, Depends(opened, scope="function")]  # committed before the answer is sent


def _require_own(request: Request, model: str, who: str) -> None:
    """A token for one model reaches the routes of that model and nothing else, routes of tomorrow included."""
    if (request.method, request.scope["route"].path) in _FILTERED:
        return
    if _model_of(request) != model:
        raise NotAllowed(f"{who} is for model {model} alone: expected a route of that model")


def _model_of(request: Request) -> str | None:
    """The model that the route's path is about, None where it is about several or about none."""
    asked = request.path_params
    if request.scope["route"].path.startswith("/models/{name}"):
        return str(asked["name"])
    for key, kind in _OF_A_MODEL.items():
        number = str(asked.get(key, ""))
        if number.isdecimal() and len(number) <= _LONGEST_NUMBER:
            of_it = select(Model.name).join(kind, kind.model_id == Model.id).where(kind.id == int(number))
            with transaction(request.app.state.engine) as session:
                return session.scalar(of_it)
    return None
