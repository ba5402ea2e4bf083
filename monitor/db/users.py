"""People, their sessions and one-time sign-in links. Only hashes of secrets are stored."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError
from sqlalchemy import ColumnElement, ForeignKey, func, select, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from monitor.db.base import Base, CreatedAt, Id
from monitor.errors import BadInput, NotAllowed, NotFound
from monitor.governance.roles import POLICY, Actor, Role

IDLE = timedelta(minutes=30)
LONGEST_SESSION = timedelta(hours=8)
LEAST_PASSWORD = 12  # characters
TOUCH_EVERY = timedelta(minutes=1)
NAME = re.compile(r"[\w.@+-]{1,100}")
_HASHER = PasswordHasher()


class User(Base):
    """A person who may sign in; `roles` is a set of `monitor.governance.roles.Role`."""

    __tablename__ = "users"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    roles: Mapped[list[str]]
    password_hash: Mapped[str | None]
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[CreatedAt]


class SignInLink(Base):
    """A link that signs its user in once."""

    __tablename__ = "sign_in_links"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignIn(Base):
    """A server-side session: revocable at once, 8 h absolute, 30 min idle."""

    __tablename__ = "sign_ins"

    token_sha256: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[CreatedAt]
    seen_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Token(Base):
    """A key of a program: its roles, perhaps one model alone, and an expiry. Only its hash is stored."""

    __tablename__ = "tokens"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    roles: Mapped[list[str]]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("models.id"))
    created_by: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


def create_user(session: Session, name: str, roles: Iterable[str], password: str | None = None) -> User:
    """A new account. Without a password it can be entered by a link only."""
    if not NAME.fullmatch(name) or name == POLICY.name:
        raise BadInput(f"expected a name of letters, digits and . @ + - _ other than {POLICY.name!r}, got {name!r}")
    if find_user(session, name) is not None:
        raise BadInput(f"expected a new name, got {name!r}, who has an account already")
    user = User(name=name, roles=known_roles(roles), password_hash=_hash_password(password) if password else None)
    session.add(user)
    session.flush()
    return user


def users(session: Session) -> list[User]:
    """Every account, by name."""
    return list(session.scalars(select(User).order_by(User.name)))


def find_user(session: Session, name: str) -> User | None:
    """The account of this name."""
    return session.scalar(select(User).where(User.name == name))


def user_named(session: Session, name: str) -> User:
    """The account of this name; when there is none, the message lists who there is."""
    user = find_user(session, name)
    if user is None:
        known = ", ".join(other.name for other in users(session)) or "none yet"
        raise NotFound(f"no user {name!r}; there are: {known}")
    return user


def actor_named(session: Session, name: str) -> Actor:
    """The person of this name with the roles that they hold now; for whom the operating system has let in.

    Raises:
        NotAllowed: the account is disabled.
        NotFound: nobody goes by this name.
    """
    user = user_named(session, name)
    if user.disabled:
        raise NotAllowed(f"the account {name} is disabled: an admin can enable it")
    return Actor(id=user.name, name=user.name, roles=frozenset(Role(role) for role in user.roles))


def lock_admins(session: Session) -> set[str]:
    """The names of all enabled admins, locked in one order until the transaction ends: two cannot both go."""
    enabled = select(User).where(~User.disabled, User.roles.contains([Role.ADMIN.value])).order_by(User.id)
    rows = session.scalars(enabled.with_for_update(), execution_options={"populate_existing": True})
    return {user.name for user in rows}


def change_user(
    session: Session, user: User, *, roles: Iterable[str] | None = None, password: str | None = None,
    disabled: bool | None = None,
) -> None:  # fmt: skip
    """Change an account; a new password or disabling it ends its sessions and unused links at once."""
    if roles is not None:
        user.roles = known_roles(roles)
    if password is not None:
        user.password_hash = _hash_password(password)
    if disabled is not None:
        user.disabled = disabled
    if password is not None or disabled:
        revoke_all(session, user)
        _void_links(session, user)


def make_link(session: Session, user: User, *, lifetime: timedelta) -> str:
    """The token of a link that signs `user` in once within `lifetime`."""
    token = secrets.token_urlsafe(32)
    expires = session.execute(select(func.now() + lifetime)).scalar_one()
    session.add(SignInLink(token_sha256=sha256_of(token), user_id=user.id, expires_at=expires))
    session.flush()
    return token


def redeem_link(session: Session, token: str) -> str:
    """Use a link up, and return the token of the session that it opens."""
    used = session.scalar(
        update(SignInLink)
        .where(
            SignInLink.token_sha256 == sha256_of(token),
            SignInLink.used_at.is_(None),
            SignInLink.expires_at > func.now(),
        )
        .values(used_at=func.now())
        .returning(SignInLink.user_id),
        execution_options={"synchronize_session": False},
    )
    user = session.get(User, used) if used is not None else None
    if user is None or user.disabled:
        raise NotAllowed("this sign-in link is unknown, was used, or has expired: ask for another with `holdfast link`")
    return _open(session, user)


def sign_in_by_password(session: Session, name: str, password: str) -> str:
    """The token of a new session; one answer whether the name or the password is wrong."""
    user = find_user(session, name)
    stored = user.password_hash if user is not None and user.password_hash else _NOBODY
    try:
        _HASHER.verify(stored, password)
    except (VerifyMismatchError, InvalidHashError):
        user = None
    if user is None or user.disabled or user.password_hash is None:
        raise NotAllowed("expected the name and password of an account: one of the two is wrong")
    return _open(session, user)


def actor_for(session: Session, token: str, *, active: bool = True) -> Actor | None:
    """Who holds this session now; None when it is unknown, idle for 30 minutes, older than 8 hours, or revoked.

    A page that refreshes itself asks with `active` false: it does not keep the session from becoming idle.
    """
    found = session.execute(
        select(SignIn, User, func.now())
        .join(User, User.id == SignIn.user_id)
        .where(
            SignIn.token_sha256 == sha256_of(token), SignIn.revoked_at.is_(None), SignIn.expires_at > func.now(),
            SignIn.seen_at > func.now() - IDLE, ~User.disabled,
        ),
        execution_options={"populate_existing": True},
    ).one_or_none()  # fmt: skip
    if found is None:
        return None
    sign_in, user, now = found
    if active and now - sign_in.seen_at > TOUCH_EVERY:
        sign_in.seen_at = now
    return Actor(id=user.name, name=user.name, roles=frozenset(Role(role) for role in user.roles))


def revoke(session: Session, token: str) -> None:
    """End one session at once."""
    _end(session, SignIn.token_sha256 == sha256_of(token))


def revoke_all(session: Session, user: User) -> None:
    """End every session of a person at once."""
    _end(session, SignIn.user_id == user.id)


def _void_links(session: Session, user: User) -> None:
    unused = update(SignInLink).where(SignInLink.user_id == user.id, SignInLink.used_at.is_(None))
    session.execute(unused.values(used_at=func.now()), execution_options={"synchronize_session": False})


def _end(session: Session, which: ColumnElement[bool]) -> None:
    ended = update(SignIn).where(which, SignIn.revoked_at.is_(None)).values(revoked_at=func.now())
    session.execute(ended, execution_options={"synchronize_session": False})


def _open(session: Session, user: User) -> str:
    token = secrets.token_urlsafe(32)
    expires = session.execute(select(func.now() + LONGEST_SESSION)).scalar_one()
    session.add(SignIn(token_sha256=sha256_of(token), user_id=user.id, expires_at=expires))
    session.flush()
    return token


def known_roles(roles: Iterable[str]) -> list[str]:
    wanted = {str(role) for role in roles}
    unknown = sorted(wanted - {role.value for role in Role})
    if unknown or not wanted:
        raise BadInput(f"expected roles among {', '.join(Role)}, got {', '.join(unknown) or 'none'}")
    return sorted(wanted)


def _hash_password(password: str) -> str:
    if len(password) < LEAST_PASSWORD:
        raise BadInput(f"expected a password of at least {LEAST_PASSWORD} characters, got {len(password)}")
    return _HASHER.hash(password)


def sha256_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))  # verified when the name is unknown, so that it takes as long
