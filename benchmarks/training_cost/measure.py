"""One method on one split: train it, then measure clean, attacked and disturbed rows, calibration and cost."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit

from benchmarks.training_cost.tables import TRAINED_ON, Split, split
from monitor.errors import HoldfastError
from monitor.robustness import CampaignReport, Plan, Search, Task, ThreatModel, run_campaign
from monitor.robustness.noise import FAMILIES, SEVERITIES, Surroundings, corrupt
from monitor.robustness.plan import PLANS
from monitor.robustness.scoring import auc, calibration_error
from monitor.robustness.target import Target
from monitor.training import Trained, train

METHODS = ("standard", "noise", "hardened", "n_fgsm", "trades", "pgd")
LEVELS = ("S1", "S2", "S3", "S4")
NOISE = ("gaussian", "student_t", "offset", "missing", "unit_x10", "category_swap")
NIGHTLY = replace(PLANS["nightly"], levels=LEVELS, families=(), minimum=False, smoothing_samples=0)
SHORT = Plan(name="short", levels=LEVELS, search=Search(steps=20), families=(), certify_effort=0.1, audit_queries=0)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured: `attacked` rows by `plan`, of those tested, after training on at most `trained_on`."""

    seeds: Sequence[int]
    tables: Sequence[str]
    methods: Sequence[str]
    attacked: int
    plan: Plan
    trained_on: int = TRAINED_ON


def measure(scale: Scale, *, tell: Any = print) -> list[dict[str, Any]]:
    """A row of figures for every table, seed and method; methods take turns on the same split."""
    rows = []
    for name in scale.tables:
        for seed in scale.seeds:
            of = split(name, seed, trained_on=scale.trained_on)
            threat = ThreatModel.from_schema(of.schema, of.x_train)
            for method in scale.methods:
                trained = trained_by(method, of, threat)
                rows.append(_figures(trained, of, threat, scale) | {"table": name, "seed": seed, "method": method})
                tell(line(rows[-1]))
    return rows


def trained_by(method: str, of: Split, threat: ThreatModel) -> Trained:
    """The product's own training by that recipe; its time is processor time."""
    return train(
        of.x_train, of.y_train, of.schema, task=Task.BINARY, recipe=method, threat=threat, seed=of.seed,
        clock=time.process_time,
    )  # fmt: skip


def _figures(trained: Trained, of: Split, threat: ThreatModel, scale: Scale) -> dict[str, Any]:
    outputs = Target(trained.model, Task.BINARY).outputs(of.x_test)
    report, broken = _campaign(trained, of, threat, scale)
    assert trained.cost is not None
    levels = report.levels if report is not None else ()
    return {
        "clean_auc": auc(outputs, of.y_test),
        "validation_auc": trained.quality.value,
        "ece": calibration_error(np.asarray(expit(outputs)), of.y_test),
        "pooled_auc_loss": pooled_auc_loss(trained, of),
        "robust_auc": {level.level: level.robust_auc for level in levels},
        "worst_recall": {level.level: level.worst_recall for level in levels},
        "bracket": {level.level: level.bracket for level in levels},
        "flags": [flag.name for flag in report.audit] if report is not None else [],
        "certified_and_broken": broken,
        "train_seconds": trained.cost.training,
        "validation_seconds": trained.cost.validation,
        "epochs": len(trained.history),
    }


def _campaign(trained: Trained, of: Split, threat: ThreatModel, scale: Scale) -> tuple[CampaignReport | None, int]:
    """The stress test, and how many rows were certified and broken: the campaign itself refuses to report such."""
    chosen = slice(0, scale.attacked)
    plan = replace(scale.plan, rows=scale.attacked)
    try:
        found = run_campaign(
            trained.model, of.x_test[chosen], of.y_test[chosen], threat, plan=plan, seed=of.seed, task=Task.BINARY
        )
    except HoldfastError as error:
        if "certified and broken" not in str(error):
            raise
        return None, 1
    return found, 0


def pooled_auc_loss(trained: Trained, of: Split) -> float:
    """Clean AUC minus the mean over six families of noise in five severities each, on all rows tested."""
    target, around = Target(trained.model, Task.BINARY), Surroundings.of(of.schema, of.x_train)
    clean = auc(target.outputs(of.x_test), of.y_test)
    assert clean is not None
    found = []
    for family in NOISE:
        for severity in range(1, SEVERITIES + 1):
            rng = np.random.default_rng([of.seed, list(FAMILIES).index(family), severity])
            disturbed = corrupt(family, of.x_test, severity, around, rng)
            found.append(auc(target.outputs(disturbed), of.y_test) or 0.5)
    return clean - float(np.mean(found))


def line(row: Mapping[str, Any]) -> str:
    """One measurement for people."""
    robust = " ".join(f"{100 * value:5.1f}" for value in row["robust_auc"].values())
    return (
        f"{row['table']:<15} {row['seed']:>5} {row['method']:<9} clean {100 * row['clean_auc']:6.2f}  "
        f"robust AUC {robust}  noise loss {100 * row['pooled_auc_loss']:5.2f}  ECE {100 * row['ece']:4.1f}  "
        f"{row['train_seconds']:5.1f} + {row['validation_seconds']:4.1f} s"
    )
