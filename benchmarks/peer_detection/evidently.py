"""Evidently's drift verdicts, each window against the pooled reference, at its defaults.

Documented at docs.evidentlyai.com, "Data drift" and "Customize data drift": with more than 1,000 reference rows numeric
columns are judged by the Wasserstein distance over the reference's standard deviation, categorical ones by the
Jensen–Shannon distance, each drifted from 0.1 on; the data set drifts when at least half of the columns do.

`DataDriftPreset` computes each column three times and draws; here Evidently's own tests are called, chosen by its own
rule, once a column. The first window is also run through the real preset: a different number is an error, and its cost
is kept in the settings.
"""

import os

os.environ["DO_NOT_TRACK"] = "1"  # before the import, which would report the use

import time
import warnings
from typing import Any

import evidently
import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from evidently.metrics import ValueDrift
from evidently.presets import DataDriftPreset

from benchmarks.peer_detection.exchange import Part, Stream, Trace, answer, stopwatch, surprise, trace

DRIFT_SHARE = 0.5
P_VALUE_TESTS = {"ks", "chisquare", "z"}  # the default rule's tests for references of at most 1,000 rows


def preset(stream: Stream) -> dict[str, Trace]:
    """The preset's verdict on the data set, and the alarm of a team that watches each column."""
    with stopwatch() as elapsed:
        raw, drifted, tests = _by_column(stream, test=None)
        seconds = elapsed()
    checked = _against_report(stream, raw[0], DataDriftPreset(drift_share=DRIFT_SHARE))
    share = drifted.mean(axis=1)
    scores = _comparable(raw, tests)
    settings = {"tests": sorted(set(tests)), "preset_seconds_a_window": checked}
    return {
        "preset": trace(
            stream.features,
            scores,
            drifted,
            settings=settings | {"drift_share": DRIFT_SHARE},
            seconds=seconds,
            alarm=share >= DRIFT_SHARE,
            score=share,
        ),
        "any column": trace(stream.features, scores, drifted, settings=settings, seconds=seconds),
    }


def psi(stream: Stream) -> dict[str, Trace]:
    """The population stability index of each column at Evidently's default threshold of 0.1."""
    with stopwatch() as elapsed:
        raw, drifted, _ = _by_column(stream, test="psi")
        seconds = elapsed()
    checked = _against_report(stream, raw[0], *(ValueDrift(column=name, method="psi") for name in stream.features))
    settings = {"tests": ["psi"], "threshold": 0.1, "report_seconds_a_window": checked}
    return {"psi>0.1 any": trace(stream.features, raw, drifted, settings=settings, seconds=seconds)}


def _by_column(stream: Stream, *, test: str | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Drift scores and flags by (window, column), and the name of each column's test."""
    reference, monitored = (_frame(stream, part) for part in (stream.reference, stream.monitored))
    raw = np.zeros((len(stream.monitored.windows), len(stream.features)))
    drifted = np.zeros(raw.shape, dtype=bool)
    names = []
    for column, name in enumerate(stream.features):
        kind = ColumnType.Numerical if name in stream.numeric else ColumnType.Categorical
        pooled = reference[name].dropna().sort_values()  # a sorted reference costs the tests less and changes nothing
        windows = [monitored[name].iloc[window].dropna() for window in stream.monitored.windows]
        chosen = get_stattest(pooled, windows[0], kind, test)  # by the size and the distinct values: the reference's
        for row, current in enumerate(windows):
            result = chosen(pooled, current, kind, None)
            raw[row, column], drifted[row, column] = result.drift_score, result.drifted
        names.append(chosen.name)
    return raw, drifted, names


def _comparable(raw: np.ndarray, tests: list[str]) -> np.ndarray:
    """Scores in which more is more drift, whatever test a column got."""
    return np.where([test in P_VALUE_TESTS for test in tests], surprise(raw), raw)


def _against_report(stream: Stream, expected: np.ndarray, *metrics: Any) -> float:
    """Run the real report on the first window; the seconds it took.

    Raises:
        ValueError: the report's numbers are not the ones computed here.
    """
    definition = DataDefinition(numerical_columns=list(stream.numeric), categorical_columns=list(stream.categorical))
    reference, current = (
        Dataset.from_pandas(frame, data_definition=definition)
        for frame in (
            _frame(stream, stream.reference),
            _frame(stream, stream.monitored).iloc[stream.monitored.windows[0]],
        )
    )
    start = time.perf_counter()
    found = Report(list(metrics), include_tests=True).run(current, reference).dict()["metrics"]
    seconds = time.perf_counter() - start
    values = {
        metric["config"]["column"]: float(metric["value"]) for metric in found if "ValueDrift" in metric["metric_name"]
    }
    reported = np.array([values[name] for name in stream.features])
    if not np.allclose(reported, expected, rtol=1e-9, atol=1e-12):
        raise ValueError(f"expected the report's scores {reported}, got {expected}")
    return seconds


def _frame(stream: Stream, part: Part) -> pd.DataFrame:
    columns = {name: part.values[name] for name in stream.numeric}
    return pd.DataFrame(columns | {name: stream.labels(part, name) for name in stream.categorical})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answer("evidently", evidently.__version__, {("preset", "any column"): preset, ("psi>0.1 any",): psi})
