"""What a person does wrong is answered with a sentence and exit code 2, never with a traceback."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitor.cli.app import main


@pytest.fixture
def holdfast(monkeypatch, tmp_path, capsys, server_url):
    """Run a command in this process; returns exit code, stdout and stderr."""
    monkeypatch.setenv("HOLDFAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", server_url)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def _log(rows: int = 6_000) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    x = rng.normal(size=rows)
    return pd.DataFrame(
        {
            "time": pd.date_range("2026-01-01", periods=rows, freq="15min", tz="UTC"),
            "x": x,
            "channel": rng.choice(["app", "web"], rows),
            "y": (rng.random(rows) < 1 / (1 + np.exp(-2 * x))).astype(int),
        }
    )


def _written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: f.drop(columns="time"), "expected a column 'time'"),
        (lambda f: f.drop(columns="y"), "expected a column 'y'"),
        (lambda f: f.assign(time="yesterday"), "yesterday"),
        (lambda f: f.assign(y=None), "every one is missing"),
        (lambda f: f.assign(y=1), "is always '1'"),
        (lambda f: f.head(0), "expected"),
        (lambda f: f.head(900), "expected a reference of at least 1,000 rows"),
    ],
    ids=["no time column", "no target", "unparseable time", "null target", "one class", "empty", "short reference"],
)
def test_backtest_says_what_is_wrong_with_the_file(holdfast, tmp_path, spoil, sentence):
    path = _written(spoil(_log()), tmp_path / "log.csv")
    code, out, err = holdfast("backtest", path, "--time", "time", "--target", "y", "--window", "1d")
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err


def test_backtest_of_a_file_that_is_not_there(holdfast, tmp_path):
    code, _, err = holdfast("backtest", tmp_path / "nothing.parquet", "--time", "time")
    assert code == 2
    assert "nothing.parquet" in err


def test_backtest_of_bytes_that_are_no_table(holdfast, tmp_path):
    path = tmp_path / "log.parquet"
    path.write_bytes(b"\x00\x01 not a table")
    code, _, err = holdfast("backtest", path, "--time", "time")
    assert code == 2
    assert "log.parquet" in err
    assert "Traceback" not in err


def test_taken_port_is_named_with_what_to_do(holdfast, monkeypatch, free_port):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port))
        taken.listen()
        code, _, err = holdfast("up", "--port", free_port)
    assert code == 2
    assert f"127.0.0.1:{free_port} is taken" in err
    assert "--port" in err


def test_unreachable_database_is_a_sentence(holdfast, monkeypatch, free_port):
    monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port}/nothing")
    code, _, err = holdfast("model", "list")
    assert code == 2
    assert "Traceback" not in err
    assert str(free_port) in err


def test_database_newer_than_the_code_is_refused(holdfast, monkeypatch, database_url, engine):
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_from_the_future'"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    code, _, err = holdfast("model", "list")
    assert code == 2
    assert "newer" in err


def test_pt_file_is_refused_with_what_to_do_instead(holdfast, monkeypatch, database_url, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"PK\x03\x04 data.pkl")
    monkeypatch.setenv("DATABASE_URL", database_url)
    code, _, err = holdfast("model", "attach", "fraud", path)
    assert code == 2
    assert "Traceback" not in err
