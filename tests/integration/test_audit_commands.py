"""`holdfast audit`: the trail is listed, exported, signed and checked, live and far from the database."""

import csv
import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import Engine, text

from monitor.db.audit import record
from monitor.db.audit_heads import Keeper, read_heads, sign_newest, signing_key
from monitor.db.engine import transaction
from monitor.db.read_audit import Chosen, links, verify_trail
from monitor.db.users import create_user
from monitor.errors import BadInput, Unavailable
from monitor.scheduler import keep_head
from tests.commands import Commands
from tests.integration.test_door import Browser, client, seeded, stranger  # noqa: F401  (fixtures)
from tests.seeded import Seeded

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path / "home")


@pytest.fixture
def keeper(holdfast: Commands) -> Keeper:
    return Keeper.of(holdfast.home)


def acts(engine: Engine, count: int, *, model: str | None = None, actor: str = "ann") -> None:
    for number in range(count):
        with transaction(engine) as session:
            record(session, "model.frozen", by=actor, subject=f"model:{number}", at=NOW, model=model, reason="=1+1")


def tamper(engine: Engine, statement: str) -> None:
    """As somebody with the database owner's rights, past every trigger."""
    with transaction(engine) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(text(statement))


def sign_now(engine: Engine, keeper: Keeper) -> None:
    with transaction(engine) as session:
        sign_newest(session, keeper)


def test_the_key_is_its_owners_alone_and_made_once(keeper: Keeper):
    keys: list[str] = []

    def ask() -> None:
        keys.append(str(signing_key(keeper).public_key().public_bytes_raw().hex()))

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1
    assert stat.S_IMODE(keeper.key.stat().st_mode) == 0o600
    assert sorted(path.name for path in keeper.key.parent.iterdir()) == ["key", "key.pub"]
    keeper.key.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        signing_key(keeper)


def test_a_head_is_signed_when_the_chain_grew_and_not_twice(engine: Engine, keeper: Keeper):
    with transaction(engine) as session:
        assert sign_newest(session, keeper) is None
    acts(engine, 2)
    for _ in range(2):
        keep_head(engine, keeper)
    assert [head.number for head in read_heads(keeper.heads, keeper.public)] == [2]
    acts(engine, 1)
    sign_now(engine, keeper)
    with transaction(engine) as session:
        heads = read_heads(keeper.heads, keeper.public)
        assert verify_trail(session, heads).sentence == (
            "The audit chain is intact: 3 entries, and all 2 signed heads are in it."
        )


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit WHERE id >= 3",
        "UPDATE audit SET actor = 'eve' WHERE id = 3",
        "UPDATE audit SET hash = repeat('0', 64) WHERE id = 3",
        "DELETE FROM audit",
    ],
)
def test_a_chain_that_does_not_follow_its_last_head_is_not_signed(engine: Engine, keeper: Keeper, statement: str):
    acts(engine, 2)
    sign_now(engine, keeper)
    acts(engine, 1)
    sign_now(engine, keeper)
    acts(engine, 1)
    tamper(engine, statement.replace(">= 3", ">= 3 AND id < 9"))
    if "actor" in statement:  # an entry under an earlier head: found by a whole verification
        with transaction(engine) as session:
            found = verify_trail(session, read_heads(keeper.heads, keeper.public))
            assert (found.ok, found.first_bad) == (False, 3)
        return
    with transaction(engine) as session, pytest.raises(Unavailable, match="does not follow its last signed head"):
        sign_newest(session, keeper)
    keep_head(engine, keeper)  # the clock goes on
    assert len(read_heads(keeper.heads, keeper.public)) == 2


def test_what_was_left_of_a_line_when_the_machine_stopped_is_no_head(engine: Engine, keeper: Keeper):
    acts(engine, 1)
    sign_now(engine, keeper)
    with keeper.heads.open("a") as file:
        file.write('{"at":"2026')
    assert len(read_heads(keeper.heads, keeper.public)) == 1
    acts(engine, 1)
    sign_now(engine, keeper)
    assert [head.number for head in read_heads(keeper.heads, keeper.public)] == [1, 2]


def test_the_command_says_intact_altered_and_cut_with_exit_codes(holdfast: Commands, engine: Engine):
    acts(engine, 4)
    assert "No signed head was at hand" in holdfast.well("audit", "verify")
    assert "entry #4" in holdfast.well("audit", "sign")
    assert holdfast.well("audit", "sign") == ""
    assert "and all 1 signed heads are in it" in holdfast.well("audit", "verify")
    tamper(engine, "DELETE FROM audit WHERE id = 4")
    cut = holdfast("audit", "verify")
    assert (cut.code, "the tail was cut" in cut.out) == (2, True)
    tamper(engine, "UPDATE audit SET details = '{}' WHERE id = 2")
    altered = holdfast("audit", "verify")
    assert (altered.code, altered.out) == (2, "Entry #2 was altered after it was written.\n")


def test_an_export_is_verified_far_away_with_the_heads_and_the_public_key(
    holdfast: Commands, engine: Engine, tmp_path: Path
):
    acts(engine, 4, model="fraud")
    holdfast.well("audit", "sign")
    (tmp_path / "key.pub").write_text(holdfast.well("audit", "key"))
    heads = (holdfast.home / "audit" / "heads.jsonl").rename(tmp_path / "heads.jsonl")
    holdfast.well("audit", "export", tmp_path / "trail.jsonl")
    far = Commands(url="postgresql://nobody@127.0.0.1:1/none", home=tmp_path / "far")
    offline = ("audit", "verify", "--file", tmp_path / "trail.jsonl", "--heads", heads, "--key", tmp_path / "key.pub")
    assert "intact: 4 entries, and all 1 signed heads" in far.well(*offline)
    text_of = (tmp_path / "trail.jsonl").read_text()
    (tmp_path / "trail.jsonl").write_text(text_of.replace('"actor":"ann"', '"actor":"eve"', 1))
    answer = far(*offline)
    assert (answer.code, answer.out) == (2, "Entry #1 was altered after it was written.\n")
    assert far("audit", "verify", "--file", tmp_path / "trail.jsonl", "--heads", heads).code == 2
    assert "cannot be read" in far("audit", "verify", "--file", tmp_path / "none").err


def test_a_part_is_exported_by_model_and_time_and_says_that_it_is_one(
    holdfast: Commands, engine: Engine, tmp_path: Path
):
    acts(engine, 2, model="fraud")
    acts(engine, 1, model="credit")
    part = tmp_path / "part.jsonl"
    holdfast.well("audit", "export", part, "--model", "fraud", "--since", "2026-03-01", "--until", "2026-03-01")
    assert json.loads(part.read_text().splitlines()[0])["filter"]["model"] == "fraud"
    assert "its 2 entries are unaltered" in holdfast.well("audit", "verify", "--file", part)
    holdfast.well("audit", "export", part, "--until", "2026-02-28")
    assert "its 0 entries" in holdfast.well("audit", "verify", "--file", part)


def test_a_csv_is_for_reading_and_computes_nothing(holdfast: Commands, engine: Engine, tmp_path: Path):
    acts(engine, 1, actor="=cmd")
    holdfast.well("audit", "export", tmp_path / "trail.csv")
    with (tmp_path / "trail.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["actor"], json.loads(row["details"])) == ("'=cmd", {"reason": "=1+1"})
    assert "a CSV cannot be verified" in holdfast("audit", "verify", "--file", tmp_path / "trail.csv").err


def test_the_trail_is_listed_for_auditors_and_admins_alone(holdfast: Commands, engine: Engine):
    acts(engine, 3, model="fraud")
    with transaction(engine) as session:
        create_user(session, "vic", ["viewer"])
        create_user(session, "aud", ["auditor"])
    listed = holdfast("audit", "list", "--as", "aud", "--last", 2)
    assert [line.split()[0] for line in listed.out.splitlines()] == ["#3", "#2"]
    assert "2 of 3 are shown" in listed.err
    for command in (("audit", "list"), ("audit", "export", "x.jsonl")):
        assert "to read audit needs one of admin, auditor" in holdfast(*command, "--as", "vic").err


def test_the_sink_can_be_elsewhere(holdfast: Commands, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_AUDIT_SINK", str(tmp_path / "sink"))
    acts(engine, 1)
    holdfast.well("audit", "sign")
    assert (tmp_path / "sink" / "heads.jsonl").exists()
    assert not (holdfast.home / "audit" / "heads.jsonl").exists()
    assert "all 1 signed heads" in holdfast.well("audit", "verify")


def test_a_long_trail_is_read_in_batches(engine: Engine):
    acts(engine, 3)
    with transaction(engine) as session:
        stream = links(session, Chosen(actor="ann"))
        assert next(stream).number == 1
        assert len(session.identity_map) <= 2_000
        assert [link.number for link in stream] == [2, 3]


def test_the_api_lists_and_exports_the_trail_for_auditors_alone(
    client: Browser,  # noqa: F811
    engine: Engine,
    seeded: Seeded,  # noqa: F811
):
    assert {client.get(path).status_code for path in ("/v1/audit", "/v1/audit/export")} == {403}
    with transaction(engine) as session:
        session.execute(text("""UPDATE users SET roles = '["auditor"]'"""))
    acts(engine, 2, model="credit")
    listed = client.get("/v1/audit?model=credit&last=1").json()
    assert [(one["subject"], one["actor"]) for one in listed] == [("model:1", "ann")]
    exported = client.get("/v1/audit/export?model=credit")
    assert exported.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    assert len(exported.text.splitlines()) == 4
    assert client.get("/v1/audit/export?format=csv&actor=nobody").text.count("\r\n") == 1
    assert client.get("/v1/audit/export?format=xls").status_code == 422
