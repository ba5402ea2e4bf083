"""Routes for accounts and tokens: an admin's work, by the same acts as the dashboard."""

from datetime import datetime, timedelta
from typing import Self

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.acts import tokens as token_acts
from monitor.acts import users as acts
from monitor.api.asking import Open, Someone
from monitor.api.bodies import Done
from monitor.db.engine import database_now
from monitor.db.registry import Model, model_named
from monitor.db.tokens import token_named, tokens
from monitor.db.users import Token, User, user_named, users
from monitor.governance import Action, Actor, authorize

INVITED_FOR = timedelta(hours=72)
routes = APIRouter()


class UserOut(BaseModel):
    """A person who may sign in."""

    name: str
    roles: list[str]
    disabled: bool
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        return cls(name=user.name, roles=user.roles, disabled=user.disabled, created_at=user.created_at)


class NewUser(BaseModel):
    """An account; without a password it is entered by a link."""

    name: str = Field(min_length=1, max_length=100)
    roles: list[str]
    password: str | None = Field(default=None, max_length=1_000)


class Roles(BaseModel):
    """The whole set that a person will have."""

    roles: list[str]


class Why(BaseModel):
    """For the record."""

    reason: str = Field(default="", max_length=500)


class Invitation(BaseModel):
    """The one-time part of a sign-in link; it is told once."""

    once: str
    path: str
    hours: float


class TokenOut(BaseModel):
    """A key of a program, without the secret."""

    name: str
    roles: list[str]
    model: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, token: Token, model: str | None) -> Self:
        return cls(
            name=token.name, roles=token.roles, model=model, created_by=token.created_by, created_at=token.created_at,
            expires_at=token.expires_at, used_at=token.used_at, revoked_at=token.revoked_at,
        )  # fmt: skip


class NewToken(BaseModel):
    """What a program may do, perhaps for one model alone, and for how long."""

    name: str = Field(min_length=1, max_length=100)
    roles: list[str]
    model: str | None = None
    days: float = Field(default=token_acts.LIFETIME / timedelta(days=1), gt=0, le=10_000)


class MadeToken(TokenOut):
    """With its secret, which is told this once."""

    secret: str


@routes.get("/users")
def list_users(actor: Someone, session: Open) -> list[UserOut]:
    """Every account, by name."""
    authorize(actor, Action.MANAGE_USERS)
    return [UserOut.of(user) for user in users(session)]


@routes.post("/users")
def add_user(new: NewUser, actor: Someone, session: Open) -> UserOut:
    """A new account."""
    person = acts.create_person(
        session, name=new.name, roles=new.roles, password=new.password, by=actor, now=database_now(session)
    )
    session.refresh(person)
    return UserOut.of(person)


@routes.post("/users/{user}/roles")
def change_roles(user: str, asked: Roles, actor: Someone, session: Open) -> UserOut:
    """Give a person other roles, from their next request on."""
    person = _person(session, user, actor)
    acts.change_roles(session, person, roles=asked.roles, by=actor, now=database_now(session))
    return UserOut.of(person)


@routes.post("/users/{user}/disable")
def disable_user(user: str, why: Why, actor: Someone, session: Open) -> Done:
    """Shut a person out at once."""
    acts.disable(session, _person(session, user, actor), by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence=f"{user} is disabled")


@routes.post("/users/{user}/enable")
def enable_user(user: str, why: Why, actor: Someone, session: Open) -> Done:
    """Let a person in again."""
    acts.enable(session, _person(session, user, actor), by=actor, reason=why.reason, now=database_now(session))
    return Done(sentence=f"{user} is enabled")


@routes.post("/users/{user}/invite")
def invite_user(user: str, actor: Someone, session: Open) -> Invitation:
    """A link that signs the person in, once."""
    once = acts.invite(
        session, _person(session, user, actor), lifetime=INVITED_FOR, by=actor, now=database_now(session)
    )  # fmt: skip
    return Invitation(once=once, path=f"/?once={once}", hours=INVITED_FOR / timedelta(hours=1))


@routes.get("/tokens")
def list_tokens(actor: Someone, session: Open) -> list[TokenOut]:
    """Every token that was ever made, without its secret."""
    authorize(actor, Action.MANAGE_USERS)
    return [TokenOut.of(token, _model_of(session, token)) for token in tokens(session)]


@routes.post("/tokens")
def create_token(new: NewToken, actor: Someone, session: Open) -> MadeToken:
    """A key for a program; its secret is in this answer and nowhere else."""
    model = model_named(session, new.model) if new.model else None
    token, secret = token_acts.create_token(
        session, name=new.name, roles=new.roles, model=model, lifetime=timedelta(days=new.days), by=actor,
        now=database_now(session),
    )  # fmt: skip
    session.refresh(token)
    return MadeToken(**TokenOut.of(token, new.model).model_dump(), secret=secret)


@routes.delete("/tokens/{token}")
def revoke_token(token: str, actor: Someone, session: Open) -> Done:
    """Take a key back; it is refused from the next request on."""
    token_acts.revoke_token(session, _token(session, token, actor), by=actor, now=database_now(session))
    return Done(sentence=f"token {token} is revoked")


def _person(session: Open, name: str, asker: Actor) -> User:
    authorize(asker, Action.MANAGE_USERS)  # before the look-up, whose error names everybody
    return user_named(session, name)


def _token(session: Open, name: str, asker: Actor) -> Token:
    authorize(asker, Action.MANAGE_USERS)
    return token_named(session, name)


def _model_of(session: Open, token: Token) -> str | None:
    return session.get_one(Model, token.model_id).name if token.model_id is not None else None
