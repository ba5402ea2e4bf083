"""Who asks, and the transaction that a request has for itself."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from monitor.api.sessions import actor_of
from monitor.db.engine import transaction
from monitor.errors import NotAllowed
from monitor.governance.roles import Actor


class NotSignedIn(NotAllowed):
    """The request names no live session."""


def signed_in(request: Request) -> Actor:
    actor = actor_of(request, request.app.state.engine)
    if actor is None:
        raise NotSignedIn("sign in first: `holdfast link` prints a link")
    return actor


def opened(request: Request) -> Iterator[Session]:
    """One transaction a request; an act and what it writes commit together or not at all."""
    with transaction(request.app.state.engine) as session:
        yield session


Someone = Annotated[Actor, Depends(signed_in)]
Open = Annotated[Session, Depends(opened, scope="function")]  # committed before the answer is sent
