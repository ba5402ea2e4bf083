"""Constrained search beside MOEVA: credit rows in raw units, accounting relations and derived columns.

An account's balance is at least the balance before less what was paid; sums and the use of the limit follow from the
other columns. Rows of both sides are judged by `peer_attack.relations`, which neither search uses.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.attack_cost.models import network
from benchmarks.attack_cost.peers import Answer, Peer, PeerFailed
from benchmarks.attack_cost.worlds import Table, table
from benchmarks.peer_attack import exchange
from benchmarks.peer_attack.relations import derived, satisfied
from monitor.robustness.evolve import evolve
from monitor.robustness.gradient import Search, attack
from monitor.robustness.scale import robust_scale
from monitor.robustness.target import Target, Task, is_right
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import Feature, FloatArray, Kind, Schema

LEVEL = "S5"
QUERIES = 10_000
RELATIONS = (
    *(f"bill_amt{i} >= bill_amt{i + 1} - pay_amt{i} - 1" for i in range(1, 6)),
    "bill_amt1 <= 1.5 * limit_bal",
)
FORMULAS = {
    "total_bill": " + ".join(f"bill_amt{i}" for i in range(1, 7)),
    "total_paid": " + ".join(f"pay_amt{i}" for i in range(1, 7)),
    "utilisation": "bill_amt1 / limit_bal",
}
MUTABLE = tuple(f"{kind}_amt{i}" for kind in ("bill", "pay") for i in range(1, 7))


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """Rows (n, d) of clients in default, classified rightly, that hold the relations."""

    schema: Schema
    model: exchange.Standardised
    x: FloatArray
    y: FloatArray
    threat: ThreatModel

    @property
    def names(self) -> tuple[str, ...]:
        return self.schema.names


def problem(seed: int, *, rows: int) -> Problem:
    """The credit table with its derived columns, a trained network, and the first rows that fit."""
    of = table("credit", seed)
    schema = _schema(of)
    train, held = (_with_derived(part, of, schema) for part in (of.x_train, of.x))
    model = _trained(train, of.y_train, seed)
    right = is_right(Target(model, Task.BINARY).outputs(held), of.y, Task.BINARY)
    fits = satisfied(held, schema.names, RELATIONS, FORMULAS)
    chosen = np.flatnonzero(right & fits & (of.y == 1))[:rows]
    threat = ThreatModel.from_schema(schema, train, level=LEVEL)
    return Problem(schema=schema, model=model, x=held[chosen], y=of.y[chosen], threat=threat)


def compare(seed: int, up: Mapping[str, Peer], folder: Path, *, rows: int, turns: int = 3) -> dict[str, Any]:
    """Robust accuracy and seconds a row, MOEVA's and ours, and what an attack that knows no relations claims."""
    on = problem(seed, rows=rows)
    blind = attack(Target(on.model, Task.BINARY), on.x, on.y, replace(on.threat, links=None), Search(steps=40))
    found: dict[str, Any] = {
        "rows": float(len(on.x)),
        "features": float(len(on.names)),
        "blind gradient attack, claimed robust accuracy": float((blind.margin > 0).mean()),
        "blind gradient attack, refused": float(judge(on, blind.rows)[1]),
    }
    theirs = _theirs(on, up["moeva"], folder, seed) if "moeva" in up else None
    ours = _timed(partial(_evolved, on, seed), on.model, turns)
    both = _timed(partial(_gradient_first, on, seed), on.model, turns)
    for name, made in (("MOEVA", theirs), ("ours", ours), ("ours, gradient first", both)):
        if made is not None:
            broken, refused = judge(on, made.rows)
            found |= {
                f"{name}, robust accuracy": float(1 - broken.mean()),
                f"{name}, seconds a row": made.seconds / len(on.x),
                f"{name}, processor seconds a row": made.processor_seconds / len(on.x),
                f"{name}, queries a row": (made.gradient_rows + made.forward_rows) / len(on.x),
                f"{name}, refused": float(refused),
            }
    if theirs is not None:
        found["share of MOEVA's time"] = ours.seconds / theirs.seconds
        found["share of MOEVA's processor time"] = ours.processor_seconds / theirs.processor_seconds
        found["points above MOEVA"] = 100 * (found["ours, robust accuracy"] - found["MOEVA, robust accuracy"])
    return found


def judge(on: Problem, answer: FloatArray) -> tuple[BoolArray, int]:
    """Which rows (n,) are broken by an allowed row, and how many answers were refused."""
    lower, upper = _box(on)
    slack = 1e-6 * (1 + np.abs(on.x))
    free = np.array([name not in FORMULAS for name in on.names])
    inside = ((answer >= lower - slack) & (answer <= upper + slack))[:, free].all(axis=1)
    allowed = inside & satisfied(answer, on.names, RELATIONS, FORMULAS)
    broken = ~is_right(Target(on.model, Task.BINARY).outputs(answer), on.y, Task.BINARY)
    return allowed & broken, int((~allowed).sum())


def _theirs(on: Problem, peer: Peer, folder: Path, seed: int) -> Answer | None:
    case, (lower, upper) = folder / "constrained", _box(on)
    exchange.save(case, on.model, on.x, on.y, lower=-np.inf, upper=np.inf)
    np.savez(case / "box.npz", lower=lower, upper=upper)
    told = {
        "names": on.names,
        "relations": RELATIONS,
        "formulas": FORMULAS,
        "integers": np.flatnonzero(on.threat.integer).tolist(),
        "box": str(case / "box.npz"),
    }
    question = {"epsilon": 0.0, "steps": 0, "seed": seed, "extra": told}
    try:
        peer.ask(case, "warm", **question)
        return peer.ask(case, "MOEVA", **question)
    except PeerFailed as error:
        print(error, file=sys.stderr)
        return None


def _timed(search: Callable[[Target], FloatArray], model: nn.Module, turns: int) -> Answer:
    """The best time of some turns; the rows come out the same."""
    taken = []
    for _ in range(turns):
        target = Target(model, Task.BINARY)
        started, worked = time.perf_counter(), time.process_time()
        rows = search(target)
        taken.append((time.perf_counter() - started, time.process_time() - worked))
    return Answer(
        rows=rows,
        seconds=min(wall for wall, _ in taken),
        processor_seconds=min(worked for _, worked in taken),
        gradient_rows=target.gradients,
        forward_rows=target.queries,
    )


def _evolved(on: Problem, seed: int, target: Target) -> FloatArray:
    return evolve(target, on.x, on.y, on.threat, queries=QUERIES, seed=seed).rows


def _gradient_first(on: Problem, seed: int, target: Target) -> FloatArray:
    """As a campaign does it: the gradient attack within the relations, then evolution of what it left unbroken."""
    found = attack(target, on.x, on.y, on.threat, Search(steps=40, restarts=1, drop_broken=True), seed=seed)
    rows, left = found.rows.copy(), np.flatnonzero(found.margin >= 0)
    if left.size:
        rows[left] = evolve(
            target, on.x[left], on.y[left], on.threat, queries=QUERIES, seed=seed, start=rows[left]
        ).rows
    return rows


def _box(on: Problem) -> tuple[FloatArray, FloatArray]:
    """The box of the free columns; derived columns stay where they are, they follow."""
    return on.threat.box(on.x)


def _schema(of: Table) -> Schema:
    extra = tuple(Feature(name=name, kind=Kind.NUMERIC, formula=formula) for name, formula in FORMULAS.items())
    return Schema((*of.schema.features, *extra), relations=RELATIONS).with_mutable(MUTABLE)


def _with_derived(rows: FloatArray, of: Table, schema: Schema) -> FloatArray:
    wide = np.column_stack([rows, np.zeros((len(rows), len(schema) - len(of.schema)))])
    return derived(wide, schema.names, FORMULAS)


def _trained(x: FloatArray, y: FloatArray, seed: int) -> exchange.Standardised:
    """A 2 × 128 network behind (x − median) / robust σ."""
    centre = torch.from_numpy(np.median(x, axis=0))
    scale = torch.tensor([robust_scale(column) or 1.0 for column in x.T], dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = exchange.Standardised(centre, scale, network((x.shape[1], 128, 128, 2)))
    rows, labels = torch.from_numpy(x), torch.from_numpy(y).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(10):
        for chosen in torch.randperm(len(rows), generator=generator).split(256):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows[chosen]), labels[chosen]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)
