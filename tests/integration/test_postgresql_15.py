"""The oldest PostgreSQL that is supported, beside the embedded one: the same migrations, stream and acts on both."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, text

from monitor.acts.alerts import add_route
from monitor.acts.promotion import rollback
from monitor.db import backup as archive
from monitor.db.alerts import Alert, Outbox
from monitor.db.engine import database_now, make_engine, transaction
from monitor.db.migrate import check
from monitor.db.registry import model_named
from monitor.db.scratch import scratch_database
from monitor.db.traces import label_coverage
from monitor.windows import Window
from tests.governed import NOW, OMAR, govern
from tests.integration.test_rollback import promoted
from tests.streams import OWNER, World, drain_checks, register, rows_of, serve_days, tools_for, verdicts, window

pytestmark = pytest.mark.slow  # a second server

DEBIAN = Path("/usr/lib/postgresql/15/bin")
EMBEDDED, OLDEST = "embedded", "15"


@pytest.fixture(scope="module")
def oldest() -> Iterator[str]:
    """The URL of a cluster of PostgreSQL 15, on a socket in a folder of its own."""
    if not (DEBIAN / "initdb").exists():
        pytest.skip(f"needs PostgreSQL 15: there is no {DEBIAN}")
    folder = Path(tempfile.mkdtemp(prefix="holdfast-pg15-"))
    user = "nobody" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
    if user:
        shutil.chown(folder, user)
    server = [str(DEBIAN / "postgres"), "-D", "data", "-k", str(folder), "-h", "", "-c", "fsync=off"]
    initdb = [str(DEBIAN / "initdb"), "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]
    subprocess.run(initdb, cwd=folder, user=user, check=True, capture_output=True)
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(server, cwd=folder, user=user, stdout=log, stderr=log)
    try:
        _await(folder / ".s.PGSQL.5432", process)
        yield f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
    finally:
        process.send_signal(signal.SIGINT)  # a fast shutdown, by process id
        process.wait(timeout=60)
        shutil.rmtree(folder)


def _await(socket: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not socket.exists() and time.monotonic() < deadline:
        assert process.poll() is None, (socket.parent / "server.log").read_text()
        time.sleep(0.05)


@pytest.fixture(params=[EMBEDDED, OLDEST])
def server(request: pytest.FixtureRequest) -> str:
    """Each server in turn."""
    return request.getfixturevalue("server_url" if request.param == EMBEDDED else "oldest")


@pytest.fixture
def made(server: str) -> Iterator[Engine]:
    """An engine on a fresh database, migrated there."""
    with scratch_database(server) as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


def test_oldest_server_is_really_version_15(oldest):
    with scratch_database(oldest) as url:
        engine = make_engine(url)
        with engine.connect() as connection:
            assert str(connection.scalar(text("SHOW server_version"))).startswith("15.")
        check(engine)
        engine.dispose()


@pytest.mark.slow
def test_unit_error_in_a_stream_is_paged_once_and_its_message_sent(made, tmp_path):
    tools, world = tools_for(made, tmp_path), World(unit=(36, 38))
    register(made, world)
    with transaction(made) as session:
        add_route(
            session, name="file", url=(tmp_path / "messages").as_uri(), model=None, least_severity="page", by=OWNER,
            now=database_now(session),
        )  # fmt: skip
    serve_days(made, world, 28, 40)
    drain_checks(tools)
    judged = verdicts(made)
    assert [day for day, verdict in judged.items() if verdict == "pipeline_break"] == [36, 37]
    assert {judged[day] for day in range(28, 36)} == {"healthy"}
    [alert] = rows_of(made, Alert)
    assert (alert.severity, alert.verdict, alert.culprits[:1]) == ("page", "pipeline_break", ["amount"])
    assert {row.state for row in rows_of(made, Outbox)} == {"sent"}
    assert (tmp_path / "messages").read_text().count('"event": "fired"') == 1


def test_rows_and_labels_are_counted_once_whatever_is_repeated(made):
    world = World()
    register(made, world, reference=False, served=False)
    for _ in range(2):
        serve_days(made, world, 0, 2)
    with transaction(made) as session:
        model = model_named(session, "fraud")
        assert label_coverage(session, model, Window(window(0).start, window(1).end)) == (400, 400)


def test_promotion_is_rolled_back(made):
    with transaction(made) as session:
        promoted(session, govern(session))
    with transaction(made) as session:
        assert rollback(session, model_named(session, "fraud"), by=OMAR, reason="worse", now=NOW).name == "v1"


@pytest.mark.slow
def test_backup_is_restored_into_an_empty_database_of_the_same_server(made, server, tmp_path):
    world = World()
    register(made, world, reference=False, served=False)
    serve_days(made, world, 0, 2)
    (tmp_path / "artifacts").mkdir()
    archive.backup(made.url.render_as_string(hide_password=False), tmp_path / "artifacts", tmp_path / "all.zip")
    with scratch_database(server) as empty:
        archive.restore(empty, tmp_path / "artifacts", tmp_path / "all.zip")
        engine = make_engine(empty)
        with transaction(engine) as session:
            model = model_named(session, "fraud")
            assert label_coverage(session, model, Window(window(0).start, window(1).end)) == (400, 400)
        engine.dispose()
