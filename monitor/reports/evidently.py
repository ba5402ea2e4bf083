"""The only file that knows Evidently: `python -m monitor.reports.evidently COMMAND FOLDER`, in a process of its own.

The folder holds plan.json and what the command reads; what it makes is written beside. The import takes two seconds and
180 MiB, so nothing else may reach for it. Commands: `report` renders a page, `measure` computes the metrics of a
monitor one by one, `check` reads a monitor's settings, `export` fills a workspace that `evidently ui` opens.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from monitor.errors import BadInput, HoldfastError
from monitor.reports.allowed import (
    CATEGORICAL_METHOD,
    NUMERIC_METHOD,
    OUTCOMES,
    THRESHOLD,
    Method,
    Vocabulary,
    arguments_of,
    completed,
)
from monitor.reports.config import MetricSpec
from monitor.reports.process import end_now, end_with_parent, time_limit
from monitor.reports.sanitise import LABEL, PREDICTION, SCORE

_NOT_KEPT = {  # by module or by name
    "recsys": "ranked lists of items",
    "embeddings": "embeddings",
    "row_test_summary": "descriptors of texts",
    "TextEvals": "descriptors of texts",
}
FINDINGS, OWN_METHOD, _MOST_DRAWN = "holdfast-findings", "holdfast", 20


@dataclass(frozen=True, kw_only=True)
class _Data:
    """Two sanitised frames and what their columns are."""

    current: pd.DataFrame
    reference: pd.DataFrame
    numerical: list[str]
    categorical: list[str]
    regression: bool
    has_labels: bool
    positive: str | None  # of two classes; None: several, or values
    empty: list[str]

    @classmethod
    def read(cls, folder: Path, plan: dict[str, Any]) -> "_Data":
        current, reference = (pd.read_parquet(folder / f"{side}.parquet") for side in ("current", "reference"))
        names = ("numerical", "categorical", "regression", "has_labels", "positive", "empty")
        return cls(current=current, reference=reference, **{name: plan[name] for name in names})

    @property
    def columns(self) -> list[str]:
        """The features with values on both sides."""
        return [name for name in (*self.numerical, *self.categorical) if name not in self.empty]

    @property
    def is_judged(self) -> bool:
        """Whether predictions can be held against labels."""
        if not self.has_labels or PREDICTION not in self.current.columns:
            return False
        if self.positive is not None:
            return SCORE in self.current.columns
        return self.regression or not self.one_sided

    @property
    def one_sided(self) -> tuple[str, ...]:
        """Of several classes those that one side alone has: Evidently's metrics of classes fail on them."""
        if self.regression or self.positive is not None or PREDICTION not in self.current.columns:
            return ()
        seen = [
            {*frame[LABEL].dropna(), *frame[PREDICTION].dropna()} if LABEL in frame.columns else set()
            for frame in (self.current, self.reference)
        ]
        return tuple(sorted(seen[0] ^ seen[1]))

    @property
    def lacks(self) -> str:
        """What is lacking for predictions to be held against labels."""
        if self.has_labels and self.one_sided:
            return f"classes on both sides: {', '.join(self.one_sided)} is in the window or in the reference alone"
        return "predictions and labels in the window and in the reference"

    def run(self, metrics: list[Any], columns: Sequence[str], *, outcome: bool, **said: Any) -> Any:
        """Evidently's snapshot of these columns, and with `outcome` of score, prediction and label."""
        from evidently import Dataset, Report
        from evidently.core.report import ReferenceMetricNotFound

        extra = [name for name in (SCORE, PREDICTION, LABEL) if outcome and name in self.current.columns]
        chosen = list(dict.fromkeys([*columns, *extra]))
        definition = self._definition(chosen, judged=outcome and self.is_judged)
        sides = [
            Dataset.from_pandas(frame[chosen], data_definition=definition) for frame in (self.current, self.reference)
        ]
        try:
            return Report(metrics, include_tests=True).run(*sides, **said)  # current first
        except ReferenceMetricNotFound as error:  # which is no Exception there
            raise BadInput(str(error)) from error

    def _definition(self, columns: list[str], *, judged: bool) -> Any:
        from evidently import BinaryClassification, DataDefinition, MulticlassClassification, Regression

        as_numbers = {*self.numerical, SCORE, *((PREDICTION, LABEL) if self.regression else ())}
        tasks: dict[str, Any] = {}
        if judged and self.regression:
            tasks["regression"] = [Regression(target=LABEL, prediction=PREDICTION)]
        elif judged and self.positive is None:  # of several classes no scores are logged, but of the predicted one
            tasks["classification"] = [MulticlassClassification(target=LABEL, prediction_labels=PREDICTION)]
        elif judged:
            tasks["classification"] = [
                BinaryClassification(
                    target=LABEL, prediction_labels=PREDICTION, prediction_probas=SCORE, pos_label=self.positive
                )
            ]
        told_by_task = {PREDICTION} if tasks and not self.regression else set()
        return DataDefinition(
            numerical_columns=[name for name in columns if name in as_numbers],
            categorical_columns=[name for name in columns if name not in as_numbers | told_by_task],
            **tasks,
        )


def write_report(folder: Path) -> None:
    """plan.json and two frames in; report.html, report.json, snapshot.json and facts.json out."""
    plan = _plan(folder)
    data, left_out = _Data.read(folder, plan), dict(plan["left_out"])
    columns = data.columns
    if "outcome" in plan["presets"] and data.has_labels and data.one_sided:
        left_out[PREDICTION] = f"not judged, it needs {data.lacks}"
    try:
        snapshot = _report(data, plan, columns)
    except HoldfastError:
        raise
    except Exception:  # which columns it cannot take is only found out by trying each of them
        for name in columns:
            if (why := _trouble(partial(_report, data, plan, [name], alone=True))) is not None:
                left_out[name] = f"Evidently could not take it: {why}"
        snapshot = _report(data, plan, [name for name in columns if name not in left_out])
    snapshot.save_html(str(folder / "report.html"))
    strict = json.loads(snapshot.json(), parse_constant=lambda _: None)
    (folder / "report.json").write_text(json.dumps(strict, allow_nan=False), encoding="utf-8")
    (folder / "snapshot.json").write_text(snapshot.dumps(), encoding="utf-8")
    (folder / "facts.json").write_text(json.dumps({"left_out": left_out}), encoding="utf-8")


def _report(data: _Data, plan: dict[str, Any], columns: list[str], *, alone: bool = False) -> Any:
    if not columns:
        raise BadInput("expected at least one feature with values in the window and in the reference, got none")
    presets = [preset for word in plan["presets"] for preset in _presets(word, data, columns, alone=alone)]
    said = {} if alone else {
        "timestamp": datetime.fromisoformat(plan["starts"]), "name": plan["name"], "tags": plan["tags"],
        "metadata": plan["metadata"],
    }  # fmt: skip
    return data.run(presets, columns, outcome=not alone, **said)


def _presets(word: str, data: _Data, columns: list[str], *, alone: bool) -> Iterator[Any]:
    from evidently.presets import ClassificationPreset, DataDriftPreset, DataSummaryPreset, RegressionPreset

    if word == "drift":
        yield DataDriftPreset(
            columns=columns, num_method=NUMERIC_METHOD, num_threshold=THRESHOLD, cat_method=CATEGORICAL_METHOD,
            cat_threshold=THRESHOLD, drift_share=0.5,
        )  # fmt: skip
    elif word == "summary":
        yield DataSummaryPreset(columns=columns)
    elif not alone and data.is_judged:
        yield RegressionPreset() if data.regression else ClassificationPreset()
    elif not alone and word in OUTCOMES:
        raise BadInput(f"a {word} report needs {data.lacks}")


def write_measures(folder: Path) -> None:
    """plan.json and two frames in; a line of results.jsonl for each metric as soon as it is done."""
    plan, vocabulary = _plan(folder), _vocabulary()
    data = _Data.read(folder, plan)
    with (folder / "results.jsonl").open("w", buffering=1, encoding="utf-8") as lines:
        for number, unit in enumerate(plan["units"]):
            try:
                with time_limit(plan["unit_seconds"]):
                    found = _measured(vocabulary, data, MetricSpec(**unit))
            except Exception as error:  # of this metric alone: the others go on
                found = {"results": [], "status": "error", "why": _words(error)}
            print(json.dumps({"unit": number, **found}, allow_nan=False), file=lines)


def _measured(vocabulary: Vocabulary, data: _Data, spec: MetricSpec) -> dict[str, Any]:
    """The results of one metric or preset, and in `troubled` why some columns have none."""
    needs = _task_of(vocabulary, spec)
    if needs is not None and not data.is_judged:
        return {"results": [], "status": "insufficient", "why": f"{needs} metrics need {data.lacks}"}
    columns = list(spec.columns) or data.columns
    if missing := [name for name in columns if name not in data.current.columns]:
        return {"results": [], "status": "insufficient", "why": f"no {missing[0]} in the window and in the reference"}
    try:
        return {"results": _results(vocabulary, data, spec, columns, outcome=not spec.columns)}
    except TimeoutError:
        raise
    except Exception:
        if len(columns) == 1 or "columns" not in arguments_of(vocabulary.metrics[spec.name]):
            raise
    alone = {name: _trouble(partial(_results, vocabulary, data, spec, [name], outcome=False)) for name in columns}
    troubled = {name: why for name, why in alone.items() if why is not None}
    good = [name for name in columns if name not in troubled]
    return {"results": _results(vocabulary, data, spec, good, outcome=False) if good else [], "troubled": troubled}


def _results(
    vocabulary: Vocabulary, data: _Data, spec: MetricSpec, columns: list[str], *, outcome: bool
) -> list[dict[str, Any]]:
    if "columns" in arguments_of(vocabulary.metrics[spec.name]):
        spec = MetricSpec(name=spec.name, arguments={**spec.arguments, "columns": columns})
    snapshot = data.run([vocabulary.build(spec)], columns, outcome=outcome)
    found = json.loads(snapshot.json(), parse_constant=lambda _: None)
    tests: dict[str, list[dict[str, Any]]] = {}
    for test in found["tests"]:
        shown = {name: test.get(name) for name in ("status", "description", "test_config")}
        shown["is_count"] = bool(test["bound_test"].get("is_count"))
        tests.setdefault(test["metric_config"]["metric_id"], []).append(shown)
    return [
        {
            "name": metric["metric_name"].partition("(")[0],
            "config": {word: value for word, value in metric["config"].items() if word != "type"},
            "value": metric["value"],
            "tests": tests.get(metric["id"], []),
        }
        for metric in found["metrics"]
        if metric
    ]


def write_check(folder: Path) -> None:
    """plan.json with metrics and kinds of columns in; checked.json out: the metrics made complete, or what is wrong."""
    plan, vocabulary = _plan(folder), _vocabulary()
    whole, wrong = [], []
    for unit in plan["units"]:
        spec = MetricSpec(**unit)
        try:
            done = completed(spec, vocabulary, plan["kinds"])
            if (needs := _task_of(vocabulary, spec)) not in (None, plan["task"]):
                raise BadInput(f"{spec.name} is for {needs}; the model does {plan['task']}")
            whole.append(done.model_dump())
        except BadInput as error:
            wrong.append(str(error))
    (folder / "checked.json").write_text(json.dumps({"metrics": whole, "wrong": wrong}), encoding="utf-8")


def write_workspace(folder: Path) -> None:
    """plan.json with workspace, project, snapshots and windows in; exported.json out: how many runs are new."""
    from evidently.core.report import Snapshot
    from evidently.ui.workspace import Workspace

    plan = _plan(folder)
    workspace = Workspace.create(plan["workspace"])
    project = next(iter(workspace.search_project(plan["project"])), None)
    if project is None:
        project = workspace.create_project(plan["project"], description=plan["description"])
    _add_panels(project, plan["windows"])
    there = {_run_key(workspace.get_run(project.id, run)) for run in workspace.list_runs(project.id)}
    given = [*map(Snapshot.load, plan["snapshots"]), *map(own_snapshot, plan["windows"])]
    new = 0
    for snapshot in given:
        model = snapshot.to_snapshot_model()
        if _run_key(model) not in there:
            workspace.add_run(project.id, snapshot, name=model.name)
            there.add(_run_key(model))
            new += 1
    facts = {"project": str(project.id), "new": new, "there": len(given) - new}
    (folder / "exported.json").write_text(json.dumps(facts), encoding="utf-8")


def own_snapshot(window: dict[str, Any]) -> Any:
    """Holdfast's findings of a window as a snapshot: each feature's distance, and a test that failed where it moved.

    Nothing of Evidently is computed. It fills private attributes, as `Snapshot.load_model` does: hence the exact pin.
    """
    from evidently import Report
    from evidently.core.metric_types import MetricTestResult, SingleValue, metric_tests_widget
    from evidently.core.report import Snapshot, metric_tests_stats
    from evidently.legacy.tests.base_test import TestStatus
    from evidently.metrics import ValueDrift

    snapshot = Snapshot(
        Report([]), window["name"], datetime.fromisoformat(window["starts"]), window["metadata"], [FINDINGS]
    )
    tests = []
    for found in window["findings"]:
        calculation = ValueDrift(column=found["column"], method=OWN_METHOD).to_calculation()
        config = calculation.to_metric_config()
        result = SingleValue(display_name=f"Distance of {found['column']}, σ", value=found["value"])
        result.set_metric_location(config)
        status = TestStatus.FAIL if found["fired"] else TestStatus.SUCCESS
        result.set_tests(
            [
                MetricTestResult(
                    id="holdfast", name=found["column"], description=found["sentence"], metric_config=config,
                    test_config={}, status=status,
                )
            ]
        )  # fmt: skip
        snapshot._metrics[calculation.id] = result
        tests += result.tests
    snapshot._top_level_metrics = list(snapshot._metrics)
    snapshot._widgets = []
    snapshot._tests_widgets = [metric_tests_stats(tests), metric_tests_widget(tests)]
    return snapshot


def _run_key(run: Any) -> str:
    return str(run.metadata.get("holdfast_report", "")) if run is not None else ""


def _add_panels(project: Any, windows: list[dict[str, Any]]) -> None:
    """What the project's first page draws over time; a panel that is there stays as people changed it."""
    from evidently.sdk.models import PanelMetric
    from evidently.sdk.panels import line_plot_panel

    columns = list(dict.fromkeys(found["column"] for window in windows for found in window["findings"]))
    drawn = {
        "Share of drifted columns, by Evidently's tests": [
            PanelMetric(legend="share", metric="DriftedColumnsCount", metric_labels={"value_type": "share"})
        ],
        "How far each feature moved, σ, by Holdfast": [
            PanelMetric(legend=name, tags=[FINDINGS], metric="ValueDrift", metric_labels={"column": name})
            for name in columns[:_MOST_DRAWN]
        ],
    }
    there = {panel.title for panel in project.dashboard.model().panels}
    for title, values in drawn.items():
        if values and title not in there:
            project.dashboard.add_panel(line_plot_panel(title=title, values=values))


def _vocabulary() -> Vocabulary:
    """Evidently's metrics, presets, tests and drift methods, by the names that it exports."""
    import evidently.legacy.calculations.stattests as stattests
    from evidently import metrics, presets, tests
    from evidently.core.container import MetricContainer
    from evidently.core.metric_types import Metric

    classes = {
        name: found
        for module in (metrics, presets)
        for name, found in vars(module).items()
        if isinstance(found, type) and issubclass(found, Metric | MetricContainer)
    }
    unavailable = {
        name: why for name, one in classes.items() if (why := _NOT_KEPT.get(_room(one)) or _NOT_KEPT.get(name))
    }
    return Vocabulary(
        metrics={name: one for name, one in classes.items() if name not in unavailable},
        unavailable=unavailable,
        tests={name: one for name, one in vars(tests).items() if callable(one) and not isinstance(one, type)},
        relative=tests.Reference,
        methods={
            one.name: Method(
                name=one.name, kinds=frozenset(kind.value for kind in one.allowed_feature_types),
                threshold=one.default_threshold,
            )
            for one in vars(stattests).values()
            if isinstance(one, stattests.StatTest)
        },
    )  # fmt: skip


def _room(chosen: type) -> str:
    return chosen.__module__.rpartition(".")[2]


def _task_of(vocabulary: Vocabulary, spec: MetricSpec) -> str | None:
    room = _room(vocabulary.metrics[spec.name])
    return room if room in OUTCOMES else None


def _trouble(attempt: Callable[[], Any]) -> str | None:
    try:
        attempt()
    except TimeoutError:
        raise
    except Exception as error:
        return _words(error)
    return None


def _words(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _plan(folder: Path) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return plan


COMMANDS = {"report": write_report, "measure": write_measures, "check": write_check, "export": write_workspace}


def main() -> None:
    """The door of the child process."""
    warnings.simplefilter("ignore")
    os.environ["DO_NOT_TRACK"] = "1"  # before the import
    end_with_parent()
    try:
        COMMANDS[sys.argv[1]](Path(sys.argv[2]))
    except HoldfastError as error:
        end_now(str(error))
    end_now()


if __name__ == "__main__":
    main()
