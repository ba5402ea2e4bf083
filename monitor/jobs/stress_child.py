"""One stress test from files to files, so that a model that crashes or leaks ends its own process alone."""

import base64
import importlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit

from monitor.artifacts.load import LoadedModel, load_model
from monitor.artifacts.manifest import Manifest
from monitor.artifacts.store import Store
from monitor.errors import BadInput
from monitor.jobs.child import OnProgress
from monitor.jobs.folder_bank import FolderBank, replace_durably
from monitor.jobs.replay import with_replay
from monitor.performance.intervals import delong
from monitor.robustness import CampaignReport, LevelResult, Task, ThreatModel, run_campaign
from monitor.robustness.bank import Bank
from monitor.robustness.lost import lost_rows, registered_cut
from monitor.robustness.plan import Plan, plan_named
from monitor.robustness.stream import Shares
from monitor.robustness.target import Model, Target
from monitor.robustness.threat_model import SIGMA_LEVELS
from monitor.schema import FloatArray, Schema
from monitor.training.networks import FACTORIES, Factory

_MODEST = 10  # a campaign of minutes lets the checks of windows go first
WORK = "monitor.jobs.stress_child:run"
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What the child wrote: the campaign's document, its headline, and which rows (n,) are lost at its level."""

    report: dict[str, Any]
    headline: Headline
    lost: NDArray[np.bool_]


def write_work(
    folder: Path, rows: FloatArray, y: FloatArray, reference: FloatArray, *, manifest: Manifest, declared: Schema,
    store: Store,
    factories: Iterable[str], baseline: Mapping[str, Any], level: str, seed: int, plan: str = "tick",
    levels: Sequence[str] | None = None, previous: Mapping[str, Any] | None = None, bank: bool = False,
) -> None:  # fmt: skip
    """What the child reads; `given.json` comes last, so that a folder which has it is whole."""
    given = {
        "manifest": manifest.to_document(),
        "declared": declared.to_document(),
        "previous": previous,
        "store": str(store.root),
        "factories": sorted(factories),
        "level": level,
        "levels": list(levels) if levels else None,
        "plan": plan,
        "threshold": baseline.get("operating_threshold"),
        "cap": (baseline.get("stress") or {}).get("reality_cap"),
        "cut": (baseline.get("stress_stream") or {}).get("cut"),
        "seed": seed,
        "bank": bank,
    }
    np.savez(folder / "rows.npz", rows=rows, y=y, reference=reference)
    partial = folder / "given.json.part"
    partial.write_text(json.dumps(given), encoding="utf-8")
    replace_durably(partial, folder / "given.json")


def read_found(folder: Path) -> Found:
    """What the child wrote."""
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    headline = Headline.from_document(found["headline"])
    return Found(report=found["report"], headline=headline, lost=unpacked(found["lost"]))


def run(folder: Path, on_progress: OnProgress) -> None:
    """given.json and rows.npz → found.json; what single attacks found is put down in `bank` on the way."""
    given = json.loads((folder / "given.json").read_text(encoding="utf-8"))
    if given.get("bank") and multiprocessing.parent_process() is not None:
        os.nice(_MODEST)
    with np.load(folder / "rows.npz") as arrays:
        rows, y, reference = arrays["rows"], arrays["y"], arrays["reference"]
    store, factories = Store(given["store"]), factories_named(given["factories"])
    model, previous = (_loaded(given.get(name), store, factories) for name in ("manifest", "previous"))
    assert model is not None
    model = model.under(Schema.from_document(given["declared"]))
    report, headline = stress_test(
        model, rows, y, reference=reference, level=given["level"],
        threshold=given["threshold"], cap=given["cap"], seed=given["seed"], most=len(rows), clock=time.perf_counter,
        plan=plan_of(given.get("plan", "tick"), given.get("levels")), previous=previous,
        bank=FolderBank(folder / "bank") if given.get("bank") else None, on_progress=on_progress,
    )  # fmt: skip
    cut = given.get("cut")
    if cut is None:
        cut = registered_cut(report, headline.level)
    lost = lost_rows(report, headline.level, cut=cut)
    found = {"report": report.to_document(), "headline": headline.to_document(), "lost": packed(lost)}
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


def _loaded(document: dict[str, Any] | None, store: Store, factories: dict[str, Factory]) -> LoadedModel | None:
    return load_model(Manifest.from_document(document), store, factories) if document else None


def plan_of(name: str, levels: Sequence[str] | None = None) -> Plan:
    """A plan by its name, at its own levels or at others."""
    plan = plan_named(name)
    unknown = set(levels or ()) - set(SIGMA_LEVELS)
    if unknown:
        raise BadInput(f"expected a level among {', '.join(SIGMA_LEVELS)}, got {', '.join(sorted(unknown))}")
    return replace(plan, levels=tuple(levels)) if levels else plan


def packed(lost: NDArray[np.bool_]) -> dict[str, Any]:
    """Which rows are lost, as text that JSON can hold."""
    return {"rows": len(lost), "bits": base64.b64encode(np.packbits(lost).tobytes()).decode()}


def unpacked(document: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The rows that `packed` wrote, shape (n,).

    >>> unpacked(packed(np.array([True, False, True]))).tolist()
    [True, False, True]
    """
    bits = np.frombuffer(base64.b64decode(document["bits"]), dtype=np.uint8)
    return np.unpackbits(bits, count=int(document["rows"])).astype(np.bool_)


def stress_test(
    model: LoadedModel, rows: FloatArray, y: FloatArray, *, reference: FloatArray, level: str,
    threshold: float | None, cap: float | None, seed: int, most: int, clock: Callable[[], float],
    plan: str | Plan = "tick", previous: LoadedModel | None = None, bank: Bank | None = None,
    on_progress: OnProgress = lambda _: None,
) -> tuple[CampaignReport, Headline]:  # fmt: skip
    """A campaign on all given rows, and its headline at `level`; what breaks `previous` is tried on the model too."""
    if model.task is Task.MULTICLASS:
        model.predict_score(rows[:2])  # outputs that do not fit the classes are told before they are attacked
    threat = ThreatModel.from_schema(model.schema, reference, level=level, reality_cap=cap)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a worker shares its machine with others
    try:
        report = run_campaign(
            model.under_attack, rows, y, threat, plan=replace(plan_named(plan), rows=most), seed=seed,
            schema=model.schema, reference=reference, task=model.task, threshold=in_outputs(model, threshold),
            previous=_comparable(previous, model), bank=bank, clock=clock,
            progress=lambda share, said: on_progress({"done": round(100 * share), "total": 100, "sentence": said}),
        )  # fmt: skip
        place, _ = _at(report, level)
        return with_replay(model, report, place), _headline(model, report, y, level)
    finally:
        torch.set_num_threads(threads)


def _comparable(previous: LoadedModel | None, model: LoadedModel) -> Model | None:
    """The model before this one, where both read the same columns."""
    if previous is None or _columns(previous) != _columns(model):
        return None
    return previous.under_attack


def _columns(model: LoadedModel) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(feature.name, str(feature.kind), feature.levels) for feature in model.schema.features]


def registered_stream(
    report: CampaignReport, level: str, y: FloatArray, *, threshold: float | None = None
) -> dict[str, Any]:
    """The part of `Version.baseline` that the lost rows of later ticks are held against.

    `threshold` is the operating one in the model's own outputs, where the campaign ran at another.
    """
    cut = registered_cut(report, level)
    lost = lost_rows(report, level, cut=cut, threshold=threshold)
    return {"level": level, "cut": cut, **Shares.of(lost, y, classes=cut is None).to_document()}


def factories_named(names: Iterable[str]) -> dict[str, Factory]:
    """The built-in torch factories, and those of an allow-list of import strings."""
    chosen = dict(FACTORIES)
    for name in names:
        if name not in chosen:
            module, _, function = name.partition(":")
            chosen[name] = getattr(importlib.import_module(module), function)
    return chosen


def in_outputs(model: LoadedModel, threshold: float | None) -> float | None:
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
