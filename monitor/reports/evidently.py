"""The only file that knows Evidently: `python -m monitor.reports.evidently FOLDER`, in a process of its own.

The folder holds current.parquet, reference.parquet and plan.json; report.html, report.json and facts.json are written
beside them. The import takes two seconds and 180 MiB, so nothing else may reach for it.
"""

import json
import os
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from monitor.errors import BadInput, HoldfastError, JobFailed
from monitor.reports.sanitise import LABEL, PREDICTION, SCORE, Sanitised

LIMIT_SECONDS = 180
NUMERIC_METHOD, CATEGORICAL_METHOD, THRESHOLD = "wasserstein", "jensenshannon", 0.1
_KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The finished report: a page, its numbers as strict JSON, and the features that it could not take."""

    html: bytes
    json: bytes
    left_out: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    numerical: list[str]
    categorical: list[str]
    left_out: dict[str, str]
    regression: bool
    has_labels: bool
    positive: str | None


def render(data: Sanitised, folder: Path, *, regression: bool = False, positive: str | None = None) -> Rendered:
    """Run Evidently on `data` in a process of its own and read what it wrote.

    Raises:
        JobFailed: the process ended with an error or ran longer than three minutes.
    """
    plan = _Plan(
        numerical=list(data.numerical),
        categorical=list(data.categorical),
        left_out=data.left_out,
        regression=regression,
        has_labels=data.has_labels,
        positive=positive,
    )
    data.current.to_parquet(folder / "current.parquet")
    data.reference.to_parquet(folder / "reference.parquet")
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")
    _run(folder)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    return Rendered(
        html=(folder / "report.html").read_bytes(),
        json=(folder / "report.json").read_bytes(),
        left_out=facts["left_out"],
    )


def _run(folder: Path) -> None:
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    command = [sys.executable, "-m", "monitor.reports.evidently", str(folder)]
    try:
        done = subprocess.run(
            command,
            env={**environment, "DO_NOT_TRACK": "1", "MPLCONFIGDIR": str(folder)},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise JobFailed(f"Evidently ran longer than {LIMIT_SECONDS} s on this window and was ended") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise JobFailed(f"Evidently could not report on this window: {lines[-1] if lines else 'no message'}")


def write(folder: Path) -> None:
    """What the child process does: frames and plan in, page and numbers out."""
    plan = _Plan(**json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    current, reference = (pd.read_parquet(folder / f"{side}.parquet") for side in ("current", "reference"))
    columns, left_out = [*plan.numerical, *plan.categorical], dict(plan.left_out)
    try:
        snapshot = _snapshot(current, reference, plan, columns)
    except Exception:  # which columns it cannot take is only found out by trying each of them
        for name in columns:
            if (why := _trouble_with(current, reference, plan, name)) is not None:
                left_out[name] = why
        columns = [name for name in columns if name not in left_out]
        snapshot = _snapshot(current, reference, plan, columns)
    snapshot.save_html(str(folder / "report.html"))
    strict = json.loads(snapshot.json(), parse_constant=lambda _: None)
    (folder / "report.json").write_text(json.dumps(strict, allow_nan=False), encoding="utf-8")
    (folder / "facts.json").write_text(json.dumps({"left_out": left_out}), encoding="utf-8")


def _trouble_with(current: pd.DataFrame, reference: pd.DataFrame, plan: _Plan, name: str) -> str | None:
    try:
        _snapshot(current, reference, plan, [name], outcome=False)
    except Exception as error:
        return f"Evidently could not take it: {type(error).__name__}"
    return None


def _snapshot(
    current: pd.DataFrame, reference: pd.DataFrame, plan: _Plan, columns: list[str], *, outcome: bool = True
) -> Any:
    os.environ["DO_NOT_TRACK"] = "1"
    from evidently import Dataset, Report
    from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset, RegressionPreset

    if not columns:
        raise BadInput("expected at least one feature with values in the window and in the reference, got none")
    judged = outcome and plan.has_labels and _has_prediction(current, plan)
    extra = [name for name in (SCORE, PREDICTION, LABEL) if outcome and name in current.columns]
    definition = _definition(plan, columns, extra, judged=judged)
    presets: list[Any] = [
        DataDriftPreset(
            columns=columns,
            num_method=NUMERIC_METHOD,
            num_threshold=THRESHOLD,
            cat_method=CATEGORICAL_METHOD,
            cat_threshold=THRESHOLD,
            drift_share=0.5,
        ),
        DataSummaryPreset(columns=columns),
    ]
    if judged:
        presets.append(RegressionPreset() if plan.regression else ClassificationPreset())
    sides = [
        Dataset.from_pandas(frame[[*columns, *extra]], data_definition=definition) for frame in (current, reference)
    ]
    return Report(presets, include_tests=True).run(*sides)  # current first


def _has_prediction(current: pd.DataFrame, plan: _Plan) -> bool:
    if plan.regression:
        return PREDICTION in current.columns
    return plan.positive is not None and SCORE in current.columns and PREDICTION in current.columns


def _definition(plan: _Plan, columns: list[str], extra: list[str], *, judged: bool) -> Any:
    from evidently import BinaryClassification, DataDefinition, Regression

    numerical = [name for name in columns if name in plan.numerical]
    numerical += [name for name in extra if plan.regression or name == SCORE]
    categorical = [name for name in columns if name in plan.categorical]
    categorical += [name for name in extra if not plan.regression and name == LABEL]
    tasks: dict[str, Any] = {}
    if judged and plan.regression:
        tasks["regression"] = [Regression(target=LABEL, prediction=PREDICTION)]
    elif judged:
        tasks["classification"] = [
            BinaryClassification(
                target=LABEL, prediction_labels=PREDICTION, prediction_probas=SCORE, pos_label=plan.positive or "1"
            )
        ]
    return DataDefinition(numerical_columns=numerical, categorical_columns=categorical, **tasks)


def main() -> None:
    """The door of the child process."""
    warnings.simplefilter("ignore")
    try:
        write(Path(sys.argv[1]))
    except HoldfastError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
