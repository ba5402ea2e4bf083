import json
import zipfile

import pytest
from sqlalchemy import text

from monitor.db.audit import record, verify_chain
from monitor.db.backup import backup, restore
from monitor.db.engine import database_now, make_engine, transaction
from monitor.db.migrate import check
from monitor.db.registry import Model, model_named
from monitor.db.scratch import scratch_database
from monitor.errors import BadInput, SchemaVersionMismatch, Unavailable


@pytest.fixture
def artefacts(tmp_path):
    (tmp_path / "store" / "ab").mkdir(parents=True)
    (tmp_path / "store" / "ab" / "cd").write_bytes(b"\x00weights")
    return tmp_path / "store"


@pytest.fixture
def archive(engine, database_url, artefacts, tmp_path):
    with transaction(engine) as session:
        session.add(Model(name="fraud", owner="ann", task="classification"))
        record(session, "model.registered", by="ann", subject="model:1", at=database_now(session))
        session.execute(text("CREATE TABLE traces.m1 (t timestamptz) PARTITION BY RANGE (t)"))
        session.execute(
            text("CREATE TABLE traces.m1_p PARTITION OF traces.m1 FOR VALUES FROM (MINVALUE) TO (MAXVALUE)")
        )
        session.execute(text("INSERT INTO traces.m1 VALUES (now())"))
    backup(database_url, artefacts, tmp_path / "all.zip")
    return tmp_path / "all.zip"


@pytest.fixture
def empty_url(server_url):
    with scratch_database(server_url) as url:
        yield url


def rewrite(archive, change) -> None:
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(archive, "w") as new:
        for name, data in members.items():
            new.writestr(name, data)


def test_everything_comes_back(archive, empty_url, tmp_path):
    assert restore(empty_url, tmp_path / "new", archive) == "the database and 1 artefacts"
    engine = make_engine(empty_url)
    check(engine)
    with transaction(engine) as session:
        assert model_named(session, "fraud").owner == "ann"
        assert session.scalar(text("SELECT count(*) FROM traces.m1")) == 1
        assert verify_chain(session).ok
        session.add(Model(name="next", owner="ann", task="classification"))
    engine.dispose()
    assert (tmp_path / "new" / "ab" / "cd").read_bytes() == b"\x00weights"


def test_an_archive_is_for_its_owner_alone(archive):
    assert archive.stat().st_mode & 0o777 == 0o600


def test_a_database_with_models_is_left_alone(archive, database_url, artefacts):
    with pytest.raises(BadInput, match="this one holds fraud: restore into an empty one"):
        restore(database_url, artefacts, archive)


def test_a_damaged_archive_is_refused_before_anything_changes(archive, empty_url, tmp_path):
    rewrite(archive, lambda members: members.update({"database.dump": b"other"}))
    with pytest.raises(BadInput, match="these are not: database.dump"):
        restore(empty_url, tmp_path / "new", archive)
    engine = make_engine(empty_url)
    check(engine)
    engine.dispose()


def test_an_archive_that_would_write_outside_the_store_is_refused(archive, empty_url, tmp_path):
    def climb(members) -> None:
        manifest = json.loads(members["manifest.json"])
        manifest["sha256"]["artifacts/../../evil"] = manifest["sha256"]["artifacts/ab/cd"]
        members["artifacts/../../evil"] = members["artifacts/ab/cd"]
        members["manifest.json"] = json.dumps(manifest)

    rewrite(archive, climb)
    with pytest.raises(BadInput, match="evil"):
        restore(empty_url, tmp_path / "new", archive)


def test_an_archive_of_a_newer_holdfast_is_refused(archive, empty_url, tmp_path):
    def newer(members) -> None:
        members["manifest.json"] = json.dumps(json.loads(members["manifest.json"]) | {"revision": "9999"})

    rewrite(archive, newer)
    with pytest.raises(SchemaVersionMismatch, match="written by a newer Holdfast"):
        restore(empty_url, tmp_path / "new", archive)


def test_something_else_is_no_archive(tmp_path, empty_url):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    with pytest.raises(BadInput, match="expected an archive that `holdfast backup` wrote"):
        restore(empty_url, tmp_path, tmp_path / "x.zip")


def test_a_database_that_cannot_be_reached_leaves_no_archive(tmp_path):
    with pytest.raises(Unavailable, match="pg_dump failed"):
        backup(f"postgresql://nobody@/x?host={tmp_path}", tmp_path / "store", tmp_path / "all.zip")
    assert list(tmp_path.iterdir()) == []
