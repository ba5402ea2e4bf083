"""The application's role in a database that another one owns: all of its work, and by raw SQL no illegal promotion."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from monitor.db.audit import record, verify_chain
from monitor.db.engine import libpq_url, make_engine, sessions, transaction
from monitor.db.grants import grant_application
from monitor.errors import BadInput, IllegalTransition
from tests.governed import ANA, NOW, govern, proposed, serve
from tests.integration.test_rollback import promoted
from tests.loop import PEOPLE
from tests.oracle import illegal_promotions

FUZZ = Path(__file__).parents[1] / "fuzz.sql"
SEQUENCES, STEPS = 500, 20


@pytest.fixture
def role(engine: Engine, database_url: str) -> Iterator[str]:
    """A role that owns nothing but the traces."""
    name = f"app_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(libpq_url(database_url), autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
        grant_application(database_url, name)
        yield name
        for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
            owner.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.fixture
def application(role: str, database_url: str) -> Iterator[Engine]:
    made = make_engine(make_url(database_url).set(username=role).render_as_string(hide_password=False))
    yield made
    made.dispose()


def test_the_application_registers_samples_retrains_and_rolls_back_under_its_role(application: Engine):
    with transaction(application) as session:
        governed = govern(session)
        serve(session, governed.model, 0, 2)
        promoted(session, governed)
    with transaction(application) as session:
        assert verify_chain(session).ok


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "DELETE FROM votes",
        "DELETE FROM proposals",
        "DELETE FROM versions",
        "UPDATE models SET tier = 0",
        "UPDATE alembic_version SET version_num = '0004'",
        "ALTER TABLE votes DISABLE TRIGGER ALL",
        "DROP TRIGGER append ON audit",
        "SET session_replication_role = 'replica'",
        "INSERT INTO guard.transitions VALUES ('draft', 'promoted')",
        "CREATE OR REPLACE FUNCTION guard.holds(account text, VARIADIC wanted text[]) RETURNS boolean "
        "LANGUAGE sql AS 'SELECT true'",
    ],
)
def test_what_was_decided_and_recorded_cannot_be_rewritten(application: Engine, statement: str):
    with transaction(application) as session:
        promoted(session, govern(session))
    refused = pytest.raises((IllegalTransition, ProgrammingError), match="permission denied|must be owner|refused|stay")
    with refused, transaction(application) as session:
        session.execute(text(statement))
    with transaction(application) as session:
        assert verify_chain(session).ok


def test_an_entry_out_of_order_is_refused(application: Engine):
    with transaction(application) as session:
        record(session, "a", by="ann", subject="s", at=NOW)
    forged = (
        "INSERT INTO audit (at, actor, action, subject, details, previous_hash, hash) "
        "VALUES (now(), 'eve', 'b', 's', '{}', :before, :hash)"
    )
    with pytest.raises(IllegalTransition, match="must follow the newest"), transaction(application) as session:
        session.execute(text(forged), {"before": "0" * 64, "hash": "1" * 64})


def test_a_vote_by_raw_sql_needs_an_account_with_the_role(application: Engine):
    with transaction(application) as session:
        proposal = proposed(session, govern(session).model)
        sha = proposal.evidence_sha256
    ballot = text(
        "INSERT INTO votes (proposal_id, stage, actor, decision, reason, evidence_sha256, self_approved, as_validator) "
        "VALUES (:id, 'training', :actor, 'approve', '', :sha, false, false)"
    )
    for actor, of in (("omar", sha), ("nobody", sha), (ANA.name, "f" * 64)):
        with pytest.raises(IllegalTransition), transaction(application) as session:
            session.execute(ballot, {"id": proposal.id, "actor": actor, "sha": of})
    with transaction(application) as session:
        session.execute(ballot, {"id": proposal.id, "actor": ANA.name, "sha": sha})


def test_granting_to_a_role_that_is_not_there_says_so(database_url: str, engine: Engine):
    with pytest.raises(BadInput, match="CREATE ROLE nobody_there LOGIN"):
        grant_application(database_url, "nobody_there")


def prepare(engine: Engine, role: str) -> None:
    """The people, and the fuzzer that the role may call."""
    with transaction(engine) as session:
        people = "INSERT INTO users (name, roles, disabled) VALUES (:name, CAST(:roles AS jsonb), false)"
        for person in PEOPLE:
            roles = "[" + ", ".join(f'"{one}"' for one in sorted(person.roles)) + "]"
            session.execute(text(people), {"name": person.name, "roles": roles})
        session.execute(text(people), {"name": "eve", "roles": '["operator"]'})
    with psycopg.connect(libpq_url(engine.url.render_as_string(hide_password=False)), autocommit=True) as owner:
        owner.execute(FUZZ.read_text(encoding="utf-8"))
        for grant in ("USAGE ON SCHEMA fuzz", "ALL ON ALL TABLES IN SCHEMA fuzz"):
            owner.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(grant), sql.Identifier(role)))


def fuzz(url: str, role: str, *, sequences: int, steps: int, seed: float) -> None:
    """Run the sequences as the role, each step a transaction that is committed."""
    as_role = make_url(libpq_url(url)).set(username=role).render_as_string(hide_password=False)
    with psycopg.connect(as_role, autocommit=True) as connection:
        connection.execute(f"CALL fuzz.run({sequences:d}, {steps:d}, {seed:f})")


@pytest.mark.slow
def test_no_random_sequence_of_raw_sql_promotes_illegally(engine: Engine, role: str, database_url: str):
    prepare(engine, role)
    fuzz(database_url, role, sequences=SEQUENCES, steps=STEPS, seed=0.1)
    with sessions(engine)() as session:
        assert illegal_promotions(session.connection()) == []
        allowed = {row.act: row.allowed for row in session.execute(text("SELECT * FROM fuzz.tally"))}
        assert min(allowed[act] for act in ("propose", "step", "vote", "promote")) > 0, allowed
