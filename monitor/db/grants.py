"""What the application's role may do in a database that another role owns: read all, change what its acts change."""

import psycopg
from psycopg import sql

from monitor.db.engine import libpq_url
from monitor.db.tables import METADATA
from monitor.errors import BadInput

# What people decided and what was recorded is added to and, but for these columns, never changed.
_KEPT: dict[str, tuple[str, ...]] = {
    "audit": (),
    "votes": ("decision", "reason", "at"),
    "envelopes": ("revoked_by", "revoked_at"),
    "freezes": ("lifted_by", "lifted_at"),
}
_UNDELETED = ("models", "proposals", "versions")


def grant_application(owner_url: str, role: str) -> None:
    """Let `role` run the application in the database of `owner_url`: it owns schema `traces` and no other table.

    Raises:
        BadInput: there is no such role, or the owner may not hand `traces` over to it.
    """
    with psycopg.connect(libpq_url(owner_url)) as connection:
        known = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        if known is None:
            raise BadInput(f"expected a role {role!r} in the database: CREATE ROLE {role} LOGIN, then try again")
        name = sql.Identifier(role)
        for statement in _statements():
            connection.execute(sql.SQL(statement).format(role=name))
        try:
            _hand_over_traces(connection, name)
        except psycopg.errors.InsufficientPrivilege as error:
            raise BadInput(
                f"expected the owner to be a member of {role}: GRANT {role} TO the role that migrates"
            ) from error


def _statements() -> list[str]:
    """The grants on control tables, `{role}` to be filled in."""
    found = [
        "GRANT USAGE ON SCHEMA public, guard TO {role}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public, guard TO {role}",
    ]
    for table in sorted(METADATA.tables):
        if table in _KEPT:
            columns = ", ".join(_KEPT[table])
            found.append(f"GRANT INSERT{f', UPDATE ({columns})' if columns else ''} ON public.{table} TO {{role}}")
        else:
            rights = "INSERT, UPDATE" if table in _UNDELETED else "INSERT, UPDATE, DELETE"
            found.append(f'GRANT {rights} ON public."{table}" TO {{role}}')
    return found


def _hand_over_traces(connection: psycopg.Connection, role: sql.Identifier) -> None:
    connection.execute(sql.SQL("ALTER SCHEMA traces OWNER TO {role}").format(role=role))
    owned = connection.execute(
        "SELECT c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'traces' AND c.relkind IN ('r', 'p', 'v')"
    )
    for table, kind in owned.fetchall():
        what = sql.SQL("VIEW" if kind == "v" else "TABLE")
        statement = sql.SQL("ALTER {what} traces.{table} OWNER TO {role}")
        connection.execute(statement.format(what=what, table=sql.Identifier(table), role=role))
