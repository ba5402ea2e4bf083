"""Databases for one use: a template is migrated once for each set of migrations, and cloned in milliseconds."""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from monitor.db.engine import libpq_url
from monitor.db.migrate import scripts_folder, upgrade

_TEMPLATE = "holdfast_template_"
_TEMPLATE_LOCK = 4_015_102_002


@contextmanager
def scratch_database(admin_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated database on the server of `admin_url`; it is dropped at the end."""
    name = f"holdfast_scratch_{uuid.uuid4().hex}"
    with psycopg.connect(libpq_url(admin_url), autocommit=True) as admin:
        template = _ensure_template(admin, admin_url)
        clone = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        admin.execute(clone)
    try:
        yield _on_same_server(admin_url, name)
    finally:
        with psycopg.connect(libpq_url(admin_url), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _ensure_template(admin: psycopg.Connection[tuple[object, ...]], admin_url: str) -> str:
    name = _TEMPLATE + _migrations_digest()
    admin.execute("SELECT pg_advisory_lock(%s)", [_TEMPLATE_LOCK])
    try:
        ready = admin.execute("SELECT datistemplate FROM pg_database WHERE datname = %s", [name]).fetchone()
        if ready is None or not ready[0]:  # a half-migrated one is not marked as a template
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            upgrade(_on_same_server(admin_url, name))
            admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(sql.Identifier(name)))
    finally:
        admin.execute("SELECT pg_advisory_unlock(%s)", [_TEMPLATE_LOCK])
    return name


def _migrations_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted((scripts_folder() / "versions").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _on_same_server(url: str, name: str) -> str:
    return make_url(libpq_url(url)).set(database=name).render_as_string(hide_password=False)


def fresh_database(admin_url: str, name: str) -> str:
    """The URL of an empty, migrated database `name`; what was in one of that name before is dropped."""
    with psycopg.connect(libpq_url(admin_url), autocommit=True) as admin:
        template = _ensure_template(admin, admin_url)
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        clone = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        admin.execute(clone)
    return _on_same_server(admin_url, name)
