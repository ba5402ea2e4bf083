"""MOEVA as TabularBench runs it, one genetic search a row, rebuilt on the current pymoo.

R-NSGA-III, 203 reference points by energy, one row of the population a point, 100 generations of 100 children,
two-point crossover, polynomial mutation (η 20), started from copies of the clean row; objectives: probability of the
right class, distance to the clean row, sum of the relations' violations. Two kindnesses of ours: the box of the threat
is given as bounds, and derived columns are computed instead of searched. The time of the reference points, which are
made once, is not counted.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pymoo
import torch
from pymoo.algorithms.moo.rnsga3 import RNSGA3
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.operators.crossover.pntx import TwoPointCrossover
from pymoo.operators.mutation.pm import PM
from pymoo.optimize import minimize
from pymoo.util.ref_dirs import get_reference_directions

from benchmarks.peer_attack.exchange import Counted, Question, serve
from benchmarks.peer_attack.relations import columns_of, derived, violation

OBJECTIVES, POPULATION, GENERATIONS, CHILDREN = 3, 203, 100, 100


class OneRow(Problem):
    """Three objectives over the free columns of one row."""

    def __init__(self, clean: np.ndarray, label: int, box: tuple[np.ndarray, np.ndarray], model: Counted, told: Any):
        self.clean, self.label, self.model, self.told = clean, label, model, told
        self.free = np.flatnonzero(box[1] > box[0])
        lower, upper = box[0][self.free], box[1][self.free]
        self.reach = np.maximum(upper - clean[self.free], clean[self.free] - lower)
        super().__init__(n_var=len(self.free), n_obj=OBJECTIVES, xl=lower, xu=upper)

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Whole rows (m, d) from the free columns (m, free)."""
        made = np.repeat(self.clean[None], len(x), axis=0)
        made[:, self.free] = x
        return derived(made, self.told["names"], self.told["formulas"])

    def broken(self, rows: np.ndarray) -> np.ndarray:
        """Probability of the right class."""
        with torch.inference_mode():
            return self.model(torch.from_numpy(rows)).softmax(1)[:, self.label].double().numpy()

    def violated(self, rows: np.ndarray) -> np.ndarray:
        columns = columns_of(rows, self.told["names"])
        return sum((violation(text, columns) for text in self.told["relations"]), np.zeros(len(rows)))

    def _evaluate(self, x: np.ndarray, out: dict[str, np.ndarray], *_: Any, **__: Any) -> None:
        rows = self.rows(x)
        distance = (np.abs(x - self.clean[self.free]) / self.reach).max(axis=1)
        out["F"] = np.column_stack([self.broken(rows), distance, self.violated(rows)])


class WholeNumbers(Repair):
    """Rounds the columns of whole numbers."""

    def _do(self, problem: OneRow, x: np.ndarray, **_: Any) -> np.ndarray:
        whole = np.isin(problem.free, problem.told["integers"])
        return np.where(whole, np.around(x), x)


@cache
def _points(seed: int) -> np.ndarray:
    return get_reference_directions("energy", OBJECTIVES, POPULATION, seed=seed)


def warm(asked: Question, model: Counted) -> np.ndarray:
    """Make the reference points."""
    _points(asked.seed)
    return asked.case.x


def moeva(asked: Question, model: Counted) -> np.ndarray:
    """The row of the last population that breaks the model most among those that hold every relation."""
    box = np.load(asked.extra["box"])
    found = asked.case.x.copy()
    for i, (clean, label) in enumerate(zip(asked.case.x, asked.case.y.astype(int), strict=True)):
        problem = OneRow(clean, label, (box["lower"][i], box["upper"][i]), model, asked.extra)
        rows = problem.rows(_searched(problem, asked.seed))
        probability = np.where(problem.violated(rows) <= 1e-6, problem.broken(rows), np.inf)
        if probability.min() < 0.5:
            found[i] = rows[probability.argmin()]
    return found


def _searched(problem: OneRow, seed: int) -> np.ndarray:
    start = np.repeat(problem.clean[None, problem.free], POPULATION, axis=0)
    search = RNSGA3(
        ref_points=_points(seed).copy(), pop_per_ref_point=1, n_offsprings=CHILDREN, sampling=start,
        crossover=TwoPointCrossover(), mutation=PM(eta=20), repair=WholeNumbers(), eliminate_duplicates=False,
    )  # fmt: skip
    result = minimize(problem, search, ("n_gen", GENERATIONS), seed=seed, verbose=False)
    return result.pop.get("X").astype(np.float64)


METHODS: dict[str, Callable[[Question, Counted], np.ndarray]] = {"MOEVA": moeva, "warm": warm}

if __name__ == "__main__":
    serve("MOEVA on pymoo", pymoo.__version__, METHODS)
