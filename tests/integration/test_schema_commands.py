"""`holdfast schema`: guessed from a file, compared with one, edited and applied."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor.acts.schema_files import read_schema
from tests.commands import FLAGS, Commands, log_of


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    """A model `fraud` that a log of 16 days registered."""
    made = Commands(url=database_url, home=tmp_path / "home")
    log_of(0, 16).to_parquet(tmp_path / "log.parquet")
    made.well("watch", tmp_path / "log.parquet", "--model", "fraud", *FLAGS, "--id", "id", "--once")
    return made


def now(folder: Path) -> Path:
    """A log in which amount and channel have other names, age is a text and a feature came."""
    log = log_of(16, 18).rename(columns={"amount": "amount_eur", "channel": "shop_kind"})
    log = log.assign(age=log["age"].map("{} years".format), bonus_pct=range(len(log)))
    log["bonus_pct"] %= 90
    path = folder / "now.parquet"
    log.to_parquet(path)
    return path


def test_a_file_suggests_a_schema_that_can_be_read_again(holdfast: Commands, tmp_path: Path):
    printed = holdfast.well("schema", "infer", now(tmp_path), "--drop", "y")
    assert printed.splitlines()[:3] == [
        "# left out: y (as said)",
        "# left out: score (every trace has one of this name)",
        "# left out: ts (a time)",
    ]
    assert "    unit: EUR  # by its name: to confirm" in printed
    assert "    mutable: false  # to confirm" in printed
    found = read_schema(printed).schema
    assert found.names == ("amount_eur", "x", "age", "shop_kind", "bonus_pct")
    assert (found["bonus_pct"].unit, found["bonus_pct"].lower, found["bonus_pct"].upper) == ("%", 0, 100)
    assert found["shop_kind"].levels == ("app", "web", "shop")


def test_a_file_is_compared_by_names_and_values(holdfast: Commands, tmp_path: Path):
    lines = holdfast.well("schema", "diff", "fraud", now(tmp_path)).splitlines()
    assert lines[0].startswith("renamed?  amount → amount_eur: their values lie alike (distance 0.0")
    assert lines[0].endswith("and so do their names")
    assert lines[1].startswith("renamed?  channel → shop_kind: their values lie alike")
    assert lines[2:] == [
        "retyped   age: integer → categorical",
        "added     amount_eur: numeric",
        "added     shop_kind: categorical",
        "added     bonus_pct: integer",
        "removed   amount: numeric",
        "removed   channel: categorical",
    ]
    log_of(16, 18).to_csv(tmp_path / "same.csv", index=False)
    assert (
        holdfast.well("schema", "diff", "fraud", tmp_path / "same.csv")
        == "same.csv has the features of fraud, 4 of them\n"
    )


def test_a_schema_is_shown_edited_and_applied(holdfast: Commands, tmp_path: Path):
    shown = holdfast.well("schema", "show", "fraud")
    file = tmp_path / "schema.yaml"
    file.write_text(shown.replace("  amount:\n", "  amount_eur:\n    renamed_from: amount\n"))
    dry = holdfast("schema", "apply", "fraud", file, "--dry-run")
    assert "amount is amount_eur now: its column f0" in dry.out
    assert "nothing was changed" in dry.err
    assert holdfast("schema", "apply", "fraud", file).code == 2
    assert holdfast.well("schema", "show", "fraud") == shown
    assert "version 2 of its schema holds from now on" in holdfast.well("schema", "apply", "fraud", file, "--yes")
    assert "amount_eur:" in holdfast.well("schema", "show", "fraud")
    log_of(16, 18).rename(columns={"amount": "amount_eur"}).to_parquet(tmp_path / "log-2.parquet")
    flags = ("--time", "ts", "--id", "id", "--score", "score", "--target", "y")
    holdfast.well("source", "add", "fraud", "more", tmp_path / "log-2.parquet", *flags)
    holdfast.well("source", "pull", "fraud", "more")
    said = holdfast.well("watch", "--model", "fraud", "--once")
    assert "Healthy in every window shown" in said


def test_a_vector_is_guessed_compared_and_declared(holdfast: Commands, tmp_path: Path):
    log, rng = log_of(16, 18), np.random.default_rng(0)
    log["face"], log["tags"] = rng.normal(size=(len(log), 12)).tolist(), [[1.0] * (1 + i % 2) for i in range(len(log))]
    log.to_parquet(tmp_path / "faces.parquet")
    printed = holdfast.well("schema", "infer", tmp_path / "faces.parquet", "--drop", "y,id,score")
    assert "# left out: tags (lists that are no vectors: not of 1 to 4,096 numbers, always as many)" in printed
    assert "vectors:\n  face:\n    size: 12  # watched by its norm and 8 projections\n" in printed
    drop = ("--drop", "tags")
    assert holdfast.well("schema", "diff", "fraud", tmp_path / "faces.parquet", *drop).splitlines() == [
        "added     face: vector of 12 numbers"
    ]
    file = tmp_path / "schema.yaml"
    file.write_text(holdfast.well("schema", "show", "fraud") + "vectors:\n  face:\n    size: 12\n")
    holdfast.well("schema", "apply", "fraud", file, "--yes")
    assert holdfast.well("schema", "show", "fraud").endswith(file.read_text().partition("\n")[2])
    flags = ("--time", "ts", "--id", "id", "--score", "score", "--target", "y", *drop)
    holdfast.well("source", "add", "fraud", "faces", tmp_path / "faces.parquet", *flags)
    holdfast.well("source", "pull", "fraud", "faces")
    log.rename(columns={"face": "portrait"}).to_parquet(tmp_path / "portraits.parquet")
    lines = holdfast.well("schema", "diff", "fraud", tmp_path / "portraits.parquet", *drop).splitlines()
    assert lines[0] == "renamed?  face → portrait: their values lie alike (distance 0.00)"
    log.assign(face=log["face"].map(lambda face: face[:6])).to_parquet(tmp_path / "small.parquet")
    lines = holdfast.well("schema", "diff", "fraud", tmp_path / "small.parquet", *drop).splitlines()
    assert lines == ["retyped   face: vector of 12 numbers → vector of 6 numbers"]
    refused = holdfast("stress", "fraud")
    assert (refused.code, "fraud has vectors, which stress tests" in refused.err) == (2, True)


def test_a_column_of_one_value_or_none_is_guessed_without_bounds_it_does_not_show(holdfast: Commands, tmp_path: Path):
    frame = pd.DataFrame({"a": [None] * 200, "b": [-1.0] * 200, "c": [True, False] * 100, "d": [0.5, 0.25] * 100})
    frame.to_csv(tmp_path / "odd.csv", index=False)
    found = read_schema(holdfast.well("schema", "infer", tmp_path / "odd.csv")).schema
    assert [(one.kind.value, one.lower, one.upper) for one in found.features] == [
        ("numeric", None, None), ("integer", None, None), ("boolean", None, None), ("numeric", 0.0, 1.0)
    ]  # fmt: skip
