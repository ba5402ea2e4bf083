import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from monitor.db.embedded import ensure_database
from monitor.db.engine import make_engine
from monitor.db.migrate import check, configuration, upgrade
from monitor.db.tables import METADATA
from monitor.errors import SchemaVersionMismatch
from monitor.governance import TRANSITIONS


def test_the_migrations_make_exactly_the_declared_tables(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, METADATA) == []


def test_the_migrations_make_every_declared_check_constraint(engine):
    declared = {
        str(constraint.name)
        for table in METADATA.tables.values()
        for constraint in table.constraints
        if constraint.__visit_name__ == "check_constraint"
    }
    with engine.connect() as connection:
        found = connection.scalars(text("SELECT conname FROM pg_constraint WHERE contype = 'c'")).all()
    assert declared <= set(found)


def test_a_migrated_database_passes_the_check(engine, database_url):
    upgrade(database_url)
    check(engine)


def test_an_empty_database_is_told_to_upgrade(server_url):
    engine = make_engine(ensure_database(server_url, "never_migrated"))
    with pytest.raises(SchemaVersionMismatch, match="no Holdfast tables yet: run `holdfast db upgrade`"):
        check(engine)
    engine.dispose()


def test_a_database_of_a_newer_holdfast_is_left_alone(engine, database_url):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaVersionMismatch, match="newer than this Holdfast"):
        check(engine)
    with pytest.raises(SchemaVersionMismatch, match="newer than this Holdfast"):
        upgrade(database_url)


def test_the_first_migration_can_be_undone(engine):
    with engine.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = text("SELECT tablename FROM pg_tables WHERE schemaname IN ('public', 'traces')")
        assert connection.scalars(left).all() == ["alembic_version"]


def test_several_classes_are_not_undone_while_a_model_has_them(engine):
    columns = "name, owner, task, tier, solo, frozen, settings"
    row = "'plans', 'ana', 'multiclass', 1, false, false, '{}'"
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO models ({columns}) VALUES ({row})"))
    with engine.connect() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        with pytest.raises(IntegrityError, match="ck_models_task_known"):
            command.downgrade(config, "0005")


def test_the_database_admits_the_steps_that_the_code_knows(engine):
    with engine.connect() as connection:
        admitted = set(connection.execute(text("SELECT before, after FROM guard.transitions")))
    assert admitted == {(str(here), str(there)) for here, onward in TRANSITIONS.items() for there in onward}
