"""Random feasible moves of rows, for searches that know no gradient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.robustness.swap_groups import SwapGroup
from monitor.robustness.threat_model import BoolArray, Norm, ThreatModel
from monitor.schema import FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomMoves:
    """The box of clean rows (n, d), and a generator."""

    clean: FloatArray
    lower: FloatArray
    upper: FloatArray
    threat: ThreatModel
    rng: np.random.Generator

    @classmethod
    def of(cls, clean: FloatArray, threat: ThreatModel, rng: np.random.Generator) -> "RandomMoves":
        """The moves of clean rows under a threat."""
        lower, upper = threat.box(clean)
        return cls(clean=clean, lower=lower, upper=upper, threat=threat, rng=rng)

    def clipped(self, rows: FloatArray) -> FloatArray:
        """Rows whose numbers lie in the box; categories and counts are kept."""
        inside = np.clip(rows, self.lower, self.upper)
        for group in self.threat.groups:
            inside[:, group.index] = rows[:, group.index]
        return self.in_ball(inside, np.arange(len(rows)))

    def moved(self, rows: FloatArray, share: float, place: NDArray[np.intp]) -> FloatArray:
        """Candidates for rows (m, d) that stand at `place` among the clean ones: a share of cells at vertices."""
        touched = self.rng.random(rows.shape) < share
        vertex = np.where(self.rng.random(rows.shape) < 0.5, self.lower[place], self.upper[place])
        candidate = np.where(touched & (self.upper[place] > self.lower[place]), vertex, rows)
        if self.threat.groups and self.threat.swaps >= 1:
            self.swap_some(candidate, place, self.rng.random(len(rows)) < max(share, 0.3))
        return self.in_ball(candidate, place)

    def swap_some(self, rows: FloatArray, place: NDArray[np.intp], chosen: BoolArray) -> None:
        """Give a random category or count of the chosen rows a random value, in place; others give way to its cost."""
        which = self.rng.integers(0, len(self.threat.groups), len(rows))
        for order, group in enumerate(self.threat.groups):
            taken = np.flatnonzero(chosen & (which == order))
            if taken.size:
                self._swap(rows, place, taken, group)

    def _swap(self, rows: FloatArray, place: NDArray[np.intp], taken: NDArray[np.intp], group: SwapGroup) -> None:
        clean = self.clean[place[taken]]
        values = group.values(int(np.floor(self.threat.swaps)))
        drawn = values[self.rng.integers(0, len(values), len(taken))]
        value = drawn if group.costs is not None else clean[:, group.index] + drawn
        price = group.cost(clean[:, group.index], value)
        others = [one for one in self.threat.groups if one is not group]
        elsewhere = np.zeros(len(taken))
        for one in others:
            elsewhere += one.cost(clean[:, one.index], rows[taken, one.index])
        able = price <= self.threat.swaps
        crowded = able & (elsewhere + price > self.threat.swaps)
        for one in others:
            rows[taken[crowded], one.index] = clean[crowded, one.index]
        rows[taken[able], group.index] = value[able]

    def in_ball(self, rows: FloatArray, place: NDArray[np.intp]) -> FloatArray:
        """Rows drawn back into the ball of an l1 or l2 budget, along the line to the clean row."""
        threat = self.threat
        if threat.norm is Norm.LINF:
            return rows
        clean = self.clean[place]
        able = (self.upper[place] > self.lower[place]) & (threat.scale > 0)
        steps = np.where(able, rows - clean, 0.0) / np.where(threat.scale > 0, threat.scale, 1.0)
        size = np.abs(steps).sum(axis=1) if threat.norm is Norm.L1 else np.linalg.norm(steps, axis=1)
        shrink = np.minimum(1.0, threat.epsilon / np.maximum(size, 1e-300))[:, None]
        step = (rows - clean) * shrink
        return np.where(able & (shrink < 1), clean + np.where(threat.integer, np.trunc(step), step), rows)
