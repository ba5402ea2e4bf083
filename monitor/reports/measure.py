"""The metrics of a monitor on one window, computed in a process of its own; what one of them breaks is its own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from monitor.errors import BadInput, JobFailed
from monitor.reports import process
from monitor.reports.allowed import CATEGORICAL, NUMERICAL, outcome_of
from monitor.reports.config import EvidentlyConfig, MetricSpec
from monitor.reports.sanitise import LABEL, PREDICTION, SCORE, Sanitised
from monitor.reports.series import Result, escaped, key_of, plain, results_of
from monitor.schema import Kind, Schema

_CHECK_SECONDS = 60
_SHARE_OF_ONE = 0.5  # of the time limit, for one metric


def checked(config: EvidentlyConfig, schema: Schema, *, task: str) -> EvidentlyConfig:
    """The settings with every name known to Evidently and every method and threshold said outright.

    Raises:
        BadInput: an unknown name, argument, column or method; the sentence names what may have been meant.
        JobFailed: the process that knows the names did not answer.
    """
    plan = {
        "units": [spec.model_dump() for spec in config.metrics],
        "kinds": kinds_of(schema, regression=task == "regression"),
        "task": outcome_of(task),
    }
    with process.folder() as folder:
        _write(folder / "plan.json", plan)
        process.run("check", folder, limit_seconds=_CHECK_SECONDS)
        found = _read(folder / "checked.json")
    if found["wrong"]:
        raise BadInput("; ".join(found["wrong"]))
    return config.model_copy(update={"metrics": tuple(MetricSpec(**spec) for spec in found["metrics"])})


def kinds_of(schema: Schema, *, regression: bool) -> dict[str, str]:
    """What a metric may name: the features, and score, prediction and label by the names that Evidently sees."""
    kinds = {one.name: NUMERICAL if one.name in _numeric(schema) else CATEGORICAL for one in schema.features}
    outcome = NUMERICAL if regression else CATEGORICAL
    return {**kinds, SCORE: NUMERICAL, PREDICTION: outcome, LABEL: outcome}


def _numeric(schema: Schema) -> set[str]:
    return {one.name for one in schema.features if one.kind in (Kind.NUMERIC, Kind.INTEGER)}


def measure(
    config: EvidentlyConfig, data: Sanitised, *, regression: bool = False, positive: str | None = None
) -> tuple[Result, ...]:
    """Every metric's results, in the order of the settings; what failed is a result with its status and a sentence."""
    with process.folder() as folder:
        plan = frames_to(folder, data, regression=regression, positive=positive) | {
            "units": [{"name": spec.name, "arguments": escaped(spec.arguments)} for spec in config.metrics],
            "unit_seconds": config.limit_seconds * _SHARE_OF_ONE,
        }
        _write(folder / "plan.json", plan)
        failure = ""
        try:
            process.run("measure", folder, limit_seconds=config.limit_seconds)
        except JobFailed as error:
            failure = str(error)
        lines = _lines(folder / "results.jsonl")
    found = {line["unit"]: line for line in lines}
    return tuple(
        result
        for number, spec in enumerate(config.metrics)
        for result in _of_unit(spec, found.get(number) or {"results": [], "status": "error", "why": failure}, data)
    )


def frames_to(folder: Path, data: Sanitised, *, regression: bool, positive: str | None) -> dict[str, Any]:
    """Write both frames where the process looks for them; what it must be told about them."""
    data.current.to_parquet(folder / "current.parquet")
    data.reference.to_parquet(folder / "reference.parquet")
    return {
        "numerical": list(data.numerical),
        "categorical": list(data.categorical),
        "empty": list(data.empty),
        "regression": regression,
        "has_labels": data.has_labels,
        "positive": positive,
    }


def _of_unit(spec: MetricSpec, line: Mapping[str, Any], data: Sanitised) -> Iterator[Result]:
    found = [result for raw in line["results"] for result in results_of(raw, notes=data.notes)]
    yield from (_all_null(result, data) if result.status == "error" else result for result in found)
    if not spec.columns and any(result.subject for result in found):  # it speaks of every column that has values
        yield from (_all_null(_without_value(spec, name, "all_null", ""), data) for name in data.left_out)
    for name, why in plain(line.get("troubled", {})).items():
        yield _all_null(_without_value(spec, name, "error", f"{name}: {spec.name} could not be computed: {why}"), data)
    if "why" in line:
        subject = spec.columns[0] if len(spec.columns) == 1 else None
        told = f"{subject}: {spec.name}" if subject else spec.name
        sentence = f"{told} could not be computed: {plain(line['why'])}"
        yield _all_null(_without_value(spec, subject, line["status"], sentence), data)


def _without_value(spec: MetricSpec, subject: str | None, status: str, sentence: str) -> Result:
    return Result(metric=key_of(spec.name, spec.arguments), subject=subject, status=status, sentence=sentence)


def _all_null(result: Result, data: Sanitised) -> Result:
    """The status of a column that has nothing on one side: there was nothing to compute."""
    why = data.left_out.get(result.subject or "")
    if why is None:
        return result
    sentence = f"{result.subject}: {why}"
    return Result(metric=result.metric, subject=result.subject, status="all_null", sentence=sentence)


def _lines(file: Path) -> Sequence[Mapping[str, Any]]:
    """The whole lines that were written before the process ended, however it did."""
    if not file.exists():
        return ()
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _write(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document), encoding="utf-8")


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
