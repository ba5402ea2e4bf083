"""`holdfast watch`: files become a model's production log, and the flags of the first time are remembered."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select, text

from monitor.db.engine import transaction
from monitor.db.quarantine import Quarantined
from monitor.db.registry import champion, feature_schema, model_named, reference_for, schema_of
from monitor.db.traces import label_coverage
from monitor.windows import Window
from tests.commands import FLAGS, Commands, log_of

DAYS = 16
EVER = Window(datetime(2025, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC))


@pytest.fixture
def holdfast(database_url: str, tmp_path: Path) -> Commands:
    return Commands(url=database_url, home=tmp_path / "home")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    log_of(0, DAYS).to_parquet(folder / "a.parquet")
    return folder


def _taken(engine: Engine) -> tuple[int, int]:
    """How many rows of the model are kept, and how many of them have a label."""
    with transaction(engine) as session:
        return label_coverage(session, model_named(session, "fraud"), EVER)


def _watermark(engine: Engine) -> datetime | None:
    with transaction(engine) as session:
        return model_named(session, "fraud").watermark


def test_first_call_registers_from_the_files_and_says_what_it_understood(holdfast, logs, engine):
    answer = holdfast("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--mutable", "amount", "--once")
    assert answer.code == 0, answer.err
    assert "id ignored: unique in every row: an identifier" in answer.err
    assert "reference 2026-01-05 to 2026-01-20 (15 windows" in answer.err
    assert f"a.parquet: {DAYS * 100:,} new rows, 0 known, 0 quarantined" in answer.err
    assert "fraud: No window has been judged yet" in answer.out
    assert "next: holdfast model attach fraud" in answer.out  # the truth came with the rows
    assert _taken(engine) == (DAYS * 100, DAYS * 100)
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        features = schema_of(feature_schema(session, model)).features
        assert [feature.name for feature in features if feature.mutable] == ["amount"]
        assert reference_for(session, champion(session, model)).windows == 15
    assert "fraud" in holdfast.well("model", "list")


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "csv"])
def test_a_column_of_lists_is_a_vector_and_is_watched_by_its_summaries(holdfast, tmp_path, engine, ending):
    log, path = log_of(0, DAYS), tmp_path / f"log.{ending}"
    log["face"] = np.random.default_rng(3).normal(size=(len(log), 4)).round(2).tolist()
    if ending == "parquet":
        log.to_parquet(path)
    elif ending == "jsonl":
        log.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        log.to_csv(path, index=False)
    answer = holdfast("watch", path, "--model", "fraud", *FLAGS, "--id", "id", "--once")
    assert "face is a vector of 4 numbers, watched by its norm and 4 projections" in answer.err
    assert f"{path.name}: {DAYS * 100:,} new rows, 0 known, 0 quarantined" in answer.err
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        normal = reference_for(session, champion(session, model)).document
        stored = session.scalars(text("SELECT face FROM traces.fraud ORDER BY event_time, trace_id LIMIT 1")).one()
        counted = session.scalar(text('SELECT count("face.p4") FROM traces.fraud'))
    assert [one["name"] for one in normal["binning"]["features"] if one["name"].startswith("face")] == [
        "face.norm", "face.p1", "face.p2", "face.p3", "face.p4",
    ]  # fmt: skip
    assert stored == pytest.approx(log.sort_values(["ts", "id"])["face"].iloc[0])
    assert counted == DAYS * 100


def test_later_calls_need_the_name_only_and_take_in_new_rows_only(holdfast, tmp_path, engine):
    log_of(0, DAYS).to_csv(tmp_path / "a.csv", index=False)
    holdfast.well("watch", tmp_path / "*.csv", "--model", "fraud", *FLAGS, "--once")
    log_of(DAYS, DAYS + 2).to_csv(tmp_path / "a.csv", index=False, header=False, mode="a")
    log_of(DAYS + 2, DAYS + 3).to_csv(tmp_path / "b.csv", index=False)
    answer = holdfast("watch", "--model", "fraud", "--once")
    assert answer.code == 0, answer.err
    assert "a.csv: 200 new rows, 0 known, 0 quarantined, 200 labels" in answer.err
    assert "b.csv: 100 new rows, 0 known" in answer.err
    assert "fraud: Healthy in every window shown" in answer.out
    assert "drift        until 23 Jan 2026: no feature moved" in answer.out
    assert "next: holdfast model attach fraud" in answer.out
    assert _taken(engine)[0] == (DAYS + 3) * 100
    again = holdfast("watch", tmp_path / "*.csv", "--model", "fraud", *FLAGS, "--once")
    assert (again.code, again.err) == (0, "")


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("elsewhere/*.csv",), "leave them out"),
        (("--time", "ts", "--score", "x"), "score score"),
        (("--window", "7d"), "windows of 24 h"),
        (("--mutable", "age"), "were declared (none), got age"),
        (("--score", "x"), "expected --time together with the other columns"),
    ],
)
def test_flags_that_are_not_those_of_the_first_time_are_refused(holdfast, logs, flags, sentence):
    holdfast.well("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--once")
    answer = holdfast("watch", *flags, "--model", "fraud", "--once")
    assert answer.code == 2
    assert sentence in answer.err


def test_model_that_is_not_followed_yet_needs_files_and_time(holdfast, logs):
    answer = holdfast("watch", "--model", "fraud", "--once")
    assert answer.code == 2
    assert "fraud is not followed yet: say which files and which column is the time" in answer.err
    assert holdfast("watch", logs / "*.parquet").code == 2


@pytest.mark.slow
def test_planted_unit_error_is_paged_by_the_same_command(holdfast, logs):
    holdfast.well("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--once")
    log_of(DAYS, DAYS + 2, unit_from=DAYS).to_parquet(logs / "b.parquet")
    said = holdfast.well("watch", "--model", "fraud", "--once")
    assert "PAGE #1 since 21 Jan 2026: fraud: pipeline break" in said
    assert "amount ×100" in said


def test_files_of_one_name_in_two_folders_are_two_files(holdfast, tmp_path, engine):
    for day in range(DAYS):
        folder = tmp_path / "logs" / f"day={day:02}"
        folder.mkdir(parents=True)
        log_of(day, day + 1).to_parquet(folder / "part-0.parquet")
    holdfast.well("watch", tmp_path / "logs" / "*" / "*.parquet", "--model", "fraud", *FLAGS, "--once")
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        ids = session.scalars(text(f"SELECT trace_id FROM traces.m{model.id} ORDER BY event_time")).all()
    assert len(set(ids)) == DAYS * 100
    assert ids[0].startswith("day=00/part-0.parquet:0@")


def test_file_that_was_replaced_under_its_name_is_read_from_its_start(holdfast, logs, engine):
    holdfast.well("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--once")
    log_of(DAYS, DAYS + 1).to_parquet(logs / "a.parquet")
    holdfast.well("watch", "--model", "fraud", "--once")
    assert _taken(engine) == ((DAYS + 1) * 100,) * 2


def test_labels_may_come_later_than_the_rows_they_belong_to(holdfast, logs, engine):
    holdfast.well("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--id", "id", "--once")
    log_of(DAYS, DAYS + 1).drop(columns="y").to_parquet(logs / "b.parquet")
    holdfast.well("watch", "--model", "fraud", "--once")
    assert _taken(engine) == ((DAYS + 1) * 100, DAYS * 100)
    log_of(DAYS, DAYS + 1).to_parquet(logs / "b-with-labels.parquet")
    answer = holdfast("watch", "--model", "fraud", "--once")
    assert "b-with-labels.parquet: 0 new rows, 100 known, 0 quarantined, 100 labels" in answer.err
    assert _taken(engine) == ((DAYS + 1) * 100,) * 2


def test_stream_time_is_that_of_the_newest_good_row_of_all_files(holdfast, logs, engine):
    holdfast.well("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--once")
    newest = log_of(0, DAYS)["ts"].max()
    assert _watermark(engine) == newest
    wild = log_of(DAYS, DAYS + 1)
    wild.loc[7, "ts"] = wild["ts"].max().replace(year=2036)
    wild.to_parquet(logs / "0-wild.parquet")
    holdfast("watch", "--model", "fraud", "--once")
    with transaction(engine) as session:
        assert session.scalars(select(Quarantined.source).order_by(Quarantined.id)).all() == ["files", "labels"]
    assert newest < _watermark(engine) < newest.replace(year=2027)


def test_short_log_is_followed_while_normal_is_learned(holdfast, tmp_path, engine):
    folder = tmp_path / "logs"
    folder.mkdir()
    log_of(0, 11).to_csv(folder / "a.csv", index=False)
    answer = holdfast("watch", folder / "*.csv", "--model", "fraud", *FLAGS, "--once")
    assert answer.code == 0, answer.err
    assert "learning normal: drift is tested from the 14th window on; 10 are there" in answer.err
    log_of(11, 19).to_csv(folder / "b.csv", index=False)
    holdfast.well("watch", "--model", "fraud", "--once")
    with transaction(engine) as session:
        model = model_named(session, "fraud")
        assert reference_for(session, champion(session, model)).windows == 18


@pytest.mark.slow
def test_watch_follows_until_told_and_outlives_a_half_written_file(holdfast, logs, engine, tmp_path):
    holdfast.well("watch", logs / "*.parquet", "--model", "fraud", *FLAGS, "--once")
    log_of(DAYS, DAYS + 1).to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (logs / "b.parquet").write_bytes(whole[:2_000])
    with _following(holdfast) as process:
        assert "it cannot be read" in process.stderr.readline()
        (logs / "b.parquet").write_bytes(whole)
        assert "b.parquet: 100 new rows" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert _taken(engine)[0] == (DAYS + 1) * 100


def test_file_that_cannot_be_read_is_told_and_holds_up_no_other(holdfast, logs, engine):
    holdfast.well("watch", logs / "*", "--model", "fraud", *FLAGS, "--once")
    (logs / "0-header.csv").write_text("ts,amount,x,age,channel,id,score,y\n")
    (logs / "0-half.parquet").write_bytes(b"half")
    log_of(DAYS, DAYS + 1).to_csv(logs / "b.csv", index=False)
    answer = holdfast("watch", "--model", "fraud", "--once")
    assert answer.code == 1
    assert "expected parquet in 0-half.parquet, it cannot be read" in answer.err
    assert "fraud: " in answer.out
    assert _taken(engine)[0] == (DAYS + 1) * 100


def test_files_of_a_store_are_followed_by_their_address(holdfast, logs, engine):
    holdfast.well("watch", f"file://{logs}/*.parquet", "--model", "fraud", *FLAGS, "--once")
    log_of(DAYS, DAYS + 1).to_parquet(logs / "b.parquet")
    assert "b.parquet: 100 new rows" in holdfast("watch", "--model", "fraud", "--once").err
    assert _taken(engine)[0] == (DAYS + 1) * 100


@contextmanager
def _following(holdfast: Commands) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "monitor.cli.app", "watch", "--model", "fraud", "--every", "0.2"]
    environment = {**os.environ, "DATABASE_URL": holdfast.url, "HOLDFAST_HOME": str(holdfast.home)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
