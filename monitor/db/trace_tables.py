"""The tables that each model's traces live in: made from its schema, cut by day, shown as a view with real names.

`traces.m<id>` holds the kept rows, `traces.ledger_m<id>` the ids of all rows, `traces.l<id>` the labels.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from psycopg import Connection, sql
from sqlalchemy.orm import Session

from monitor.db.bulk import driver
from monitor.db.registry import FeatureSchema, Model, schema_of
from monitor.errors import SchemaMismatch
from monitor.schema import Kind, Schema

FIXED = {
    "trace_id": "text NOT NULL",
    "event_time": "timestamptz NOT NULL",
    "version": "text NOT NULL",
    "score": "double precision",
    "prediction": "text",
    "weight": "double precision NOT NULL",  # 1 / probability of being kept
}
ENTITY = "entity"  # whom a row is about, as a key: a column that the first row that says so brings
RESERVED = (*FIXED, ENTITY, "label", "label_time", "kept")
_LONGEST_NAME = 63  # bytes of an identifier; PostgreSQL cuts off the rest
_LIKE_A_TABLE = re.compile(r"(m|l|ledger_m)\d+(_\w+)?")
_LOCK = 4_015_102  # with a model's id: the lock under which its partitions are made

_MAKE = (
    "CREATE TABLE IF NOT EXISTS {trace} ({fixed}) PARTITION BY RANGE (event_time)",
    "CREATE INDEX IF NOT EXISTS {by_time} ON {trace} USING brin (event_time)",
    "CREATE INDEX IF NOT EXISTS {by_id} ON {trace} (trace_id)",
    "CREATE TABLE IF NOT EXISTS {ledger} (event_time timestamptz, id uuid, PRIMARY KEY (event_time, id)) "
    "PARTITION BY RANGE (event_time)",
    "CREATE TABLE IF NOT EXISTS {label} (trace_id text, revision int, label text NOT NULL, "
    "label_time timestamptz NOT NULL, received_at timestamptz NOT NULL DEFAULT now(), superseded_at timestamptz, "
    "PRIMARY KEY (trace_id, revision))",
    "CREATE UNIQUE INDEX IF NOT EXISTS {newest} ON {label} (trace_id) WHERE superseded_at IS NULL",
)


def trace_table(model: Model) -> sql.Identifier:
    return sql.Identifier("traces", f"m{model.id:d}")


def ledger_table(model: Model) -> sql.Identifier:
    return sql.Identifier("traces", f"ledger_m{model.id:d}")


def tables_of(model: Model, days: Sequence[date]) -> tuple[sql.Identifier, sql.Identifier]:
    """Where rows of these days go, and their ledger: the day's own partitions where there is only one.

    The database then need not look at the partitions of every other day.
    """
    if len(days) == 1:
        trace, ledger = (sql.Identifier("traces", _part(table, days[0])) for table in _partitioned(model))
        return trace, ledger
    return trace_table(model), ledger_table(model)


def label_table(model: Model) -> sql.Identifier:
    return sql.Identifier("traces", f"l{model.id:d}")


def columns_for(schema: Schema, before: FeatureSchema | None = None) -> dict[str, str]:
    """The trace column of each feature: its present one while its type stays, else a fresh one."""
    known: Mapping[str, str] = before.columns if before else {}
    earlier = column_types(schema_of(before)) if before else {}
    fresh = 1 + max((int(column[1:]) for column in known.values()), default=-1)
    columns = {}
    for name, kind in column_types(schema).items():
        if earlier.get(name) == kind:
            columns[name] = known[name]
        else:
            columns[name] = f"f{fresh}"
            fresh += 1
    return columns


def column_types(schema: Schema) -> dict[str, str]:
    """The types of the trace columns of features and vectors; PostgreSQL does not hold a vector to its size."""
    types = {feature.name: column_type(feature.kind) for feature in schema.features}
    return types | {vector.name: f"real[{vector.size}]" for vector in schema.vectors}


def column_type(kind: Kind) -> str:
    """Booleans are kept as 0 and 1: every number comes back as the float that the statistics want."""
    return "text" if kind is Kind.CATEGORICAL else "double precision"


def create_trace_tables(session: Session, model: Model, columns: FeatureSchema) -> None:
    """Make the tables of a model, or add the columns that a newer schema needs; then the view.

    Raises:
        SchemaMismatch: a feature has a name that every trace uses itself, such as `score`.
    """
    schema = schema_of(columns)
    types = column_types(schema)
    taken = [name for name in types if name in RESERVED]
    if taken:
        raise SchemaMismatch(f"expected features not named {', '.join(RESERVED)}, got {', '.join(taken)}: rename them")
    connection = driver(session)
    names = {"trace": trace_table(model), "ledger": ledger_table(model), "label": label_table(model)}
    names |= {f"by_{key}": sql.Identifier(f"m{model.id:d}_by_{key}") for key in ("time", "id")}
    names["newest"] = sql.Identifier(f"l{model.id:d}_newest")
    fixed = sql.SQL(", ").join(sql.SQL(f"{name} {kind}") for name, kind in FIXED.items())
    for statement in _MAKE:
        connection.execute(sql.SQL(statement).format(fixed=fixed, **names))
    for name, kind in types.items():
        add = sql.SQL(f"ALTER TABLE {{}} ADD COLUMN IF NOT EXISTS {{}} {kind}")
        connection.execute(add.format(names["trace"], sql.Identifier(columns.columns[name])))
    for vector in schema.vectors:  # nothing is won by packing the digits of measured numbers
        whole = sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET STORAGE EXTERNAL")
        connection.execute(whole.format(names["trace"], sql.Identifier(columns.columns[vector.name])))
    _create_view(connection, model, columns.columns)


def ensure_entities(session: Session, model: Model) -> None:
    """Make the column for whom rows are about, and its index, where they are missing."""
    if has_entities(session, model):
        return
    connection = driver(session)
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, model.id])
    connection.execute(
        sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} text").format(trace_table(model), sql.Identifier(ENTITY))
    )
    by_entity = sql.Identifier(f"m{model.id:d}_by_entity")
    connection.execute(
        sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({entity}) WHERE {entity} IS NOT NULL").format(
            by_entity, trace_table(model), entity=sql.Identifier(ENTITY)
        )
    )


def has_entities(session: Session, model: Model) -> bool:
    """Whether a row of the model ever said whom it is about."""
    found = driver(session).execute(
        "SELECT 1 FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s", [f"traces.m{model.id:d}", ENTITY]
    )
    return found.fetchone() is not None


def view_name(model: Model) -> str:
    """The name under which people query the traces: the model's own, unless it is too long or looks like a table."""
    if len(model.name.encode()) > _LONGEST_NAME or _LIKE_A_TABLE.fullmatch(model.name):
        return f"{_cut(model.name, _LONGEST_NAME - 21)}_view{model.id:d}"
    return model.name


def ensure_partitions(session: Session, model: Model, days: Iterable[date]) -> None:
    """Make the partitions of these days that are missing."""
    connection = driver(session)
    wanted = {_part(table, day): (table, day) for day in days for table in _partitioned(model)}
    if not _missing(connection, wanted):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, model.id])
    for name in _missing(connection, wanted):
        table, day = wanted[name]
        start = datetime.combine(day, time.min, UTC)
        part, whole = sql.Identifier("traces", name), sql.Identifier("traces", table)
        # a table that is attached locks less than one that is created as a partition: readers go on
        connection.execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING DEFAULTS INCLUDING STORAGE)").format(part, whole)
        )
        attach = sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})")
        connection.execute(attach.format(whole, part, start, start + timedelta(days=1)))


def drop_before(session: Session, model: Model, moment: datetime) -> int:
    """Drop the partitions of days that end before `moment`; rows of those days are quarantined from then on.

    Returns how many days of traces were dropped.
    """
    connection = driver(session)
    connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, model.id])
    border = moment.astimezone(UTC).date()
    dropped = 0
    for table in _partitioned(model):
        found = connection.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass AND c.relname < %s ORDER BY 1",
            [f"traces.{table}", _part(table, border)],
        ).fetchall()
        for (name,) in found:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("traces", name)))
        dropped = max(dropped, len(found))
    start = datetime.combine(border, time.min, UTC)
    connection.execute(sql.SQL("DELETE FROM {} WHERE label_time < %s").format(label_table(model)), [start])
    model.oldest_kept = max(start, model.oldest_kept or start)
    return dropped


def _part(table: str, day: date) -> str:
    return f"{table}_p{day:%Y%m%d}"


def _partitioned(model: Model) -> tuple[str, str]:
    return f"m{model.id:d}", f"ledger_m{model.id:d}"


def _missing(connection: "Connection[tuple[object, ...]]", names: Iterable[str]) -> list[str]:
    wanted = list(names)
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'traces'::regnamespace AND relname = ANY(%s)", [wanted]
    )
    return sorted(set(wanted) - {str(row[0]) for row in rows})


def _create_view(connection: "Connection[tuple[object, ...]]", model: Model, columns: Mapping[str, str]) -> None:
    view = sql.Identifier("traces", view_name(model))
    shown = [sql.Identifier("t", name) for name in FIXED] + [
        sql.Identifier("l", "label"),
        sql.Identifier("l", "label_time"),
    ]
    aliases = _aliases(columns)
    named = [
        sql.SQL("{} AS {}").format(sql.Identifier("t", column), sql.Identifier(aliases[name]))
        for name, column in columns.items()
    ]
    connection.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
    connection.execute(
        sql.SQL(
            "CREATE VIEW {} AS SELECT {} FROM {} t "
            "LEFT JOIN {} l ON l.trace_id = t.trace_id AND l.superseded_at IS NULL"
        ).format(view, sql.SQL(", ").join([*shown, *named]), trace_table(model), label_table(model))
    )


def _aliases(columns: Mapping[str, str]) -> dict[str, str]:
    """Each feature's name as far as an identifier holds it; its column is added to one that had to be cut."""
    return {
        name: name if len(name.encode()) <= _LONGEST_NAME else f"{_cut(name, _LONGEST_NAME - 6)}_{column}"
        for name, column in columns.items()
    }


def _cut(name: str, length: int) -> str:
    return name.encode()[:length].decode(errors="ignore")
