"""What a scheduled stress test costs in raw units, and how far its two sides are apart: attacked minus certified."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from benchmarks.attack_cost.worlds import Table, table
from monitor.robustness import run_campaign
from monitor.robustness.certify import certified
from monitor.robustness.feasibility import feasible
from monitor.robustness.gradient import Search, attack
from monitor.robustness.target import Target, Task, is_right
from monitor.robustness.threat_model import ThreatModel
from monitor.training import Predictor, train

TICK_ROWS = 512
SHAPES: tuple[tuple[int, ...], ...] = ((128, 128), (256, 256), (256, 256, 256))
JUDGED = {"standard": ("S1", "S2"), "hardened": ("S1", "S2", "S3")}  # the levels of the goal; S3 is told for both


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A predictor from raw rows, trained by the product's own recipe, and the threat on its table."""

    table: Table
    recipe: str
    hidden: tuple[int, ...]
    model: Predictor
    threat: ThreatModel

    @property
    def name(self) -> str:
        return f"{self.table.name}, {self.recipe}, {'×'.join(map(str, self.hidden))}"


def fitted(names: Sequence[str], recipes: Sequence[str], shapes: Sequence[tuple[int, ...]], seed: int) -> list[Fitted]:
    """Every table × recipe × shape, trained."""
    made = []
    for of in (table(name, seed) for name in names):
        threat = ThreatModel.from_schema(of.schema, of.x_train)
        for recipe in recipes:
            for hidden in shapes:
                trained = train(
                    of.x_train, of.y_train, of.schema, task=Task.BINARY, recipe=recipe, threat=threat, seed=seed,
                    network={"hidden": hidden},
                )  # fmt: skip
                made.append(Fitted(table=of, recipe=recipe, hidden=hidden, model=trained.model, threat=threat))
    return made


def tick(of: Fitted, *, turns: int) -> dict[str, float]:
    """Processor seconds of the plan `tick` on 512 rows, the best of some turns; torch's one thread is the caller's."""
    x, y = of.table.x[:TICK_ROWS], of.table.y[:TICK_ROWS]
    taken, infeasible = [], 0
    for _ in range(turns):
        started = time.process_time()
        report = run_campaign(of.model, x, y, of.threat, plan="tick", schema=of.table.schema)
        taken.append(time.process_time() - started)
        kept = list(report.rows)
        infeasible += sum(
            int((~feasible(x[kept], rows, of.threat.at(level.level))).sum())
            for level, rows in zip(report.levels, report.adversarial, strict=True)
        )
    return {
        "seconds": min(taken),
        "parameters": float(_parameters(of.model)),
        "gradient rows": float(report.cost.gradient_rows),
        "queries": float(report.cost.queries),
        "infeasible": float(infeasible),
    }


def brackets(of: Fitted) -> Iterator[dict[str, Any]]:
    """At S1 to S3: attacked and certified accuracy, the points between them, and the seconds of the certificate.

    Of numbers within their boxes; steps of counts and categories are left out on both sides. As in a campaign, rows
    that the attack broke are not certified; the last column looks at these too, without halving boxes.
    """
    x, y = of.table.x, of.table.y
    target = Target(of.model, Task.BINARY)
    for level in ("S1", "S2", "S3"):
        threat = replace(of.threat.at(level), groups=(), swaps=0.0)
        found = attack(target, x, y, threat, Search(steps=40, drop_broken=True, restarts=1))
        right = is_right(target.outputs(found.rows), y, target.task)
        started = time.process_time()
        proved = certified(target, x, y, threat, undecided=right)
        seconds = (time.process_time() - started) * 1_024 / len(x)
        everywhere = certified(target, x, y, threat, effort=0.0)
        assert proved is not None
        assert everywhere is not None
        yield {
            "model": of.name,
            "recipe": of.recipe,
            "level": level,
            "judged": level in JUDGED[of.recipe],
            "attacked": float(right.mean()),
            "certified": float(proved.mean()),
            "points": 100 * float(right.mean() - proved.mean()),
            "seconds per 1,024 rows": seconds,
            "contradictions": int((everywhere & ~right).sum()),
            "infeasible": int((~feasible(x, found.rows, threat)).sum()),
        }


def figures(models: Sequence[Fitted], *, turns: int) -> dict[str, Any]:
    """Ticks of the models of at most 100,000 parameters, and the brackets of all."""
    rows = [row for model in models for row in brackets(model)]
    judged = [row for row in rows if row["judged"]]
    medians = {
        f"{recipe} to {levels[-1]}": float(np.median([row["points"] for row in judged if row["recipe"] == recipe]))
        for recipe, levels in JUDGED.items()
        if any(row["recipe"] == recipe for row in judged)
    }
    return {
        "tick": {model.name: tick(model, turns=turns) for model in models if _parameters(model.model) <= 100_000},
        "bracket": rows,
        "median bracket, points": medians,
    }


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
