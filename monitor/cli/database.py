"""`holdfast db`: the database's schema."""

import typer

from monitor.errors import BadInput
from monitor.settings import Settings

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The database's schema."""


@app.command()
def upgrade() -> None:
    """Bring the schema of DATABASE_URL (or HOLDFAST_MIGRATE_URL) to this version; the embedded one needs no command.

    With both, the role of DATABASE_URL is granted what the application needs and no more.
    """
    import os

    from monitor.db import embedded, engine, grants, migrate

    settings = Settings.load()
    owner_url = os.environ.get("HOLDFAST_MIGRATE_URL")
    url = owner_url or settings.database_url
    if url is None:
        url = embedded.start(settings.home)
    with engine.opened(url):
        migrate.upgrade(url)
    print("the schema is up to date")
    role = engine.role_of(settings.database_url) if owner_url and settings.database_url else None
    if owner_url and role and role != engine.role_of(owner_url):
        grants.grant_application(owner_url, role)
        print(f"the role {role} may run the application, and owns nothing but the traces")


@app.command()
def check() -> None:
    """Say whether the schema of the database fits this version."""
    from monitor.db import engine, migrate

    settings = Settings.load()
    if settings.database_url is None:
        raise BadInput("expected DATABASE_URL; the embedded database is migrated by itself")
    with engine.opened(settings.database_url) as connected:
        migrate.check(connected)
    print("the schema fits")
