"""`holdfast source`: sources are declared, read, paused and removed by hand."""

import sqlite3
from pathlib import Path

import pytest

from tests.commands import FLAGS, Commands, log_of

LIKE_THE_LOG = ("--time", "ts", "--id", "id", "--score", "score", "--target", "y")


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    """A model `fraud` that a file registered."""
    made = Commands(url=database_url, home=tmp_path / "home")
    log_of(0, 15).to_parquet(tmp_path / "first.parquet")
    made.well("watch", tmp_path / "first.parquet", "--model", "fraud", *FLAGS, "--id", "id", "--once")
    return made


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """A table of payments in a database of its own."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        log_of(15, 17).astype({"ts": str}).to_sql("payments", connection, index=False)
    return f"sqlite:///{tmp_path}/shop.db"


def test_a_table_is_declared_read_paused_and_removed(holdfast: Commands, shop: str):
    flags = ("--table", "payments", "--cursor", "ts", *LIKE_THE_LOG)
    added = holdfast("source", "add", "fraud", "shop", shop, *flags, "--every", "5m")
    assert "payments: the first 200 rows can be read" in added.err
    assert added.out == "fraud: shop added; it is read every 5m\n"
    assert "200 new rows, 0 known, 0 quarantined, 200 labels" in holdfast.well("source", "pull", "fraud", "shop")
    assert "0 new rows, 0 known" in holdfast.well("source", "pull", "fraud", "shop")
    holdfast.well("source", "pause", "fraud", "shop")
    assert " paused " in holdfast.well("source", "list", "fraud")
    holdfast.well("source", "resume", "fraud", "shop")
    assert "read     every 5 min" in holdfast.well("source", "list")
    holdfast.well("source", "remove", "fraud", "shop")
    assert "shop" not in holdfast.well("source", "list")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--table", "payments", "--cursor", "t"), "expected a column 't' in payments"),
        (("--table", "refunds", "--cursor", "ts"), "no such table: refunds"),
        (("--cursor", "ts"), "expected either --table NAME or --query"),
        (("--table", "payments"), "expected --cursor COLUMN"),
        (("--query", "DELETE FROM payments RETURNING *", "--cursor", "ts"), "syntax error"),
        (("--table", "payments", "--cursor", "ts", "--every", "5x"), "expected --every such as 30s"),
        (("--table", "payments", "--cursor", "ts", "--set", "depth=3"), "depth: Extra inputs are not permitted"),
        (("--kind", "carrier-pigeon",), "expected a source of kind files, sql"),
        (("--query", "SELECT ts, id, score, y FROM payments", "--cursor", "ts"), "query has none of them"),
    ],
)  # fmt: skip
def test_what_could_not_be_read_is_said_before_anything_is_kept(holdfast, shop, flags, sentence):
    answer = holdfast("source", "add", "fraud", "shop", shop, *LIKE_THE_LOG, *flags)
    assert (answer.code, sentence in answer.err) == (2, True), answer.err
    assert "shop" not in holdfast.well("source", "list")


def test_features_that_a_source_lacks_are_named(holdfast: Commands, tmp_path: Path):
    log_of(15, 16).drop(columns="age").to_csv(tmp_path / "more.csv", index=False)
    answer = holdfast("source", "add", "fraud", "more", tmp_path / "more.csv", *LIKE_THE_LOG)
    assert "without age: they count as missing in every row" in answer.err


def test_a_file_that_cannot_be_read_is_told_by_pull_and_by_list(holdfast: Commands, tmp_path: Path):
    log_of(15, 16).to_parquet(tmp_path / "b.parquet")
    holdfast.well("source", "add", "fraud", "more", tmp_path / "b*", *LIKE_THE_LOG)
    (tmp_path / "b-half.parquet").write_bytes(b"half")
    answer = holdfast("source", "pull", "fraud", "more")
    assert (answer.code, "gave 100 new rows" in answer.out) == (2, True)
    assert "expected parquet in b-half.parquet, it cannot be read" in answer.err
    listed = holdfast.well("source", "list")
    assert "failing" in listed
    assert "not read as a whole, 1 in a row: " in listed
    assert "b-half.parquet" in listed


def test_an_act_needs_an_account_that_may(holdfast: Commands, shop: str):
    holdfast.well("user", "add", "vera", "viewer")
    answer = holdfast("source", "pull", "fraud", "files", "--as", "vera")
    assert (answer.code, "to send traces needs one of" in answer.err) == (2, True), answer.err
