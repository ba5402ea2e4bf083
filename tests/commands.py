"""The command line as a person uses it, in this process, and a small production log to use it on."""

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from monitor.cli.app import main

FLAGS = ("--time", "ts", "--score", "score", "--target", "y", "--window", "1d")


@dataclass(frozen=True, kw_only=True)
class Answer:
    code: int
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Commands:
    """`holdfast …` against one database and home."""

    url: str
    home: Path

    def __call__(self, *arguments: object) -> Answer:
        out, err, code = StringIO(), StringIO(), 0
        with (
            patch.dict(os.environ, {"DATABASE_URL": self.url, "HOLDFAST_HOME": str(self.home)}),
            patch.object(sys, "argv", ["holdfast", *map(str, arguments)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Answer(code=code, out=out.getvalue(), err=err.getvalue())

    def well(self, *arguments: object) -> str:
        """What a command that must succeed printed on stdout."""
        answer = self(*arguments)
        assert answer.code == 0, answer.err
        return answer.out


def log_of(first: int, last: int, *, rows: int = 100, unit_from: int = 10_000, seed: int = 5) -> pd.DataFrame:
    """Days [first, last) of payments; each day is the same whichever days are asked for. Amounts ×100 on some."""
    return pd.concat([_day(number, rows, unit_from, seed) for number in range(first, last)], ignore_index=True)


def _day(number: int, rows: int, unit_from: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, number])
    x, age = rng.normal(size=rows), rng.integers(18, 90, rows)
    probability = 1 / (1 + np.exp(-2.5 * x - 0.02 * (age - 54)))
    begin = pd.Timestamp("2026-01-05", tz="UTC") + pd.Timedelta(days=number)
    return pd.DataFrame(
        {
            "ts": begin + pd.to_timedelta(np.arange(rows) / rows, unit="D"),
            "amount": np.exp(rng.normal(3, 0.6, rows)) * (100 if number >= unit_from else 1),
            "x": x,
            "age": age,
            "channel": rng.choice(["app", "web", "shop"], rows, p=[0.5, 0.3, 0.2]),
            "id": [f"{number}-{i}" for i in range(rows)],
            "score": probability,
            "y": (rng.random(rows) < probability).astype(int),
        }
    )
