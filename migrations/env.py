"""Runs the migrations on the connection that `monitor.db.migrate` hands over."""

from alembic import context
from sqlalchemy import text

from monitor.db.tables import METADATA

_ONE_AT_A_TIME = 4_015_102_001  # the key of the lock that all migrating processes share

connection = context.config.attributes["connection"]
connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ONE_AT_A_TIME})
context.configure(connection=connection, target_metadata=METADATA, compare_type=True, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
