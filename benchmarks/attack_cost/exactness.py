"""Where the true answer is known: linear models, small enumerable schemas, scaled logits, batches, certificates."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.attack_cost.accuracy import Subject, box
from benchmarks.attack_cost.models import network, times
from benchmarks.attack_cost.scoring import score, task_of
from benchmarks.attack_cost.worlds import World
from monitor.robustness.certify import certified
from monitor.robustness.feasibility import feasible
from monitor.robustness.gradient import Search, attack
from monitor.robustness.target import Target, Task, is_right
from monitor.robustness.threat_model import ThreatModel
from monitor.schema import Feature, FloatArray, Kind, Schema

LOGIT_SCALES = (1e-3, 1.0, 1e2, 1e3)
SEARCH = Search(steps=40, drop_broken=True)


def linear(worlds: Sequence[World]) -> dict[str, float]:
    """Ours against w·x + b − ε ‖w‖₁ on random linear models in float64: largest |difference| of margins, and of RA."""
    margins, accuracies = [0.0], [0.0]
    for number, of in enumerate(one for one in worlds if one.classes == 2):
        generator = torch.Generator().manual_seed(number)
        layer = nn.Linear(of.x.shape[1], 1, dtype=torch.float64).requires_grad_(False)
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64))
        layer.bias.copy_(torch.randn(1, generator=generator, dtype=torch.float64))
        weight, bias = layer.weight.numpy()[0], float(layer.bias)
        for epsilon in of.epsilons:
            found = attack(Target(layer, Task.BINARY), of.x, of.y, box(of, epsilon), Search(steps=10))
            exact = np.where(of.y > 0, 1, -1) * (of.x @ weight + bias) - epsilon * np.abs(weight).sum()
            margins.append(float(np.abs(found.margin - exact).max()))
            accuracies.append(abs(float(np.mean(found.margin > 0) - np.mean(exact > 0))))
    return {"largest difference of margins": max(margins), "largest difference of RA": max(accuracies)}


def scales(subject: Subject) -> dict[str, float]:
    """Robust accuracy by the factor on the logits, at the third ε; the classifier is the same each time."""
    of = subject.world
    threat, found = box(of, of.epsilons[2]), {}
    for scale in LOGIT_SCALES:
        model = times(subject.model, scale)
        made = attack(Target(model, task_of(of.classes)), of.x, of.y, threat, SEARCH)
        found[f"logits × {scale:g}"] = score(subject.model, of.x, made.rows, of.y, threat).robust_accuracy
    return found | {"spread, points": 100 * (max(found.values()) - min(found.values()))}


def batches(subject: Subject, *, rows: int) -> dict[str, float]:
    """Share of rows whose adversarial row, and whose verdict, is the same in batches of 1 and 7 as in 1,024."""
    of = subject.world
    x, y, threat = of.x[:rows], of.y[:rows], box(of, of.epsilons[2])
    made = {
        size: attack(
            Target(subject.model, task_of(of.classes)), x, y, threat, replace(SEARCH, restarts=1, batch_size=size)
        )
        for size in (1, 7, 1_024)
    }
    whole = made[1_024]
    same = np.all([(made[size].rows == whole.rows).all(axis=1) for size in (1, 7)], axis=0)
    verdict = np.all([(made[size].margin < 0) == (whole.margin < 0) for size in (1, 7)], axis=0)
    return {"identical rows": float(same.mean()), "same verdict": float(verdict.mean()), "rows": float(rows)}


def contradictions(subjects: Sequence[Subject], *, pairs: int, effort: float) -> dict[str, float]:
    """Rows both certified and broken, over at least that many (model, row, ε); should be none.

    `effort` is how many halves of boxes the certificate may try, 0 none.
    """
    seen = bad = sure = infeasible = 0
    share = np.linspace(0.02, 1.0, max(1, -(-pairs // sum(len(s.world.x) for s in subjects))))
    for subject in subjects:
        of, target = subject.world, Target(subject.model, task_of(subject.world.classes))
        for epsilon in share * of.epsilons[2]:
            threat = box(of, float(epsilon))
            found = attack(target, of.x, of.y, threat, Search(steps=10, drop_broken=True))
            proved = certified(target, of.x, of.y, threat, effort=effort)
            assert proved is not None
            broken = ~is_right(target.outputs(found.rows), of.y, target.task)
            seen, sure, bad = seen + len(of.x), sure + int(proved.sum()), bad + int((proved & broken).sum())
            infeasible += int((~feasible(of.x, found.rows, threat)).sum())
    return {
        "pairs": float(seen),
        "certified": float(sure),
        "certified and broken": float(bad),
        "infeasible": infeasible,
    }


def enumerable(seed: int, *, rows: int) -> dict[str, float]:
    """Robust accuracy of ours and of trying every row of a box of four whole numbers, in points above it."""
    rng = np.random.default_rng(seed)
    schema = Schema(tuple(Feature(name=f"n{j}", kind=Kind.INTEGER, lower=0, upper=40, mutable=True) for j in range(4)))
    x = rng.integers(0, 41, (rows, 4)).astype(np.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network((4, 32, 32, 2)).double().requires_grad_(False)
    model[0].weight.mul_(0.1)
    target = Target(model, Task.BINARY)
    logits = target.outputs(x)
    y = (logits > np.median(logits)).astype(np.float64)
    model[-1].bias[1] -= float(np.median(logits))
    target = Target(model, Task.BINARY)
    threat = ThreatModel.from_schema(schema, x, level="S3")
    found = attack(target, x, y, threat, Search(steps=100, restarts=4))
    ours = is_right(target.outputs(found.rows), y, Task.BINARY)
    exact = _brute_force(target, x, y, threat)
    return {
        "ours": float(ours.mean()),
        "brute force": float(exact.mean()),
        "points above": 100 * float(ours.mean() - exact.mean()),
    }


def _brute_force(target: Target, x: FloatArray, y: FloatArray, threat: ThreatModel) -> np.ndarray:
    """Which rows are right at every whole point of their box, (n,)."""
    lower, upper = threat.box(x)
    right = np.ones(len(x), dtype=bool)
    for i in range(len(x)):
        points = np.array(list(product(*(np.arange(a, b + 1) for a, b in zip(lower[i], upper[i], strict=True)))))
        right[i] = is_right(target.outputs(points), np.full(len(points), y[i]), Task.BINARY).all()
    return right


def figures(subjects: Sequence[Subject], *, quick: bool) -> dict[str, Any]:
    """Every figure of this module."""
    standard = [s for s in subjects if s.recipe.kind == "standard"]
    return {
        "linear": linear([s.world for s in standard]),
        "logit scales": {s.recipe.name: scales(s) for s in standard},
        "batches": {s.recipe.name: batches(s, rows=64 if quick else 512) for s in standard},
        "certified and broken": contradictions(
            subjects, pairs=24_000 if quick else 100_000, effort=0.0 if quick else 0.1
        ),
        "enumerable": enumerable(0, rows=100 if quick else 500),
    }
