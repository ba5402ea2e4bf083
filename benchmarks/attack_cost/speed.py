"""What a row-gradient costs: ours over the floor, and beside AutoAttack and ART in turns, on one thread.

One measurement is the whole curve of robust accuracy over the ε of a world: where every row holds there is nothing to
drop, and where all break nearly everything is.

The floor is the least that any gradient attack does: forward and input gradient of the summed margin on a frozen
float32 model, over batches of the sizes that ours asked for, so that dropped rows lower the floor too. A time is
the best of several turns, summed over the ε.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.attack_cost.accuracy import Subject, box
from benchmarks.attack_cost.peers import Peer, PeerFailed
from benchmarks.attack_cost.scoring import task_of
from benchmarks.peer_attack import exchange
from monitor.robustness.gradient import Attack, Search, attack
from monitor.robustness.target import Target
from monitor.schema import FloatArray

ROWS = 1_024
STEPS = 40
TURNS = 5
# Name → gradient calls a row, and whether broken rows are dropped.
OURS = {"ours, every row to the end": (STEPS, False), "ours": (STEPS, True), "ours, 101 calls": (101, True)}
THEIRS: Mapping[str, tuple[str, str, Mapping[str, int]]] = {
    "ART, batches of 32": ("art", "PGD", {"steps": STEPS, "batch_size": 32}),
    "ART": ("art", "PGD", {"steps": STEPS}),
    "Foolbox": ("foolbox", "LinfPGD", {"steps": STEPS}),
    "torchattacks": ("torchattacks", "APGD-CE", {"steps": STEPS}),
    "AutoAttack, 101 calls": ("autoattack", "APGD-CE", {"steps": 101}),
}
PAIRS: Sequence[tuple[str, str]] = (
    ("AutoAttack, 101 calls", "ours, 101 calls"),
    ("ART, batches of 32", "ours"),
    ("ART", "ours"),
    ("Foolbox", "ours"),
    ("torchattacks", "ours"),
)


def measure(subject: Subject, up: Mapping[str, Peer], folder: Path, *, turns: int = TURNS) -> dict[str, float]:
    """Milliseconds and ratios for one model over all ε of its world, the methods taking turns at each."""
    rows, y = _filled(subject)
    case = folder / f"speed-{subject.recipe.world}-{subject.recipe.kind}"
    lower, upper = subject.world.bounds
    exchange.save(case, subject.model, rows, y, lower=lower, upper=upper)
    total: Counter[str] = Counter()
    for epsilon in subject.world.epsilons:
        total.update(_at(subject, rows, y, epsilon, up, case, turns))
    return _ratios(total, len(subject.world.epsilons))


def _at(
    subject: Subject,
    rows: FloatArray,
    y: FloatArray,
    epsilon: float,
    up: Mapping[str, Peer],
    case: Path,
    turns: int,
) -> dict[str, float]:
    """Best seconds of each method at one ε, and of the floor of each of ours."""
    seconds: dict[str, list[float]] = {}
    runs = {name: partial(_ours, subject, rows, y, epsilon, *how) for name, how in OURS.items()}
    sizes = {name: batches(subject, run) for name, run in runs.items()}
    for _ in range(turns):
        for name, run in runs.items():
            seconds.setdefault(f"floor of {name}", []).append(floor(subject.model, rows, y, sizes[name]))
            started = time.perf_counter()
            run()
            seconds.setdefault(name, []).append(time.perf_counter() - started)
        for name, (peer, method, question) in THEIRS.items():
            if peer in up:
                _peer_turn(up[peer], case, name, method, {**question, "epsilon": epsilon}, seconds)
    return {name: min(taken) for name, taken in seconds.items()}


def floor(model: nn.Module, rows: FloatArray, y: FloatArray, sizes: Sequence[int]) -> float:
    """Seconds of forwards with input gradients of the margin over batches of these sizes, the model frozen."""
    x = torch.from_numpy(rows).float()
    labels = torch.from_numpy(y).long()[:, None]
    started = time.perf_counter()
    for size in sizes:
        batch, right = x[:size].detach().requires_grad_(True), labels[:size]
        logits = model(batch)
        others = logits.scatter(1, right, -torch.inf).amax(dim=1)
        torch.autograd.grad((logits.gather(1, right)[:, 0] - others).sum(), batch)
    return time.perf_counter() - started


def batches(subject: Subject, run: Callable[[], Attack]) -> list[int]:
    """The sizes of the batches whose gradients a run asked for."""
    sizes: list[int] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if given[0].requires_grad:
            sizes.append(len(given[0]))

    hook = subject.model.register_forward_pre_hook(note)
    try:
        run()
    finally:
        hook.remove()
    return sizes


def figures(measured: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """By model, and of each ratio the worst."""
    ratios = dict.fromkeys(key for row in measured.values() for key in row if key.startswith("×"))
    worst = {key: (max if "floor" in key else min)(row[key] for row in measured.values()) for key in ratios}
    return {"speed": {name: dict(row) for name, row in measured.items()}, "speed, worst": worst}


def _filled(subject: Subject) -> tuple[FloatArray, FloatArray]:
    """The world's rows, the first of them again up to the number that is timed."""
    chosen = np.arange(ROWS) % len(subject.world.x)
    return subject.world.x[chosen], subject.world.y[chosen]


def _ours(subject: Subject, rows: FloatArray, y: FloatArray, epsilon: float, calls: int, drop: bool) -> Attack:
    target = Target(subject.model, task_of(subject.world.classes))
    search = Search.of_calls(calls) if drop else Search(steps=calls)
    return attack(target, rows, y, box(subject.world, epsilon), search)


def _peer_turn(
    peer: Peer, case: Path, name: str, method: str, question: Mapping[str, Any], seconds: dict[str, list[float]]
) -> None:
    try:
        seconds.setdefault(name, []).append(peer.ask(case, method, **question).seconds)
    except PeerFailed as error:
        print(error, file=sys.stderr)


def _ratios(total: Mapping[str, float], levels: int) -> dict[str, float]:
    row = {f"{name}, ms": 1e3 * taken / levels for name, taken in total.items()}
    row |= {f"× floor, {name}": total[name] / total[f"floor of {name}"] for name in OURS}
    for theirs, ours in PAIRS:
        if theirs in total:
            row[f"× faster than {theirs}"] = total[theirs] / total[ours]
    return row
