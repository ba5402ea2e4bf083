"""Measure several versions on the same held-out rows, from files to files: scores, a stress test, latency."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.artifacts import Manifest, Store
from monitor.artifacts.load import LoadedModel, load_model
from monitor.errors import BadInput, HoldfastError
from monitor.jobs.child import OnProgress
from monitor.jobs.stress_child import Headline, factories_named, in_outputs, registered_stream, stress_test
from monitor.jobs.stress_rows import chosen_rows
from monitor.jobs.train_child import TARGET, one_thread
from monitor.robustness import Task, reality_cap
from monitor.schema import FloatArray, Schema

WORK = "monitor.jobs.compare_child:run"
STRESSED_ROWS = 1_024
_TIMED_ROWS = 60
_CAPPED_ROWS = 4_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurements:
    """One version on the held-out rows.

    `learned` are its scores on the rows before them, which its operating threshold comes from; `held` those on the
    held-out rows, (n,) or of several classes (n, k). `report` is the campaign's document, `stream` what later ticks
    hold their lost rows against, `latency_p95_ms` of scoring one row. `attacked` are the worst scores of the held-out
    rows at `attacked_rows` at the headline's level, on a scale of the model's own, and `threshold` the operating one on
    it: other versions were attacked on the same rows.
    """

    learned: FloatArray
    held: FloatArray
    report: dict[str, Any]
    headline: Headline
    stream: dict[str, Any]
    reality_cap: float | None
    latency_p95_ms: float
    attacked: FloatArray
    attacked_rows: NDArray[np.intp]
    threshold: float | None


def write_work(
    folder: Path, frame: pd.DataFrame, y: FloatArray, *, held: int, manifests: Mapping[str, Manifest], declared: Schema,
    store: Store, factories: Sequence[str], level: str, task: str, seed: int,
) -> None:  # fmt: skip
    """What the child reads: raw features and targets (n,) in order of time, the last `held` of them held out.

    Features travel raw because every version encodes them by the schema of its own manifest.
    """
    given = {
        "manifests": {name: manifest.to_document() for name, manifest in manifests.items()},
        "declared": declared.to_document(),
        "store": str(store.root),
        "factories": list(factories),
        "level": level,
        "task": task,
        "held": held,
        "seed": seed,
    }
    frame.assign(**{TARGET: y}).to_parquet(folder / "compared.parquet")
    (folder / "compare.json").write_text(json.dumps(given), encoding="utf-8")


def read_measurements(folder: Path, names: Sequence[str]) -> dict[str, Measurements]:
    """What the child wrote about each version."""
    facts = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    with np.load(folder / "scores.npz") as scores:
        return {
            name: Measurements(
                learned=scores[f"{name}.learned"],
                held=scores[f"{name}.held"],
                report=facts[name]["report"],
                headline=Headline.from_document(facts[name]["headline"]),
                stream=facts[name]["stream"],
                reality_cap=facts[name]["reality_cap"],
                latency_p95_ms=facts[name]["latency_p95_ms"],
                attacked=scores[f"{name}.attacked"],
                attacked_rows=scores[f"{name}.attacked_rows"],
                threshold=facts[name]["threshold"],
            )
            for name in names
        }


def run(folder: Path, on_progress: OnProgress) -> None:
    """compare.json and compared.parquet → measured.json and scores.npz."""
    given = json.loads((folder / "compare.json").read_text(encoding="utf-8"))
    frame = pd.read_parquet(folder / "compared.parquet")
    y = frame.pop(TARGET).to_numpy(np.float64)
    store, factories = Store(given["store"]), factories_named(given["factories"])
    facts: dict[str, Any] = {}
    scores: dict[str, NDArray[Any]] = {}
    names = list(given["manifests"])
    with one_thread():
        for order, name in enumerate(names):
            on_progress({"done": order, "total": len(names), "sentence": f"gates: measuring the {name} version"})
            loaded = load_model(Manifest.from_document(given["manifests"][name]), store, factories)
            model = loaded.under(Schema.from_document(given["declared"]))
            facts[name], found = _measured_or_said(name, model, model.schema.encode(frame), y, given)
            scores |= {f"{name}.{part}": values for part, values in found.items()}
    (folder / "measured.json").write_text(json.dumps(facts), encoding="utf-8")
    np.savez(folder / "scores.npz", allow_pickle=False, **scores)


def _measured_or_said(
    name: str, model: LoadedModel, rows: FloatArray, y: FloatArray, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The same; what a model of somebody's own raises on these rows, it would raise again."""
    try:
        return _measured(model, rows, y, given)
    except HoldfastError:
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {str(error)[:300]}"
        raise BadInput(
            f"the {name} version could not score the held-out rows, or these with faults such as missing values: {why}"
        ) from error


def _measured(
    model: LoadedModel, rows: FloatArray, y: FloatArray, given: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Facts and scores of one version; rows, threat and seed are the same for every version."""
    cut, seed = len(rows) - int(given["held"]), int(given["seed"])
    cap = None
    if given["task"] != "regression":
        cap = reality_cap(model.schema, rows[:cut][-_CAPPED_ROWS:], y[:cut][-_CAPPED_ROWS:])
    chosen = cut + chosen_rows(y[cut:], STRESSED_ROWS, given["task"], seed)
    report, headline = stress_test(
        model, rows[chosen], y[chosen], reference=rows[:cut], level=given["level"], threshold=None, cap=cap, seed=seed,
        most=STRESSED_ROWS, clock=time.perf_counter,
    )  # fmt: skip
    scored = model.predict_score(rows)
    threshold = None
    if model.task is Task.BINARY:
        threshold = in_outputs(model, float(np.quantile(scored[:cut], 1 - (y[:cut] > 0).mean())))
    facts = {
        "report": report.to_document(),
        "headline": headline.to_document(),
        "stream": registered_stream(report, headline.level, y[chosen], threshold=threshold),
        "reality_cap": cap,
        "latency_p95_ms": _latency(model, rows[cut:]),
        "threshold": report.threshold,
    }
    place = [level.level for level in report.levels].index(headline.level)
    return facts, {
        "learned": scored[:cut],
        "held": scored[cut:],
        "attacked": report.worst_outputs[place],
        "attacked_rows": chosen[list(report.rows)] - cut,
    }


def _latency(model: LoadedModel, rows: FloatArray) -> float:
    """The 95th percentile of milliseconds of processor time to score one row: other work must not fail a candidate."""
    timed = []
    model.predict_score(rows[:1])
    for place in range(_TIMED_ROWS):
        row = rows[place % len(rows)][None, :]
        started = time.thread_time()
        model.predict_score(row)
        timed.append(time.thread_time() - started)
    return float(np.quantile(timed, 0.95) * 1_000)
