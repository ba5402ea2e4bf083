"""Who may sign in, and which programs hold a token: for the settings, without any secret."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.db.registry import Model
from monitor.db.users import SignIn, Token, User


@dataclass(frozen=True, kw_only=True)
class PersonLine:
    """An account; `seen_at` is when the person last clicked."""

    name: str
    roles: tuple[str, ...]
    disabled: bool
    created_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class TokenLine:
    """A program's key; `state` is held, expired or revoked."""

    name: str
    roles: tuple[str, ...]
    model: str | None
    state: str
    created_by: str
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class PeoplePage:
    """All of them."""

    people: tuple[PersonLine, ...]
    tokens: tuple[TokenLine, ...]

    @property
    def headline(self) -> str:
        """The answer to: who may act here?"""
        people = len([one for one in self.people if not one.disabled])
        held = len([one for one in self.tokens if one.state == "held"])
        persons = f"{people} {'person' if people == 1 else 'people'} may sign in"
        return f"{persons}; {held} {'program holds a token' if held == 1 else 'programs hold a token'}"


def people_page(session: Session) -> PeoplePage:
    """Accounts and tokens, by name."""
    now = session.execute(select(func.now())).scalar_one()
    last = select(SignIn.user_id, func.max(SignIn.seen_at).label("seen_at")).group_by(SignIn.user_id).subquery()
    people = session.execute(
        select(User, last.c.seen_at).outerjoin(last, last.c.user_id == User.id).order_by(User.disabled, User.name)
    )
    tokens = session.execute(
        select(Token, Model.name).outerjoin(Model, Model.id == Token.model_id).order_by(Token.name)
    )
    return PeoplePage(
        people=tuple(
            PersonLine(
                name=user.name, roles=tuple(user.roles), disabled=user.disabled, created_at=user.created_at,
                seen_at=seen,
            )
            for user, seen in people
        ),
        tokens=tuple(
            TokenLine(
                name=token.name, roles=tuple(token.roles), model=model, state=_state(token, now),
                created_by=token.created_by, expires_at=token.expires_at, used_at=token.used_at,
            )
            for token, model in tokens
        ),
    )  # fmt: skip


def _state(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at <= now else "held"
