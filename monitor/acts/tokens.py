"""Keys of programs: made and revoked by an admin, on the record, shown once."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from monitor.db.audit import record
from monitor.db.registry import Model
from monitor.db.tokens import new_secret
from monitor.db.users import NAME, Token, known_roles, sha256_of
from monitor.errors import BadInput, StaleDecision
from monitor.governance import Action, Actor, authorize
from monitor.governance.roles import ROLES_OF_PROGRAMS

LIFETIME = timedelta(days=90)
LONGEST = timedelta(days=366)


def create_token(
    session: Session, *, name: str, roles: Iterable[str], model: Model | None = None, lifetime: timedelta = LIFETIME,
    by: Actor, now: datetime,
) -> tuple[Token, str]:  # fmt: skip
    """A key for a program, and its secret, which is kept nowhere.

    Raises:
        NotAllowed: `by` may not manage users and tokens.
        BadInput: the name is unusable or taken, a role is a person's, or the key would live too long.
    """
    authorize(by, Action.MANAGE_USERS)
    if not NAME.fullmatch(name):
        raise BadInput(f"expected a name of letters, digits and . @ + - _, got {name!r}")
    if session.scalar(select(Token.id).where(Token.name == name)) is not None:
        raise BadInput(f"there is or was a token {name!r}: the record keeps its name, choose another")
    wanted = known_roles(roles)
    if people := sorted(set(wanted) - {role.value for role in ROLES_OF_PROGRAMS}):
        raise BadInput(
            f"expected roles among {', '.join(sorted(ROLES_OF_PROGRAMS))}, got {', '.join(people)}: "
            "votes and accounts are for people alone"
        )
    if not timedelta(0) < lifetime <= LONGEST:
        raise BadInput(f"expected a token to live for 1 to {LONGEST.days} days, got {lifetime / timedelta(days=1):g}")
    secret = new_secret()
    token = Token(
        name=name, token_sha256=sha256_of(secret), roles=wanted, model_id=model.id if model is not None else None,
        created_by=by.id, expires_at=now + lifetime,
    )  # fmt: skip
    session.add(token)
    session.flush()
    record(
        session, "token.created", by=by.id, subject=f"token:{token.id}", at=now, model=model.name if model else None,
        name=name, roles=wanted, expires_at=token.expires_at.isoformat(),
    )  # fmt: skip
    return token, secret


def revoke_token(session: Session, token: Token, *, by: Actor, reason: str = "", now: datetime) -> None:
    """Take a key back; it is refused from the next request on.

    Raises:
        NotAllowed: `by` may not manage users and tokens.
        StaleDecision: it is revoked already.
    """
    authorize(by, Action.MANAGE_USERS)
    session.refresh(token, with_for_update=True)
    if token.revoked_at is not None:
        raise StaleDecision(f"token {token.name} is revoked already")
    token.revoked_at = now
    session.flush()
    model = session.get(Model, token.model_id) if token.model_id is not None else None
    record(
        session, "token.revoked", by=by.id, subject=f"token:{token.id}", at=now, model=model.name if model else None,
        name=token.name, reason=reason,
    )  # fmt: skip
