from pathlib import Path

import psycopg
import pytest

from monitor.db import embedded
from monitor.db.engine import make_engine, ping
from monitor.errors import BadInput, Unavailable


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    embedded.stop(tmp_path)


def test_starting_twice_gives_the_same_database(home):
    first = embedded.start(home)
    with psycopg.connect(first) as connection:
        connection.execute("CREATE TABLE kept (n int)")
    assert embedded.start(home) == first == embedded.running(home)


def test_data_survive_a_stop(home):
    with psycopg.connect(embedded.start(home)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    embedded.stop(home)
    assert embedded.running(home) is None
    with psycopg.connect(embedded.start(home)) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_the_server_listens_on_no_tcp_port(home):
    with psycopg.connect(embedded.start(home)) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_a_home_with_a_long_path_gets_a_short_socket(tmp_path):
    home = tmp_path / ("long" * 30)
    try:
        with psycopg.connect(embedded.start(home)) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        socket_folder = Path(embedded.running(home).rsplit("=", 1)[1].replace("%2F", "/"))
        assert socket_folder.stat().st_mode & 0o777 == 0o700
    finally:
        embedded.stop(home)
    assert not socket_folder.exists()


def test_stopping_what_never_ran_is_harmless(tmp_path):
    embedded.stop(tmp_path)
    assert embedded.running(tmp_path) is None


def test_a_server_that_does_not_answer_is_unavailable_in_words(tmp_path):
    engine = make_engine(f"postgresql://nobody@/holdfast?host={tmp_path}")
    with pytest.raises(Unavailable, match="expected PostgreSQL at .*holdfast doctor"):
        ping(engine)


def test_only_postgresql_is_taken():
    with pytest.raises(BadInput, match="expected a postgresql:// URL, got sqlite://"):
        make_engine("sqlite:///state.db")


def test_the_tools_of_postgresql_come_along():
    assert embedded.tool_path("pg_dump").exists()
    with pytest.raises(BadInput, match="pg_dump, pg_restore or psql"):
        embedded.tool_path("pg_magic")
