"""Evidently's metrics for real, in a process of their own: each column by itself, unknown names refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitor.errors import BadInput, JobFailed
from monitor.reports import process
from monitor.reports.config import EvidentlyConfig, read_config
from monitor.reports.measure import checked, measure
from monitor.reports.sanitise import MEASURED_LEVELS, MEASURED_ROWS, sanitise
from monitor.reports.series import Result
from monitor.schema import Schema

pytestmark = pytest.mark.slow
ROWS = 1_500
HOSTILE = ("constant", "void", "levels", "infinite", "mixed")


def frame(seed: int, *, current: bool) -> pd.DataFrame:
    """Five columns that break things, a sound one that moves by 1σ, one with markup in name and values."""
    rng = np.random.default_rng(seed)
    first = 10_000 if current else 0
    return pd.DataFrame(
        {
            "constant": 1.0,
            "void": np.full(ROWS, np.nan) if current else rng.normal(size=ROWS),
            "levels": [f"level {first + i}" for i in rng.integers(0, 10_000, ROWS)],
            "infinite": np.where(rng.random(ROWS) < 0.1, -np.inf, rng.normal(size=ROWS)),
            "mixed": [("word" if i % 3 else i % 7) for i in range(ROWS)],
            "sound": rng.normal(1.0 if current else 0.0, 1.0, ROWS),
            "<b>markup": rng.choice(["</script><script>alert(1)</script>", "a & b"], ROWS),
            "score": rng.random(ROWS),
            "prediction": rng.choice(["0", "1"], ROWS),
            "label": rng.choice(["0", "1"], ROWS),
        }
    )


REFERENCE, CURRENT = frame(0, current=False), frame(1, current=True)
SCHEMA = Schema.infer(REFERENCE.drop(columns=["score", "prediction", "label"]))


def config(*metrics: dict[str, Any], **said: Any) -> EvidentlyConfig:
    return read_config({"metrics": list(metrics), **said})


def named(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def measured(chosen: EvidentlyConfig) -> tuple[Result, ...]:
    data = sanitise(
        CURRENT, REFERENCE, SCHEMA, max_rows=MEASURED_ROWS, max_levels=MEASURED_LEVELS, with_empty=True
    )  # fmt: skip
    return measure(chosen, data, positive="1")


@pytest.fixture(scope="module")
def results() -> tuple[Result, ...]:
    """One run over all of them."""
    gte = [{"name": "gte", "arguments": {"threshold": 0.7}}]
    words = ["</script><script>alert(1)</script>"]
    metrics = [
        *(named("ValueDrift", column=column) for column in SCHEMA.names),
        named("MissingValueCount", column="void"),
        named("ValueDrift", column="sound", method="ks", threshold=0.05),
        named("DataDriftPreset"),
        named("RocAuc", tests=gte),
        named("InListValueCount", column="<b>markup", values=words),
        named("ColumnCorrelations", column_name="mixed"),
    ]
    return measured(checked(config(*metrics), SCHEMA, task="classification"))


def of(results: tuple[Result, ...], subject: str | None, metric: str) -> Result:
    return next(one for one in results if one.subject == subject and one.metric.startswith(metric))


def test_evidently_imports():
    assert subprocess.run([sys.executable, "-c", "import evidently"], check=False).returncode == 0


def test_each_hostile_column_has_a_status_and_a_sentence_and_the_others_their_values(results: tuple[Result, ...]):
    drift = {name: of(results, name, "ValueDrift") for name in SCHEMA.names}
    assert {name: one.status for name, one in drift.items()} == dict.fromkeys(SCHEMA.names, "ok") | {"void": "all_null"}
    assert all(one.sentence for one in drift.values())
    assert drift["void"].sentence == "void: no value at all in the window"
    assert drift["constant"].statistic == 0
    assert "infinite values count as missing" in drift["infinite"].sentence
    assert "the 199 most frequent are told apart" in drift["levels"].sentence
    assert drift["sound"].fired
    assert drift["sound"].statistic == pytest.approx(1, abs=0.15)  # Wasserstein over σ of a shift by 1σ


def test_method_and_threshold_are_always_said(results: tuple[Result, ...]):
    assert of(results, "sound", "ValueDrift").metric == "ValueDrift(method=wasserstein)"
    assert of(results, "mixed", "ValueDrift").metric == "ValueDrift(method=jensenshannon)"
    assert {one.threshold for one in results if one.metric.startswith("ValueDrift") and one.status == "ok"} == {
        0.1, 0.05,
    }  # fmt: skip


def test_a_preset_over_all_columns_goes_on_without_those_it_cannot_take(results: tuple[Result, ...]):
    at = next(i for i, one in enumerate(results) if one.metric.startswith("DriftedColumnsCount"))
    preset = results[at : at + 1 + len(SCHEMA)]
    assert {one.subject for one in preset} == {None, *SCHEMA.names}
    assert [one.subject for one in preset if one.status != "ok"] == ["void"]


def test_what_fires_are_evidentlys_tests(results: tuple[Result, ...]):
    assert of(results, None, "RocAuc").fired  # 0.5 by construction, at least 0.7 was asked for
    assert of(results, "sound", "ValueDrift(method=ks)").p_value < 1e-6
    assert of(results, "void", "MissingValueCount").fired  # Evidently's own test against the reference


def test_markup_in_names_and_values_reaches_evidently_escaped_and_comes_back_as_it_was(results: tuple[Result, ...]):
    listed = of(results, "<b>markup", "InListValueCount")
    assert listed.metric == "InListValueCount(values=[</script><script>alert(1)</script>])"
    share = (CURRENT["<b>markup"] != "a & b").mean()
    assert listed.statistic == pytest.approx(share)


def test_what_one_metric_breaks_is_its_own(results: tuple[Result, ...]):
    broken = of(results, "mixed", "ColumnCorrelation")
    assert broken.statistic is None
    assert broken.sentence


def test_a_metric_that_takes_too_long_is_interrupted_and_the_next_one_is_not():
    code = (
        "import time; from monitor.reports.process import time_limit\n"
        "try:\n    with time_limit(0.05):\n        time.sleep(60)\n"
        "except TimeoutError as error:\n    print(error)\n"
        "time.sleep(1.2)\nprint('the next one')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout.splitlines() == ["longer than 0.05 s", "the next one"]


def test_what_was_measured_before_the_time_limit_is_kept(monkeypatch: pytest.MonkeyPatch):
    def ended(command: str, folder: Path, *, limit_seconds: float) -> None:
        line = {"unit": 0, "results": [{"name": "RowCount", "config": {}, "value": 3.0, "tests": []}]}
        (folder / "results.jsonl").write_text(json.dumps(line) + '\n{"unit": 1, "res')
        raise process.TookTooLong(f"Evidently ran longer than {limit_seconds:g} s on this window and was ended")

    monkeypatch.setattr(process, "run", ended)
    first, second = measured(config(named("RowCount"), named("MinValue", column="sound"), limit_seconds=7))
    assert (first.status, first.statistic) == ("ok", 3)
    assert (second.status, second.subject) == ("error", "sound")
    assert "ran longer than 7 s" in second.sentence


def test_a_process_that_runs_too_long_is_ended(tmp_path: Path):
    (tmp_path / "plan.json").write_text(json.dumps({"units": [], "kinds": {}, "task": "regression"}))
    with pytest.raises(JobFailed, match="ran longer than 0.2 s"):
        process.run("check", tmp_path, limit_seconds=0.2)


@pytest.fixture(scope="module")
def refusals() -> str:
    """What is said of a configuration in which everything is wrong; each metric is looked at by itself."""
    metrics = [
        named("ValueDrft", column="sound"),
        named("os.system", column="sound"),
        named("ValueDrift", column="sount"),
        named("ValueDrift", column="sound", methd="psi"),
        named("ValueDrift", column="sound", method="wasserstien"),
        named("ValueDrift", column="levels", method="ks"),
        named("ValueDrift", column="sound", threshold="high"),
        named("MinValue", column="sound", tests=[{"name": "gte2", "arguments": {"threshold": 1}}]),
        named("QuantileValue"),
        named("NDCG", k=3),
        named("TextEvals"),
        named("MAE"),
        named("DataDriftPreset", columns=["sound", "nosuch"]),
        named("DataDriftPreset", per_column_method={"sound": "psy"}),
    ]
    with pytest.raises(BadInput) as refused:
        checked(config(*metrics), SCHEMA, task="classification")
    return str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        "no metric or preset 'ValueDrft': did you mean ValueDrift",
        "no metric or preset 'os.system': there are AbsMaxError",
        "no column 'sount': did you mean sound",
        "ValueDrift takes no argument 'methd': did you mean method?",
        "no drift method 'wasserstien': did you mean wasserstein?",
        "ks cannot compare a categorical column: choose among TVD, chisquare",
        "ValueDrift: threshold: value is not a valid float",
        "no test 'gte2': did you mean gte",
        "QuantileValue: column: field required",
        "NDCG needs ranked lists of items, which Holdfast does not keep",
        "TextEvals needs descriptors of texts",
        "MAE is for regression; the model does classification",
        "DataDriftPreset: the model has no column 'nosuch'",
        "no drift method 'psy': did you mean psi?",
    ],
)
def test_a_name_that_is_not_on_the_list_is_refused_with_what_may_have_been_meant(refusals: str, words: str):
    assert words in refusals
