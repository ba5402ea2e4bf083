"""`holdfast threat`: what a person declares of what may change, and what stress tests then keep to."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from monitor.db.engine import transaction
from monitor.db.registry import champion, feature_schema, model_named, schema_of
from monitor.schema import Schema
from tests.commands import Commands
from tests.streams import World, register
from tests.stressed import stressed


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path, engine: Engine) -> Commands:
    register(engine, World())
    return Commands(url=database_url, home=tmp_path)


def declared(engine: Engine) -> Schema:
    with transaction(engine) as session:
        return schema_of(feature_schema(session, model_named(session, "fraud")))


def test_show_tells_each_feature_in_raw_units_or_why_it_stands(holdfast: Commands):
    lines = holdfast.well("threat", "show", "fraud").splitlines()
    assert lines[0].split() == ["feature", "S1", "S2", "S3"]
    assert lines[1].startswith("amount")
    assert lines[1].count("±") == 3
    assert [line.split() for line in lines[2:4]] == [["age", "stands"], ["channel", "stands"]]


def test_declare_says_relations_directions_bounds_and_swaps_and_what_is_not_said_stays(
    holdfast: Commands, engine: Engine
):
    holdfast.well(
        "threat", "declare", "fraud", "--mutable", "amount,channel", "--direction", "amount=up",
        "--bounds", "amount=0:", "--relation", "amount <= age * 100", "--swap", "channel=app>web:0.5",
    )  # fmt: skip
    lines = holdfast.well("threat", "declare", "fraud", "--bounds", "age=18:100").splitlines()
    schema = declared(engine)
    assert (schema["amount"].direction, schema["amount"].lower, schema["age"].upper) == ("up", 0.0, 100.0)
    assert schema["channel"].transitions == {"app": {"web": 0.5}}
    assert "−0 … +" in lines[1]
    assert lines[3].split(maxsplit=1) == ["channel", "another level"]
    assert lines[-2:] == [
        "must hold: amount <= age * 100",
        "fraud v1 has no artefact to stress: holdfast model attach fraud FILE",
    ]
    holdfast.well("threat", "declare", "fraud", "--relation", "", "--swap", "channel=")
    assert declared(engine).relations == ()
    assert declared(engine)["channel"].transitions is None


def test_a_preset_guesses_by_names(holdfast: Commands, engine: Engine):
    holdfast.well("threat", "declare", "fraud", "--preset", "fraud")
    assert [f.name for f in declared(engine).features if f.mutable] == ["amount", "channel"]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ([], "expected something to declare"),
        (["--preset", "banking"], "expected a preset among fraud, credit, sensors, generic"),
        (["--mutable", "price"], "no feature 'price'"),
        (["--direction", "amount=sideways"], "expected up, down or any"),
        (["--direction", "amount"], "expected FEATURE=… such as age=up"),
        (["--bounds", "amount=a:b"], "expected bounds such as"),
        (["--bounds", "amount=9:1"], "bounds of amount in order"),
        (["--relation", "amount < age"], "one <= or >="),
        (["--relation", "amount <= channel"], "names no feature"),
        (["--formula", "age=__import__('os')"], "expected only numbers, features"),
        (["--formula", "channel=amount"], "to be a number"),
        (["--swap", "channel=app>fax"], "between its levels"),
        (["--swap", "age=1>2"], "a change of a category"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_changes(
    database_url: str, tmp_path: Path, engine: Engine, said: list[str], sentence: str
):
    register(engine, World(), reference=False, served=False)
    holdfast = Commands(url=database_url, home=tmp_path)
    before = declared(engine)
    answer = holdfast("threat", "declare", "fraud", *said)
    assert answer.code == 2
    assert sentence in answer.err
    assert declared(engine) == before


def test_a_registration_that_cannot_be_made_anew_is_not_held_against_later_ticks(
    database_url: str, tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    stressed(engine, tmp_path)
    monkeypatch.setattr("monitor.cli.attaching.baseline_for", lambda *_, **__: {})  # too few labels are left
    holdfast = Commands(url=database_url, home=tmp_path)
    assert "not stress-tested yet" in holdfast.well("threat", "declare", "fraud", "--mutable", "amount,age")
    with transaction(engine) as session:
        baseline = champion(session, model_named(session, "fraud")).baseline
    assert not {"stress", "stress_stream"} & set(baseline)
    assert "operating_threshold" in baseline
