"""Keys of programs: found by the hash of what they send, asked anew on every request."""

import secrets

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from monitor.db.registry import Model
from monitor.db.users import TOUCH_EVERY, Token, sha256_of
from monitor.errors import NotFound
from monitor.governance.roles import Actor, Role

TOKEN_ID = "token:"  # no account's name holds a colon
PREFIX = "hf_"  # so that a scanner for secrets knows one when it sees it


def new_secret() -> str:
    """What a program will send."""
    return PREFIX + secrets.token_urlsafe(32)


def token_actor(session: Session, secret: str) -> Actor | None:
    """The program that holds this token; None when it is unknown, revoked or expired. Asked anew on every request."""
    found = session.execute(
        select(Token, Model.name, func.now())
        .outerjoin(Model, Model.id == Token.model_id)
        .where(Token.token_sha256 == sha256_of(secret), Token.revoked_at.is_(None), Token.expires_at > func.now()),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if found is None:
        return None
    token, model, now = found
    if token.used_at is None or now - token.used_at > TOUCH_EVERY:
        token.used_at = now
    return Actor(
        id=f"{TOKEN_ID}{token.name}", name=f"token {token.name}", roles=frozenset(Role(role) for role in token.roles),
        program=True, model=model,
    )  # fmt: skip


def tokens(session: Session) -> list[Token]:
    """Every token that was ever made, by name."""
    return list(session.scalars(select(Token).order_by(Token.name)))


def token_named(session: Session, name: str) -> Token:
    """The token of this name; when there is none, the message lists those there are."""
    token = session.scalar(select(Token).where(Token.name == name))
    if token is None:
        known = ", ".join(other.name for other in tokens(session)) or "none yet"
        raise NotFound(f"no token {name!r}; there are: {known}")
    return token
