"""A state that no lawful way leads to, for tests of what follows: the database's guards look away for a moment."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlalchemy.orm import Session


@contextmanager
def unguarded(session: Session) -> Iterator[None]:
    """Only a superuser can do this, which the application's role is not."""
    session.execute(text("SET LOCAL session_replication_role = 'replica'"))
    yield
    session.flush()
    session.execute(text("SET LOCAL session_replication_role = 'origin'"))
