"""Bringing a database to the schema of this code, and saying plainly when the two differ."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

import monitor
from monitor.db.engine import make_engine
from monitor.errors import SchemaVersionMismatch, Unavailable


def scripts_folder() -> Path:
    """Where the migrations lie: inside the installed package, or beside it in a checkout."""
    package = Path(monitor.__file__).parent
    for folder in (package / "migrations", package.parent / "migrations"):
        if (folder / "env.py").exists():
            return folder
    raise Unavailable(f"expected migrations in {package}: install Holdfast again")


def configuration() -> Config:
    """Alembic's settings, made here so that no ini file has to travel."""
    config = Config()
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Run the migrations that the database at `url` lacks, all in one transaction; two at once wait for each other."""
    engine = make_engine(url, pool_size=1)
    try:
        with engine.begin() as connection:
            config = configuration()
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise SchemaVersionMismatch(_newer(revision(connection))) from error
    finally:
        engine.dispose()


def check(engine: Engine) -> None:
    """Raise `SchemaVersionMismatch` unless the database has exactly the schema of this code."""
    with engine.connect() as connection:
        found = revision(connection)
    scripts = ScriptDirectory.from_config(configuration())
    head = scripts.get_current_head()
    if found == head:
        return
    if found is None:
        raise SchemaVersionMismatch("the database has no Holdfast tables yet: run `holdfast db upgrade`")
    if found not in known_revisions():
        raise SchemaVersionMismatch(_newer(found))
    raise SchemaVersionMismatch(
        f"the database is at schema {found}, this Holdfast needs {head}: run `holdfast db upgrade`"
    )


def known_revisions() -> set[str]:
    """Every schema revision that this code can bring up to date."""
    return {script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()}


def revision(connection: Connection) -> str | None:
    """The schema revision of the database, None when it was never migrated."""
    return MigrationContext.configure(connection).get_current_revision()


def _newer(found: str | None) -> str:
    return f"the database is newer than this Holdfast (its schema {found} is unknown here): install a newer Holdfast"
