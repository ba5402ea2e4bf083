"""Who acts when a command decides something: a named account, with the roles that it holds in the database."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.platform import database_url
from monitor.errors import BadInput
from monitor.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from monitor.governance.roles import Actor

WHO = "HOLDFAST_USER"
AsOption = Annotated[
    str | None,
    typer.Option("--as", help=f"The account that acts; else ${WHO}.", show_default=False),
]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The platform's database for one command, without what only jobs need: a rollback must not wait for torch."""

    settings: Settings
    engine: "Engine"

    @contextmanager
    def transaction(self) -> "Iterator[Session]":
        from monitor.db.engine import transaction

        with transaction(self.engine) as session:
            yield session


@contextmanager
def open_desk(home: Path | None) -> Iterator[Desk]:
    """The database that the settings name; closed afterwards."""
    from monitor.db.engine import make_engine

    settings = Settings.load(home=home)
    engine = make_engine(database_url(settings), pool_size=1)
    try:
        yield Desk(settings=settings, engine=engine)
    finally:
        engine.dispose()


def person(session: "Session", name: str | None) -> "Actor":
    """The account that acts.

    Raises:
        BadInput: nobody is named; what is decided is decided by somebody.
        NotFound, NotAllowed: there is no such account, or it is disabled.
    """
    from monitor.db.users import actor_named

    chosen = name or os.environ.get(WHO)
    if not chosen:
        raise BadInput(f"expected --as NAME (or {WHO}): a decision is somebody's; `holdfast user list` names everybody")
    return actor_named(session, chosen)


def plain(text: str) -> str:
    """Text that somebody typed, on one line and without anything that a terminal would obey.

    >>> plain("looks good\\x1b[2J\\nreally")
    'looks good�[2J really'
    """
    return "".join(sign if sign.isprintable() else "�" for sign in " ".join(text.split()))


def person_or_owner(session: "Session", name: str | None) -> "Actor":
    """The named account, else the operating-system user that owns the data: for what an installer does."""
    from monitor.cli.actor import COMMAND_LINE

    return person(session, name) if name or os.environ.get(WHO) else COMMAND_LINE
