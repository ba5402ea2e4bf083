"""Evolutionary search for mixed and constrained rows: one population a row, all rows in one batch.

The aim is that of MOEVA (Simonetto et al. 2021, https://arxiv.org/abs/2112.01156), a genetic search that runs row by
row. Here parents are picked by tournament, children cross and mutate within the box and the cost budget, derived cells
are computed, a child that breaks a relation goes half-way back to its feasible parent, and the best of both survive.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.robustness.descent import Attack
from monitor.robustness.links import HOLDS_WITHIN
from monitor.robustness.random_moves import RandomMoves
from monitor.robustness.rescore import Rules, margins
from monitor.robustness.target import Target, Task
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray

POPULATION = 24
_PATIENCE = 120  # generations without progress
_HARDLY = 0.01  # of a margin: less is no progress
_PENALTY = 1e12  # a broken relation is worse than any margin


def evolve(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threat: ThreatModel,
    *,
    queries: int = 10_000,
    seed: int = 0,
    start: FloatArray | None = None,
    drop_broken: bool = True,
) -> Attack:
    """The worst feasible row found with at most `queries` model calls a row; rows (n, d) in raw units.

    `start` is one of the first parents. With `drop_broken` a row is done at its first flip. A row whose margin has not
    fallen by a hundredth for 120 generations is done as well.
    """
    drop_broken = drop_broken and target.task is not Task.REGRESSION  # no error is a break
    rng = np.random.default_rng(seed)
    best = (rows if start is None else start).copy()
    lowest = margins(target, best, y)
    used = len(rows)
    live = np.flatnonzero(lowest >= 0) if drop_broken else np.arange(len(rows))
    if len(live) == 0:
        return Attack(rows=best, margin=lowest, queries=used)
    herd = _Herd.first(target, rows[live], best[live], y[live], threat, rng)
    used += len(live) * POPULATION
    since, waited = lowest.copy(), np.zeros(len(rows), dtype=int)
    for _ in range(max(queries // POPULATION - 1, 0)):
        herd.keep_best(best, lowest, live)
        moved = lowest[live] < since[live] - _HARDLY * np.abs(since[live])
        since[live[moved]] = lowest[live[moved]]
        waited[live] = np.where(moved, 0, waited[live] + 1)
        left = (waited[live] < _PATIENCE) & ((lowest[live] >= 0) | (not drop_broken))
        if not left.any():
            break
        if not left.all():
            live, herd = live[left], herd.select(left)
        herd.breed()
        used += len(live) * POPULATION
    herd.keep_best(best, lowest, live)
    return Attack(rows=best, margin=lowest, queries=used)


@dataclass(eq=False)
class _Herd:
    """Populations (n, p, d) of n rows, and how fit each is (n, p): lower is fitter."""

    target: Target
    clean: FloatArray
    y: FloatArray
    threat: ThreatModel
    rng: np.random.Generator
    members: FloatArray
    fitness: FloatArray

    def __post_init__(self) -> None:
        self.moves = RandomMoves.of(self.clean, self.threat, self.rng)
        self.rules = Rules.of(np.repeat(self.clean, POPULATION, axis=0), self.threat)
        self.labels = np.repeat(self.y, POPULATION)

    @classmethod
    def first(
        cls, target: Target, clean: FloatArray, start: FloatArray, y: FloatArray, threat: ThreatModel,
        rng: np.random.Generator,
    ) -> "_Herd":  # fmt: skip
        """The start, and random moves of it from many cells to few."""
        n = len(clean)
        members = np.repeat(start[:, None, :], POPULATION, axis=1)
        herd = cls(target, clean, y, threat, rng, members, np.empty((n, POPULATION)))
        for k in range(1, POPULATION):
            members[:, k] = herd.moves.moved(members[:, k], 0.5 ** (k / 6), np.arange(n))
        herd.members, herd.fitness = herd._scored(members, np.repeat(clean[:, None, :], POPULATION, axis=1))
        return herd

    def keep_best(self, rows: FloatArray, margin: FloatArray, live: NDArray[np.intp]) -> None:
        """Write the fittest member of each row that breaks no relation where it is worse, at the `live` places."""
        at = np.arange(len(live))
        place = self.fitness.argmin(axis=1)
        found = self.fitness[at, place]
        better = (found < margin[live]) & (found < _PENALTY / 2)
        rows[live[better]], margin[live[better]] = self.members[at, place][better], found[better]

    def select(self, keep: NDArray[np.bool_]) -> "_Herd":
        return _Herd(
            self.target, self.clean[keep], self.y[keep], self.threat, self.rng, self.members[keep], self.fitness[keep]
        )

    def breed(self) -> None:
        """One generation: children of tournament winners; the fittest of parents and children survive."""
        n, p, _ = self.members.shape
        mothers, fathers = self._winners(), self._winners()
        at = np.arange(n)[:, None]
        from_mother = self.rng.random(self.members.shape) < 0.5
        columns = [group.index for group in self.threat.groups]
        from_mother[:, :, columns] = from_mother[:, :, columns[:1]]  # together: a mixture could cost too much
        mixed = np.where(from_mother, self.members[at, mothers], self.members[at, fathers])
        children = self._mutated(mixed)
        parents = self.members[at, mothers]
        children, fitness = self._scored(children, parents)
        everyone = np.concatenate([self.members, children], axis=1)
        fit = np.concatenate([self.fitness, fitness], axis=1)
        kept = np.argpartition(fit, p - 1, axis=1)[:, :p]
        self.members, self.fitness = everyone[at, kept], fit[at, kept]

    def _winners(self) -> NDArray[np.intp]:
        n, p = self.fitness.shape
        one, other = self.rng.integers(0, p, (2, n, p))
        at = np.arange(n)[:, None]
        winners: NDArray[np.intp] = np.where(self.fitness[at, one] <= self.fitness[at, other], one, other)
        return winners

    def _mutated(self, children: FloatArray) -> FloatArray:
        """A few cells jump to a vertex or wander; categories and counts change now and then."""
        n, p, d = children.shape
        flat, place = children.reshape(n * p, d), np.repeat(np.arange(n), p)
        moves = self.moves
        jumped = moves.moved(flat, 1.5 / d, place)
        width = np.nan_to_num(moves.upper - moves.lower)[place]
        wander = (self.rng.random(flat.shape) < 1.5 / d) * width * 0.2 * self.rng.standard_normal(flat.shape)
        wandered = np.clip(jumped + np.nan_to_num(wander), moves.lower[place], moves.upper[place])
        integer = np.broadcast_to(self.threat.integer, flat.shape)
        wandered = np.where(integer, np.round(wandered), wandered)
        for group in self.threat.groups:
            wandered[:, group.index] = jumped[:, group.index]
        able = (width > 0) | np.isin(np.arange(d), [group.index for group in self.threat.groups])
        return np.where(able, moves.in_ball(wandered, place), flat).reshape(n, p, d)

    def _scored(self, children: FloatArray, parents: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Children completed, drawn towards their parents where they break a relation, and how fit they are."""
        n, p, d = children.shape
        flat = self.rules.completed(children.reshape(n * p, d))
        broken = self.rules.violation(flat)
        if (broken > HOLDS_WITHIN).any():
            flat = self._repaired(flat, parents.reshape(n * p, d), broken > HOLDS_WITHIN)
            broken = self.rules.violation(flat)
        found = margins(self.target, flat, self.labels)
        fitness = np.where(broken > HOLDS_WITHIN, _PENALTY * (1 + np.minimum(broken, 1e6)), found)
        return flat.reshape(n, p, d), fitness.reshape(n, p)

    def _repaired(self, children: FloatArray, parents: FloatArray, broken: BoolArray) -> FloatArray:
        """Broken children half-way back to their parents; categories and counts as the child has them."""
        halfway = parents + 0.5 * (children - parents)
        if self.threat.integer.any():
            clean = np.repeat(self.clean, POPULATION, axis=0)
            halfway = np.where(self.threat.integer, np.trunc(halfway - clean) + clean, halfway)
        for group in self.threat.groups:
            halfway[:, group.index] = children[:, group.index]
        return self.rules.completed(np.where(broken[:, None], halfway, children))
