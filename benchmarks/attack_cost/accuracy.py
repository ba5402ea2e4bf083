"""Robust accuracy, ours beside the peers', model by model, ε by ε, seed by seed, at no more gradient calls."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from benchmarks.attack_cost.models import RECIPES, Recipe, accuracy, times, trained
from benchmarks.attack_cost.peers import METHODS, Method, Peer, PeerFailed
from benchmarks.attack_cost.scoring import score, task_of
from benchmarks.attack_cost.worlds import World, world
from benchmarks.peer_attack import exchange
from monitor.robustness.gradient import Search, attack
from monitor.robustness.target import Target
from monitor.robustness.threat_model import ThreatModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One trained model with its world."""

    recipe: Recipe
    seed: int
    world: World
    model: nn.Sequential


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One model, seed and ε under one peer and under ours right after, at the same number of calls a row.

    Robust accuracies in [0, 1], lower is a stronger attack; `excess` in points is what ours left
    unbroken beyond theirs.
    """

    model: str
    seed: int
    epsilon: float
    clean: float
    peer: str
    ours: float
    theirs: float | None
    our_calls: float
    their_calls: float | None
    our_seconds: float
    their_seconds: float | None
    our_refused: int
    their_refused: int

    @property
    def excess(self) -> float | None:
        return None if self.theirs is None else 100 * (self.ours - self.theirs)


def subjects(seeds: Sequence[int], recipes: Sequence[Recipe] = RECIPES) -> list[Subject]:
    """Every model of every seed, trained."""
    made = []
    for seed in seeds:
        worlds = {name: world(name, seed) for name in dict.fromkeys(recipe.world for recipe in recipes)}
        made += [
            Subject(recipe=r, seed=seed, world=worlds[r.world], model=trained(worlds[r.world], r.kind, seed))
            for r in recipes
        ]
    return made


def box(of: World, epsilon: float) -> ThreatModel:
    """The plain box of a world: pixels have bounds, numbers in robust σ have none."""
    lower, upper = of.hard_bounds or (-np.inf, np.inf)
    return ThreatModel.linf(epsilon=epsilon, lower=lower, upper=upper)


def grid(
    chosen: Sequence[Subject],
    up: Mapping[str, Peer],
    folder: Path,
    *,
    epsilons: slice = slice(None),
    methods: Sequence[Method] = METHODS,
) -> list[Cell]:
    """Every model and ε under every peer that is up, ours after each; without peers, ours alone at 40 calls."""
    cells = []
    for subject in chosen:
        case = folder / f"{subject.recipe.world}-{subject.recipe.kind}-{subject.seed}"
        lower, upper = subject.world.bounds
        exchange.save(case, subject.model, subject.world.x, subject.world.y, lower=lower, upper=upper)
        usable = [m for m in methods if m.peer in up and m.least_classes <= subject.world.classes]
        for epsilon in subject.world.epsilons[epsilons]:
            for method in usable or [None]:
                cells.append(_cell(subject, epsilon, method, up, case))
    return cells


def _cell(subject: Subject, epsilon: float, method: Method | None, up: Mapping[str, Peer], case: Path) -> Cell:
    threat, of = box(subject.world, epsilon), subject.world
    theirs = None
    if method is not None:
        try:
            theirs = up[method.peer].ask(case, method.method, epsilon=epsilon, steps=method.steps, seed=subject.seed)
        except PeerFailed as error:
            print(error, file=sys.stderr)
    target = Target(subject.model, task_of(of.classes))
    started = time.perf_counter()
    ours = attack(
        target,
        of.x,
        of.y,
        threat,
        Search.of_calls(method.steps if method else 40),
        seed=subject.seed,
    )
    seconds = time.perf_counter() - started
    scored = score(subject.model, of.x, ours.rows, of.y, threat)
    peer = score(subject.model, of.x, theirs.rows, of.y, threat) if theirs else None
    return Cell(
        model=subject.recipe.name,
        seed=subject.seed,
        epsilon=epsilon,
        clean=accuracy(subject.model, of),
        peer=method.name if method else "none",
        ours=scored.robust_accuracy,
        theirs=peer.robust_accuracy if peer else None,
        our_calls=ours.gradient_rows / len(of.x),
        their_calls=theirs.gradient_rows / len(of.x) if theirs else None,
        our_seconds=seconds,
        their_seconds=theirs.seconds if theirs else None,
        our_refused=scored.refused,
        their_refused=peer.refused if peer else 0,
    )


def confident(subject: Subject, factor: float) -> Subject:
    """The same classifier with its logits multiplied."""
    return replace(
        subject, recipe=replace(subject.recipe, kind=f"logits × {factor:g}"), model=times(subject.model, factor)
    )


def figures(cells: Sequence[Cell]) -> dict[str, Any]:
    """By model and ε the mean accuracies; by peer the worst excess of ours, the ratio of calls and of seconds."""
    rows: dict[str, dict[str, float]] = {}
    for cell in cells:
        key = f"{cell.model}, ε {cell.epsilon:g}"
        same = [c for c in cells if (c.model, c.epsilon) == (cell.model, cell.epsilon)]
        if key not in rows:
            rows[key] = {"clean": _mean([c.clean for c in same])}
            for peer in dict.fromkeys(c.peer for c in same):
                of_peer = [c for c in same if c.peer == peer]
                steps = peer.rsplit("-", 1)[-1] if peer != "none" else "40"
                rows[key][f"ours-{steps}"] = _mean([c.ours for c in of_peer])
                if any(c.theirs is not None for c in of_peer):
                    rows[key][peer] = _mean([c.theirs for c in of_peer if c.theirs is not None])
    found: dict[str, Any] = {"robust accuracy": rows}
    for peer in dict.fromkeys(c.peer for c in cells):
        judged = [c for c in cells if c.peer == peer and c.theirs is not None]
        if judged:
            found[f"against {peer}"] = _against(judged)
    judged = [c for c in cells if c.theirs is not None]
    if judged:
        found["worst excess, points"] = max(c.excess for c in judged if c.excess is not None)
        found["largest share of their calls"] = max(c.our_calls / c.their_calls for c in judged if c.their_calls)
        found["strongest peer"] = _against_strongest(judged)
    found["our refused rows"] = float(sum(c.our_refused for c in cells))
    found["their refused rows"] = float(sum(c.their_refused for c in cells))
    return found


def _against(cells: Sequence[Cell]) -> dict[str, float]:
    excess = [c.excess for c in cells if c.excess is not None]
    return {
        "cells": float(len(cells)),
        "worst_excess": max(excess),
        "mean_excess": _mean(excess),
        "most_that_they_left": -min(excess),
        "share_of_calls": max(c.our_calls / c.their_calls for c in cells if c.their_calls),
        "times_faster": float(np.median([c.their_seconds / c.our_seconds for c in cells if c.their_seconds])),
    }


def _against_strongest(cells: Sequence[Cell]) -> dict[str, float]:
    """Per model, seed and ε: our best of our runs minus the lowest of all peers, in points."""
    excess = []
    for key in dict.fromkeys((c.model, c.seed, c.epsilon) for c in cells):
        same = [c for c in cells if (c.model, c.seed, c.epsilon) == key]
        excess.append(100 * (min(c.ours for c in same) - min(c.theirs for c in same if c.theirs is not None)))
    return {"cells": float(len(excess)), "worst_excess": max(excess), "mean_excess": _mean(excess)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
