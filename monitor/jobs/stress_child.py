"""One stress tick from files to files, so that a model that crashes or leaks ends its own process alone."""

import importlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import logit

from monitor.artifacts.load import LoadedModel, load_model
from monitor.artifacts.manifest import Manifest
from monitor.artifacts.store import Store
from monitor.errors import BadInput
from monitor.jobs.child import OnProgress
from monitor.performance.intervals import delong
from monitor.robustness import CampaignReport, LevelResult, Plan, Task, ThreatModel, run_campaign
from monitor.robustness.target import Target
from monitor.schema import FloatArray
from monitor.training.networks import FACTORIES, Factory

_WORDS = {"robust_auc": "robust AUC", "robust_accuracy": "robust accuracy", "robust_mae": "worst-case error"}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The one figure of a stress test with its 95 % interval, at the level that alerts read.

    `metric` is robust_auc for binary models, robust_accuracy for more classes, robust_mae (higher is worse) for values;
    `clean` is the same without an attack. `budget` says in raw units what the attack may change.
    """

    metric: str
    value: float
    low: float
    high: float
    clean: float
    level: str
    corrupted_auc: float | None
    budget: tuple[str, ...]

    @property
    def words(self) -> str:
        return _WORDS[self.metric]

    @property
    def higher_is_better(self) -> bool:
        return self.metric != "robust_mae"

    def fell_below(self, registered: "Headline") -> bool:
        """Whether this interval lies beyond the one at registration by more than the clean figure itself has lost.

        A model that is less accurate is worse under attack too; that is harm, not fragility.
        """
        if self.higher_is_better:
            return self.high + max(0.0, registered.clean - self.clean) < registered.low
        return self.low - max(0.0, self.clean - registered.clean) > registered.high

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values; the value also goes by the metric's own name."""
        return {**asdict(self), "budget": list(self.budget), self.metric: self.value}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Headline":
        """The figure that `to_document` wrote; further keys are ignored."""
        known = {name: document[name] for name in cls.__dataclass_fields__}
        return cls(**{**known, "budget": tuple(known["budget"])})


def run(folder: Path, on_progress: OnProgress) -> None:
    """given.json and rows.npz → found.json."""
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    with np.load(folder / "rows.npz") as arrays:
        rows, y, reference = arrays["rows"], arrays["y"], arrays["reference"]
    model = load_model(
        Manifest.from_document(given["manifest"]), Store(given["store"]), factories_named(given["factories"])
    )
    report, headline = stress_test(
        model, rows, y, reference=reference, level=given["level"],
        threshold=given["threshold"], cap=given["cap"], seed=given["seed"], most=len(rows), clock=time.perf_counter,
        on_progress=on_progress,
    )  # fmt: skip
    found = {"report": report.to_document(), "headline": headline.to_document()}
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def stress_test(
    model: LoadedModel, rows: FloatArray, y: FloatArray, *, reference: FloatArray, level: str,
    threshold: float | None, cap: float | None, seed: int, most: int, clock: Callable[[], float],
    on_progress: OnProgress = lambda _: None,
) -> tuple[CampaignReport, Headline]:  # fmt: skip
    """A campaign of the plan `tick` on all given rows, and its headline at `level`."""
    threat = ThreatModel.from_schema(model.schema, reference, level=level, reality_cap=cap)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a worker shares its machine with others
    try:
        report = run_campaign(
            model.under_attack, rows, y, threat, plan=Plan(name="tick", rows=most), seed=seed, schema=model.schema,
            reference=reference, task=model.task, threshold=_in_outputs(model, threshold), clock=clock,
            progress=lambda share, said: on_progress({"done": round(100 * share), "total": 100, "sentence": said}),
        )  # fmt: skip
        return report, _headline(model, report, y, level)
    finally:
        torch.set_num_threads(threads)


def factories_named(names: Iterable[str]) -> dict[str, Factory]:
    """The built-in torch factories, and those of an allow-list of import strings."""
    chosen = dict(FACTORIES)
    for name in names:
        if name not in chosen:
            module, _, function = name.partition(":")
            chosen[name] = getattr(importlib.import_module(module), function)
    return chosen


def _in_outputs(model: LoadedModel, threshold: float | None) -> float | None:
    """The operating threshold in the model's own outputs: logits of a module, probabilities of a black box."""
    if threshold is None or model.task is not Task.BINARY or model.module is None:
        return threshold if model.task is Task.BINARY else None
    return float(logit(np.clip(threshold, 1e-9, 1 - 1e-9)))


def _headline(model: LoadedModel, report: CampaignReport, y: FloatArray, level: str) -> Headline:
    place, at = _at(report, level)
    metric, value, (low, high), clean = _figure(model, report, at, place, y)
    return Headline(
        metric=metric,
        value=value,
        low=low,
        high=high,
        clean=clean,
        level=level,
        corrupted_auc=report.mean_corrupted_auc,
        budget=tuple(entry.text for entry in at.raw_budget),
    )


def _figure(
    model: LoadedModel, report: CampaignReport, at: LevelResult, place: int, y: FloatArray
) -> tuple[str, float, tuple[float, float], float]:
    if model.task is Task.REGRESSION:
        return "robust_mae", at.attacked, at.interval, at.clean
    if at.robust_auc is None or at.clean_auc is None:
        return "robust_accuracy", at.attacked, at.interval, at.clean
    scores = Target(model.under_attack, model.task).outputs(report.adversarial[place])
    area, interval = delong(y[list(report.rows)], scores)
    return "robust_auc", area, interval, at.clean_auc


def _at(report: CampaignReport, level: str) -> tuple[int, LevelResult]:
    for place, result in enumerate(report.levels):
        if result.level == level:
            return place, result
    raise BadInput(
        f"expected a stress level among {', '.join(result.level for result in report.levels)}, got {level!r}"
    )
