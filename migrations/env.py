"""Runs the migrations on the connection that `monitor.db.migrate` hands over."""

from alembic import context
from sqlalchemy import text

from monitor.db import alerts, audit, checks, jobs, profiles, quarantine, registry, retraining, users  # noqa: F401
from monitor.db.base import Base

_ONE_AT_A_TIME = 4_015_102_001  # the key of the lock that all migrating processes share

connection = context.config.attributes["connection"]
connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
