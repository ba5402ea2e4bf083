"""Every kind of source keeps one contract: parts after a mark, nothing twice and nothing lost, faults that are told."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import psycopg
import pytest

from monitor import vectors
from monitor.db.engine import libpq_url
from monitor.db.scratch import scratch_database
from monitor.errors import BadInput, Unavailable
from monitor.intake.columns import Columns
from monitor.intake.sources import contract
from monitor.intake.sources.contract import TraceSource
from monitor.intake.sources.registry import KINDS, open_source

COLUMNS = Columns(time=("ts",), id="id")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source, how rows are added to it, and how it goes away."""

    kind: str
    location: str
    settings: dict[str, Any]
    add: Callable[[pd.DataFrame], None]
    vanish: Callable[[], None]

    def open(self) -> TraceSource:
        return open_source(self.kind, self.location, settings=self.settings, columns=COLUMNS, secret=lambda name: "")


def rows(first: int, last: int) -> pd.DataFrame:
    """Rows [first, last); the cursor of a table stands still for seven rows at a time."""
    numbers = range(first, last)
    times = [f"2026-01-01T00:00:{n // 7:02}+00:00" for n in numbers]
    return pd.DataFrame(
        {"id": [f"r{n:04}" for n in numbers], "ts": times, "changed": [n // 7 for n in numbers],
         "face": [[n / 4, -1.5] for n in numbers]}
    )  # fmt: skip


def _growing(path: Path, written: Callable[[pd.DataFrame, bool], str]) -> Case:
    def add(frame: pd.DataFrame) -> None:
        with path.open("a") as log:
            log.write(written(frame, log.tell() == 0))

    return Case(kind="files", location=str(path), settings={}, add=add, vanish=path.unlink)


def _csv(frame: pd.DataFrame, first: bool) -> str:
    return frame.to_csv(index=False, header=first)


def _files(tmp_path: Path, location: str, ending: str) -> Case:
    """One more file for each batch; the location is a pattern."""
    system, folder = fsspec.url_to_fs(location.rpartition("/")[0])
    system.makedirs(folder, exist_ok=True)
    count = iter(range(1_000))

    def add(frame: pd.DataFrame) -> None:
        with system.open(f"{folder}/{next(count):03}.{ending}", "wb") as file:
            if ending == "parquet":
                frame.to_parquet(file, row_group_size=5)
            else:
                file.write(frame.to_csv(index=False).encode())

    return Case(kind="files", location=location, settings={}, add=add, vanish=lambda: system.rm(folder, recursive=True))


def _sql(
    url: str, connect: Callable[[], Any], vanish: Callable[[], None], mark: str, face: str, **settings: str
) -> Case:
    with connect() as connection:
        connection.execute(f"CREATE TABLE log (id text, ts text, changed integer, face {face})")

    def add(frame: pd.DataFrame) -> None:
        if frame.empty:
            return
        with connect() as connection:
            values = ", ".join(f"({', '.join([mark] * 4)})" for _ in range(len(frame)))
            told = frame if face == "real[]" else frame.assign(face=frame["face"].map(json.dumps))
            connection.execute(f"INSERT INTO log VALUES {values}", [v for row in told.values.tolist() for v in row])
            connection.commit()

    return Case(kind="sql", location=url, settings={"cursor": "changed", **settings}, add=add, vanish=vanish)


@pytest.fixture(params=["csv", "jsonl", "csv.files", "parquet", "file", "memory", "sqlite", "postgresql", "query"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    match request.param:
        case "csv":
            yield _growing(tmp_path / "log.csv", _csv)
        case "jsonl":
            yield _growing(tmp_path / "log.jsonl", lambda frame, _: frame.to_json(orient="records", lines=True))
        case "csv.files":
            yield _files(tmp_path, f"{tmp_path}/logs/*.csv", "csv")
        case "parquet":
            yield _files(tmp_path, f"{tmp_path}/logs/*.parquet", "parquet")
        case "file":
            yield _files(tmp_path, f"file://{tmp_path}/logs/*.csv", "csv")
        case "memory":
            yield _files(tmp_path, "memory://logs/*.parquet", "parquet")
            fsspec.filesystem("memory").store.clear()
        case "sqlite":
            path = tmp_path / "log.db"
            connect = lambda: sqlite3.connect(path)  # noqa: E731
            yield _sql(f"sqlite:///{path}", connect, path.unlink, "?", "text", table="log")
        case kind:
            with scratch_database(request.getfixturevalue("server_url")) as url:
                connect = lambda: psycopg.connect(libpq_url(url))  # noqa: E731

                def drop() -> None:
                    with connect() as connection:
                        connection.execute("DROP TABLE log")

                read = {"table": "public.log"} if kind == "postgresql" else {"query": "SELECT *, ':a' FROM log;"}
                yield _sql(url, connect, drop, "%s", "real[]", **read)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MOST_ROWS", 4)
    monkeypatch.setattr(contract, "LEAST_ROWS", 4)


def read(source: TraceSource, bookmark: dict[str, Any], *, parts: int = 10_000) -> list[str]:
    """The ids of the next parts; their marks go into the bookmark."""
    ids: list[str] = []
    for piece in source.pieces():
        for part in piece.parts(bookmark.get(piece.key)):
            if parts == 0:
                return ids
            ids += part.frame["id"].tolist()
            bookmark[piece.key] = json.loads(json.dumps(part.mark))
            parts -= 1
    return ids


def expected(last: int, first: int = 0) -> list[str]:
    return rows(first, last)["id"].tolist()


def test_every_row_is_read_once_in_bounded_parts(case: Case):
    case.add(rows(0, 18))
    sizes = [len(part.frame) for piece in case.open().pieces() for part in piece.parts(None)]
    assert max(sizes) <= 4
    bookmark: dict[str, Any] = {}
    assert read(case.open(), bookmark) == expected(18)
    assert read(case.open(), bookmark) == []


def test_a_crash_after_any_part_loses_nothing_and_repeats_nothing(case: Case):
    case.add(rows(0, 10))
    case.add(rows(10, 18))
    for stop in range(1, 6):
        bookmark: dict[str, Any] = {}
        before = read(case.open(), bookmark, parts=stop)
        assert before + read(case.open(), bookmark) == expected(18)


def test_rows_that_are_added_are_read_on(case: Case):
    bookmark: dict[str, Any] = {}
    seen: list[str] = []
    for first in range(0, 20, 5):  # a batch ends within a cursor value, and the next begins with it
        case.add(rows(first, first + 5))
        seen += read(case.open(), bookmark)
    assert seen == expected(20)


def test_nothing_new_gives_nothing(case: Case):
    case.add(rows(0, 0))
    assert read(case.open(), {}) == []


def test_a_vector_comes_as_one(case: Case):
    case.add(rows(0, 9))
    frames = [part.frame for piece in case.open().pieces() for part in piece.parts(None)]
    assert [vectors.read(frame["face"], 2).vectors.tolist() for frame in frames] == [
        [[int(name[1:]) / 4, -1.5] for name in frame["id"]] for frame in frames
    ]


def test_what_went_away_is_told(case: Case):
    case.add(rows(0, 10))
    source = case.open()
    pieces = list(source.pieces())
    case.vanish()
    with pytest.raises((BadInput, Unavailable), match="expected"):
        list(pieces[0].parts(None))


def test_every_kind_is_held_to_the_contract():
    assert set(KINDS) == {"files", "sql"}  # a new kind needs a case above
