"""Who may sign in and what they may do: changed by an admin, on the record, without any secret in it."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from monitor.db import users
from monitor.db.audit import record
from monitor.db.users import User
from monitor.errors import BadInput, StaleDecision
from monitor.governance import Action, Actor, Role, authorize


def create_person(
    session: Session, *, name: str, roles: Iterable[str], password: str | None = None, by: Actor, now: datetime
) -> User:
    """A new account.

    Raises:
        NotAllowed: `by` may not manage users.
        BadInput: the name is taken, or a role is unknown.
    """
    authorize(by, Action.MANAGE_USERS)
    if users.find_user(session, name) is not None:
        raise BadInput(f"there is an account {name!r} already: change its roles instead")
    person = users.create_user(session, name, roles, password)
    record(session, "user.created", by=by.id, subject=f"user:{person.id}", at=now, name=name, roles=list(person.roles))
    return person


def change_roles(session: Session, person: User, *, roles: Iterable[str], by: Actor, now: datetime) -> None:
    """Give a person other roles, from their next request on; nobody changes their own.

    Raises:
        NotAllowed: `by` may not manage users.
        BadInput: a role is unknown, it is the admin's own account, or nobody else is admin.
        StaleDecision: the person has exactly these roles.
    """
    authorize(by, Action.MANAGE_USERS)
    if person.name == by.name:
        raise BadInput("expected somebody else's account: another admin changes yours")
    before, wanted = sorted(person.roles), sorted(set(map(str, roles)))
    if before == wanted:
        raise StaleDecision(f"{person.name} has these roles already")
    if Role.ADMIN not in wanted:
        _require_another_admin(session, person, "lose the role")
    users.change_user(session, person, roles=wanted)
    record(
        session, "user.roles_changed", by=by.id, subject=f"user:{person.id}", at=now, name=person.name, before=before,
        roles=list(person.roles),
    )  # fmt: skip


def disable(session: Session, person: User, *, by: Actor, reason: str, now: datetime) -> None:
    """Shut a person out; their sessions and unused links end at once.

    Raises:
        NotAllowed: `by` may not manage users.
        BadInput: nobody else is admin, or no reason is given.
        StaleDecision: the account is disabled already.
    """
    authorize(by, Action.MANAGE_USERS)
    if not reason.strip():
        raise BadInput("expected a reason: others will ask why somebody was shut out")
    session.refresh(person)
    if person.disabled:
        raise StaleDecision(f"{person.name} is disabled already")
    _require_another_admin(session, person, "be disabled")
    users.change_user(session, person, disabled=True)
    record(session, "user.disabled", by=by.id, subject=f"user:{person.id}", at=now, name=person.name, reason=reason)


def enable(session: Session, person: User, *, by: Actor, reason: str = "", now: datetime) -> None:
    """Let a person in again, with the roles they had.

    Raises:
        NotAllowed: `by` may not manage users.
        StaleDecision: the account is not disabled.
    """
    authorize(by, Action.MANAGE_USERS)
    session.refresh(person)
    if not person.disabled:
        raise StaleDecision(f"{person.name} is not disabled")
    users.change_user(session, person, disabled=False)
    record(
        session, "user.enabled", by=by.id, subject=f"user:{person.id}", at=now, name=person.name, reason=reason,
        roles=list(person.roles),
    )  # fmt: skip


def set_password(session: Session, person: User, *, password: str, by: Actor, now: datetime) -> None:
    """Give a person another password, their own included; their sessions and unused links end at once.

    Raises:
        NotAllowed: it is somebody else's, and `by` may not manage users.
        BadInput: it is too short.
    """
    if by.program or person.name != by.name:
        authorize(by, Action.MANAGE_USERS)
    users.change_user(session, person, password=password)
    record(session, "user.password_set", by=by.id, subject=f"user:{person.id}", at=now, name=person.name)


def invite(session: Session, person: User, *, lifetime: timedelta, by: Actor, now: datetime) -> str:
    """The token of a link that signs a person in once; the record says that it was made, not what it is.

    Raises:
        NotAllowed: `by` may not manage users.
        StaleDecision: the account is disabled.
    """
    authorize(by, Action.MANAGE_USERS)
    if person.disabled:
        raise StaleDecision(f"{person.name} is disabled: enable the account before inviting")
    token = users.make_link(session, person, lifetime=lifetime)
    record(session, "user.invited", by=by.id, subject=f"user:{person.id}", at=now, name=person.name)
    return token


def _require_another_admin(session: Session, person: User, what: str) -> None:
    admins = users.lock_admins(session)
    session.refresh(person)
    if admins == {person.name}:
        raise BadInput(f"{person.name} is the only admin and cannot {what}: make somebody else an admin first")
