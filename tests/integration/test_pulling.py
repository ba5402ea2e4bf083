"""One look at a source: rows and bookmark are stored together, and what cannot be read holds up nothing else."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from monitor.acts.sources import add_source, pause_source
from monitor.db.audit import entries
from monitor.db.engine import database_now, transaction
from monitor.db.jobs import Job
from monitor.db.quarantine import Quarantined
from monitor.db.registry import Model, Source, model_named, source_of
from monitor.errors import BadInput
from monitor.intake.columns import Columns
from monitor.intake.pulling import PATIENCE, Pull, Pulled, settle
from monitor.intake.sources import contract
from monitor.jobs.plan import plan_sources
from monitor.jobs.worker import Worker
from tests.streams import OWNER, World, register, rows_of, tools_for

COLUMNS = Columns(time=("event_time",), id="trace_id", score="score", target="label", drop=("version", "prediction"))


@pytest.fixture
def logs(engine: Engine, tmp_path: Path) -> Path:
    """A folder that the model `fraud` reads by schedule, with one good file."""
    register(engine, World(), served=False)
    folder = tmp_path / "logs"
    folder.mkdir()
    World().day(0).to_csv(folder / "a.csv", index=False)
    declare(engine, location=f"{folder}/*", every_seconds=300)
    return folder


def declare(engine: Engine, *, location: str, kind: str = "files", columns: Columns = COLUMNS, **more: object) -> None:
    with transaction(engine) as session:
        add_source(
            session, model_named(session, "fraud"), name="logs", kind=kind, location=location, columns=columns,
            by=OWNER, now=database_now(session), **more,
        )  # fmt: skip


def source(engine: Engine) -> Source:
    (found,) = rows_of(engine, Source)
    return found


def look(engine: Engine, **changes: object) -> Pulled:
    """One look, settled."""
    pull = {"transaction": lambda: transaction(engine), "source_id": source(engine).id, "secret": lambda name: ""}
    pulled = Pull(**{**pull, **changes}).run()
    with transaction(engine) as session:
        settle(session, source(engine).id, pulled, database_now(session))
    return pulled


def watermark(engine: Engine) -> datetime | None:
    with transaction(engine) as session:
        return model_named(session, "fraud").watermark


def stored(engine: Engine) -> int:
    with transaction(engine) as session:
        number = model_named(session, "fraud").id
        return session.scalar(text(f"SELECT count(*) FROM traces.ledger_m{number}")) or 0


def test_a_look_takes_in_rows_and_labels_once(engine: Engine, logs: Path):
    pulled = look(engine)
    assert (pulled.accepted, pulled.labels, pulled.faults) == (200, 200, {})
    assert watermark(engine) == World().day(0)["event_time"].max()
    again = look(engine)
    assert (again.accepted, again.duplicate) == (0, 0)


def test_a_file_that_cannot_be_read_is_told_and_holds_up_no_other(engine: Engine, logs: Path):
    (logs / "0.parquet").write_bytes(b"half")
    (logs / "1.csv").write_text("event_time,trace_id\n")  # a header alone is no fault
    (logs / "2.csv").write_text("other,columns\n1,2\n")
    pulled = look(engine)
    assert pulled.accepted == 200
    assert [Path(key).name for key in pulled.faults] == ["0.parquet", "2.csv"]
    told = source(engine)
    assert "expected parquet in 0.parquet, it cannot be read" in (told.last_error or "")
    assert "2.csv: expected a column 'event_time'" in (told.last_error or "")
    assert told.failures == 1


def test_stream_time_waits_for_a_file_that_cannot_be_read_but_not_for_ever(engine: Engine, logs: Path):
    (logs / "0.parquet").write_bytes(b"half")
    for _ in range(PATIENCE - 1):
        look(engine)
    assert watermark(engine) is None
    look(engine)
    assert watermark(engine) == World().day(0)["event_time"].max()


def test_single_bad_rows_are_quarantined_and_the_others_go_on(engine: Engine, logs: Path):
    day = World().day(1).astype({"event_time": str})
    day.loc[3, "event_time"] = "yesterday"
    day.loc[4, "score"] = 1.5
    day.loc[5, "trace_id"] = None
    day.to_csv(logs / "b.csv", index=False)
    with (logs / "b.csv").open("a") as log:
        log.write("one,field,too,many,for,this,file,and,more,and,more\n")
    pulled = look(engine)
    assert (pulled.accepted, pulled.quarantined, pulled.faults) == (397, 4, {})
    reasons = sorted(row.reason for row in rows_of(engine, Quarantined))
    assert reasons == [
        "event_time: expected a time, got 'yesterday'",
        "expected 9 fields as in the header, got 11",
        "score: expected a probability, got '1.5'",
        "trace_id: expected an id, got none",
    ]


def test_rows_and_their_bookmark_are_stored_together_or_not_at_all(
    engine: Engine, logs: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(contract, "MOST_ROWS", 60)
    monkeypatch.setattr(contract, "LEAST_ROWS", 60)
    opened = 0

    @contextmanager
    def dying() -> Iterator[Session]:
        nonlocal opened
        with transaction(engine) as session:
            yield session
            session.flush()
            opened += 1
            if opened == 3:  # the first transaction reads, the second stores a part
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(engine, transaction=dying)
    assert stored(engine) == 60
    rest = look(engine)
    assert (rest.accepted, rest.duplicate, stored(engine)) == (140, 0, 200)


def test_of_two_looks_at_once_one_gives_way(engine: Engine, logs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contract, "MOST_ROWS", 60)
    monkeypatch.setattr(contract, "LEAST_ROWS", 60)
    said: list[str] = []

    def other(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 1:
            look(engine)  # the other one takes the rest

    pulled = look(engine, say=other)
    assert (pulled.accepted, pulled.faults, stored(engine)) == (60, {}, 200)
    assert said[-1] == "a.csv: another process has read on from here; it goes on next time"


def planned(engine: Engine) -> int:
    with transaction(engine) as session:
        return plan_sources(session)


def due_now(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(update(Source).values(due_at=database_now(session)))


def test_a_source_is_read_when_it_is_due_and_a_failing_one_later_and_later(engine: Engine, logs: Path, tmp_path: Path):
    worker = Worker(tools_for(engine, tmp_path), "one", kinds=["pull"])
    assert (planned(engine), planned(engine)) == (1, 0)
    assert worker.run_once()
    assert stored(engine) == 200
    assert source(engine).due_at == source(engine).pulled_at + timedelta(seconds=300)
    assert planned(engine) == 0
    (logs / "b.parquet").write_bytes(b"half")
    for failures in (1, 2):
        due_now(engine)
        assert planned(engine) == 1
        worker.run_once()
        assert source(engine).due_at == source(engine).pulled_at + timedelta(seconds=300 * 2**failures)
    World().day(1).to_parquet(logs / "b.parquet")
    due_now(engine)
    planned(engine)
    worker.run_once()
    assert (stored(engine), source(engine).failures, source(engine).last_error) == (400, 0, None)
    assert {job.state for job in rows_of(engine, Job) if job.kind == "pull"} == {"done"}


def test_a_look_that_is_told_to_stop_goes_on_at_once_after_the_others(engine: Engine, logs: Path):
    World().day(1).to_csv(logs / "b.csv", index=False)
    assert not look(engine, should_stop=lambda: True).over
    assert source(engine).due_at == source(engine).pulled_at
    assert watermark(engine) is None


def test_a_paused_source_and_that_of_a_retired_model_are_not_read(engine: Engine, logs: Path):
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        pause_source(session, model, source_of(session, model, "logs"), by=OWNER, now=database_now(session))
    assert planned(engine) == 0
    with transaction(engine) as session:
        session.execute(update(Source).values(paused=False))
        session.execute(update(Model).values(retired_at=database_now(session)))
    assert planned(engine) == 0


def test_labels_come_from_a_table_of_their_own(engine: Engine, tmp_path: Path):
    register(engine, World(), served=False)
    path = tmp_path / "truth.db"
    truth = World().day(0)[["trace_id", "label"]].assign(known="2026-01-20T00:00:00Z", at=range(200))
    with sqlite3.connect(path) as connection:
        truth.to_sql("truth", connection, index=False)
    columns = Columns(time=("known",), id="trace_id", target="label", labels_only=True)
    declare(
        engine, kind="sql", location=f"sqlite:///{path}", columns=columns, settings={"table": "truth", "cursor": "at"}
    )
    pulled = look(engine)
    assert (pulled.accepted, pulled.labels, pulled.faults) == (0, 200, {})
    with transaction(engine) as session:
        number = model_named(session, "fraud").id
        known = session.scalars(text(f"SELECT DISTINCT label_time FROM traces.l{number}")).all()
    assert known == [datetime.fromisoformat("2026-01-20T00:00:00Z")]


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("postgresql://ann:hunter2@db/shop", r"postgresql://user:\${WAREHOUSE_PASSWORD}@host/db"),
        ("postgresql://ann@db/shop?password=hunter2", "password in a variable"),
        ("postgresql://ann:a/b@db/shop", "password in a variable"),
        ("postgresql://ann:${DATABASE_URL}@db/shop", "DATABASE_URL, which is Holdfast's"),
        ("postgresql://ann:${HOLDFAST_WEBHOOK_SECRET}@db/shop", "which is Holdfast's"),
        ("no address", "expected a database's address"),
    ],
)
def test_a_password_in_clear_is_not_kept(engine: Engine, location: str, sentence: str):
    register(engine, World(), served=False)
    with pytest.raises(BadInput, match=sentence) as refused:
        declare(engine, kind="sql", location=location, settings={"table": "t", "cursor": "id"})
    assert "hunter2" not in str(refused.value)
    assert rows_of(engine, Source) == []


def test_a_database_that_does_not_answer_is_told_without_its_password(engine: Engine, free_port: int):
    register(engine, World(), served=False)
    location = f"postgresql://ann:${{SHOP_PASSWORD}}@127.0.0.1:{free_port}/shop"
    declare(engine, kind="sql", location=location, settings={"table": "t", "cursor": "id"}, every_seconds=60)
    look(engine)
    assert "expected the variable SHOP_PASSWORD in the environment" in (source(engine).last_error or "")
    look(engine, secret=lambda name: "hunter2")
    told = source(engine)
    assert "expected an answer from t at 127.0.0.1" in (told.last_error or "")
    assert "hunter2" not in f"{told.last_error} {told.location} {told.settings}"
    assert told.failures == 2


def test_a_query_cannot_write(engine: Engine, database_url: str):
    register(engine, World(), served=False)
    with transaction(engine) as session:
        session.execute(text("CREATE SEQUENCE counter"))
    query = "SELECT nextval('counter') AS id, now() AS t"
    declare(
        engine, kind="sql", location=database_url, settings={"query": query, "cursor": "id"},
        columns=Columns(time=("t",), id="id"),
    )  # fmt: skip
    look(engine)
    assert "read-only transaction" in (source(engine).last_error or "")


def test_every_act_on_a_source_is_on_record(engine: Engine, logs: Path):
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        found = source_of(session, model, "logs")
        for _ in range(2):
            pause_source(session, model, found, by=OWNER, now=database_now(session))
    with transaction(engine) as session:
        acts = [entry.action for entry in entries(session) if entry.action.startswith("source.")]
        assert acts == ["source.added", "source.paused"]
        assert session.scalar(select(Source.paused))


def test_many_rows_of_one_cursor_value_are_known_again_by_intake(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("monitor.intake.sources.sql.MOST_TIES", 20)
    register(engine, World(), served=False)
    path = tmp_path / "log.db"

    def add(frame: pd.DataFrame) -> None:
        with sqlite3.connect(path) as connection:
            frame.assign(loaded=1).to_sql("log", connection, index=False, if_exists="append")

    add(World().day(0)[50:])
    declare(engine, kind="sql", location=f"sqlite:///{path}", settings={"table": "log", "cursor": "loaded"},
            columns=Columns(time=("event_time",), id="trace_id", drop=("version", "prediction", "loaded")))  # fmt: skip
    look(engine)
    add(World().day(0)[:50])
    pulled = look(engine)
    assert (pulled.accepted, pulled.duplicate, stored(engine)) == (50, 150, 200)
