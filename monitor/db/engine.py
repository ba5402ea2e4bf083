"""Connections: one engine a process, UTC everywhere, the database's clock for decisions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Engine, create_engine, func, make_url, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from monitor.errors import BadInput, HoldfastError, IllegalTransition, NotAllowed, StaleDecision, Unavailable

CONNECT_TIMEOUT_SECONDS = 10
ON_REFUSAL = "on_refusal"  # the key of a session's info: writes down an act that was refused
REFUSED = "HF001"  # the SQLSTATE with which the database's own guards refuse (migrations/versions/0005_guards.sql)


def driver_url(url: str) -> str:
    """The URL with the driver that the platform is written for."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise BadInput(
            f"expected a postgresql:// URL, got {parsed.drivername}://: Holdfast keeps its state in PostgreSQL"
        )
    return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def libpq_url(url: str) -> str:
    """The URL as PostgreSQL's own tools read it."""
    return make_url(driver_url(url)).set(drivername="postgresql").render_as_string(hide_password=False)


def role_of(url: str) -> str | None:
    """The role that the URL connects as, None when it leaves that to the environment."""
    return make_url(driver_url(url)).username


def make_engine(url: str, *, pool_size: int = 5) -> Engine:
    """An engine whose sessions speak UTC; a connection that died in the pool is replaced before use."""
    return create_engine(
        driver_url(url),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, "options": "-c timezone=UTC"},
    )


def ping(engine: Engine) -> None:
    """Ask the database one question; raise `Unavailable` with its address when nobody answers."""
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except OperationalError as error:
        address = engine.url.render_as_string(hide_password=True)
        cause = str(error.orig).strip().splitlines()[0]
        raise Unavailable(
            f"expected PostgreSQL at {address}, got: {cause}. Is it running? See `holdfast doctor`"
        ) from error


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine on a database that answers; its connections are closed at the end.

    Raises:
        Unavailable: nobody answers.
    """
    engine = make_engine(url)
    try:
        ping(engine)
        yield engine
    finally:
        engine.dispose()


def sessions(engine: Engine) -> sessionmaker[Session]:
    """A factory of sessions whose rows stay readable after COMMIT."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session that commits when the block ends well and rolls back when it raises.

    A refusal is put on record in a transaction of its own by what `Session.info[ON_REFUSAL]` holds.

    Raises:
        IllegalTransition: a guard of the database refused; nothing was written.
    """
    session = Session(engine, expire_on_commit=False)
    try:
        with session, session.begin():
            yield session
    except DBAPIError as error:
        sentence = refusal(error)
        if sentence is None:
            raise
        refused = IllegalTransition(sentence)
        _put_down(engine, session, refused)
        raise refused from error
    except (NotAllowed, StaleDecision, IllegalTransition) as error:
        _put_down(engine, session, error)
        raise


def _put_down(engine: Engine, refused: Session, error: HoldfastError) -> None:
    write = refused.info.get(ON_REFUSAL)
    if write is not None:
        with sessions(engine).begin() as session:
            write(session, error)


def refusal(error: DBAPIError) -> str | None:
    """The sentence with which a guard of the database refused, None when it was something else."""
    if getattr(error.orig, "sqlstate", None) != REFUSED:
        return None
    return str(error.orig).splitlines()[0]


def database_now(session: Session) -> datetime:
    """The database's clock, as of the start of the transaction."""
    return session.execute(select(func.now())).scalar_one()
