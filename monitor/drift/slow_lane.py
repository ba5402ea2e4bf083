"""The slow lane: bets against "nothing moved by more than the tolerance", whose winnings are evidence by themselves.

Every direction of every feature is bet on, up and down, with six stakes; one more bet a feature follows whatever shape
the past windows took. Under the null hypothesis each of these multiplies its stake by at most 1 on average, so the
Shiryaev–Roberts sums of their products grow by at most 1 a tick, and an alarm when their mixture reaches 5c comes after
5c ticks or more on average: this is proved, given the dispersion and the reference. A tenth of the mixture is the bet
on the whole model (`monitor.drift.domain`), which is approximate. Source: Shin, Ramdas & Rinaldo, "E-detectors: a
nonparametric framework for sequential change detection", 2024.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FloatArray, IntArray
from monitor.drift.budget import SLOW_LANE_SHARE
from monitor.drift.domain import STAKES as DOMAIN_STAKES
from monitor.drift.domain import DomainBet
from monitor.drift.normal import Normal

STAKES = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
_SIGNS = np.array([1.0, -1.0])
STAKED = _SIGNS.size * STAKES.size  # bets a direction
_SHAPE_WEIGHT = 0.15  # of the bet on any shape, beside those on directions
_DOMAIN_WEIGHT = 0.1  # of the bet on the whole model, beside those on features
_SHAPE_MEMORY = 0.2  # of the newest window in what past windows looked like
_SHAPE_FOLLOWED = 0.8  # the rest of the bet stays on the reference
_MOST_OF_STAKE = 0.9  # that one row can lose
_TRUSTED_SCATTER = 1.3  # n̄·LRV up to which rows count as independent
_UNDERESTIMATED = 0.1  # the chance that a scatter is larger than it is taken for
_REFERENCE_ERROR = 3.0  # standard errors of the reference's own mean that are tolerated besides
_RARE_LEVEL = 0.99865  # quantile of the share that the reference allows
_TABLES_KEPT = 32
# Of log e: a day that is far out for reasons of its own must not look like a lasting shift, and a bet that is paid less
# is still a fair one.
_MOST_A_WINDOW = float(np.log(50.0))
_WATCH = 10.0  # the part of an alarm from which a model is being watched
_LARGEST = 1e200  # of a sum


@dataclass(kw_only=True, eq=False)
class Bets:
    """What the slow lane carries from window to window.

    Attributes:
        directed: Shiryaev–Roberts sums of each direction, sign and stake, shape (D, 2, 6); 0 before any row.
        shapes: the same of the any-shape bet of each feature, shape (J,).
        domain: the same of the bet on the whole model, shape (4,).
        past: EWMA of bin shares over those expected, shape (bins,), 1 where nothing moved.
    """

    directed: FloatArray
    shapes: FloatArray
    domain: FloatArray
    past: FloatArray

    @classmethod
    def fresh(cls, directions: int, features: int, bins: int) -> "Bets":
        return cls(
            directed=np.zeros((directions, _SIGNS.size, STAKES.size)),
            shapes=np.zeros(features),
            domain=np.zeros(DOMAIN_STAKES.size),
            past=np.ones(bins),
        )

    @classmethod
    def of(cls, directed: FloatArray, shapes: FloatArray, domain: FloatArray, past: FloatArray) -> "Bets":
        """From flat arrays."""
        return cls(directed=directed.reshape(-1, _SIGNS.size, STAKES.size), shapes=shapes, domain=domain, past=past)

    def forgotten(self) -> "Bets":
        """Bets of the same shape as at the beginning; what the past looked like stays."""
        again = Bets.fresh(len(self.directed), self.shapes.size, self.past.size)
        return replace(again, past=self.past)


@dataclass(frozen=True, kw_only=True, eq=False)
class BetEvidence:
    """What the bets amount to after a window.

    Attributes:
        e_value: the model's mixture M.
        e_values: M_j of each feature, shape (J,).
        fired: the direction with most evidence of each culprit, if M reached 5c, shape (D,).
        is_watched: whether M reached a tenth of that.
    """

    e_value: float
    e_values: FloatArray
    fired: NDArray[np.bool_]
    is_watched: bool


class SlowLane:
    """The bets of a reference at tolerance δ; `weights` are of the directions, shape (D,), and sum to 1 over all.

    A model-wide mixture is Σ weights·M: valid whatever the dependence between features.
    """

    def __init__(self, normal: Normal, *, ticks: float, tolerance: FloatArray, weights: FloatArray) -> None:
        self.normal, self.weights = normal, weights
        self.alarm_at = ticks / SLOW_LANE_SHARE
        self._feature_weights = np.bincount(normal.feature_of, weights, minlength=len(normal.directions))
        nu = normal.plain.dispersion.nu
        self._upper = nu / special.chdtri(nu, 1 - _UNDERESTIMATED)
        self.tolerance = np.maximum(tolerance, self._reference_tolerance())
        self._shape_tolerance = _largest(self.tolerance, normal.feature_of, len(normal.directions))
        self._bet_weights = (1 - _SHAPE_WEIGHT) * weights / STAKED
        self._domain = DomainBet(normal, tolerance=float(tolerance.max(initial=0.0)), watched=self._feature_weights > 0)
        self._tables: OrderedDict[int, list[FloatArray]] = OrderedDict()

    def _reference_tolerance(self) -> FloatArray:
        """What the reference's own error hides: 3 standard errors, and for rare levels the .9987 quantile of Beta."""
        normal, dispersion = self.normal, self.normal.plain.dispersion
        inflated = self._dispersion_factor(dispersion.n_bar)
        per_bucket = dispersion.windows / dispersion.buckets
        found: FloatArray = _REFERENCE_ERROR * np.sqrt(
            np.maximum(inflated / dispersion.n_bar, dispersion.lrv) / per_bucket
        )
        shares = normal.shares[: normal.size]
        marked = ~np.isnan(shares)
        rows = dispersion.windows * dispersion.n_bar
        p = shares[marked]
        highest = special.betaincinv(p * rows + 1, np.maximum(rows * (1 - p), 1e-9), _RARE_LEVEL)
        found[marked] = np.maximum(found[marked], (highest - p) / np.sqrt(p * (1 - p)))
        return found

    def _dispersion_factor(self, rows: float) -> FloatArray:
        """D(n) = 1 if n̄·LRV ≤ 1.3, else u·n·(LRV − 1/n̄ + 1/n): by what the rows of a day count too much.

        u = ν/χ²_.1(ν) bounds what a variance with ν degrees of freedom was underestimated by (1.3 at ν = 50).
        """
        dispersion = self.normal.plain.dispersion
        beyond = dispersion.lrv - 1 / dispersion.n_bar
        inflated = np.maximum(self._upper * rows * (beyond + 1 / rows), 1.0)
        factor: FloatArray = np.where(dispersion.n_bar * dispersion.lrv <= _TRUSTED_SCATTER, 1.0, inflated)
        return factor

    def fresh(self) -> Bets:
        """Nothing won or lost yet."""
        return Bets.fresh(self.normal.size, len(self.normal.directions), int(self.normal.bin_offsets[-1]))

    def update(self, bets: Bets, counts: IntArray, rows: int, bucket: int, usable: NDArray[np.bool_]) -> None:
        """Settle the bets on a window; directions that are not `usable` now, shape (D,), neither win nor lose."""
        factor, counted = self._dispersion_factor(float(rows)), counts.astype(np.float64)
        gains = np.minimum(self._gains(counted, bucket) / factor[:, None, None], _MOST_A_WINDOW)
        bets.directed = np.where(usable[:, None, None], _grown(bets.directed, gains), bets.directed)
        gain = np.minimum(self._domain.log_gains(bets.past, counts, rows, bucket), _MOST_A_WINDOW)
        bets.domain = _grown(bets.domain, gain) if usable.all() else bets.domain
        self._update_shapes(bets, counted, rows, bucket, factor, usable)

    def evidence(self, bets: Bets) -> "BetEvidence":
        """What the bets amount to: of the model, of each feature, and which features an alarm names."""
        weighted = bets.directed.sum(axis=(1, 2)) * self._bet_weights
        features = len(self.normal.directions)
        of_feature = np.asarray(np.bincount(self.normal.feature_of, weighted, minlength=features), np.float64)
        of_feature = of_feature + _SHAPE_WEIGHT * self._feature_weights * bets.shapes
        total = (1 - _DOMAIN_WEIGHT) * float(of_feature.sum()) + _DOMAIN_WEIGHT * float(bets.domain.mean())
        with np.errstate(divide="ignore", invalid="ignore"):
            alone = np.where(self._feature_weights > 0, of_feature / self._feature_weights, 0.0)
        fired = np.zeros(self.normal.size, np.bool_)
        for j in self._culprits(alone) if total >= self.alarm_at else ():
            a, b = int(self.normal.spans[j]), int(self.normal.spans[j + 1])
            fired[a + int(weighted[a:b].argmax())] = True
        return BetEvidence(e_value=total, e_values=alone, fired=fired, is_watched=total >= self.alarm_at / _WATCH)

    def _culprits(self, e_values: FloatArray) -> NDArray[np.int64]:
        """e-d-BH: the K features with largest M_(k) ≥ 5c·J/k; the largest alone if there is no such K."""
        order = np.argsort(-e_values, kind="stable")
        needed = self.alarm_at * max(self.normal.tested, 1) / np.arange(1, order.size + 1)
        passed = np.flatnonzero(e_values[order] >= needed)
        return order[: passed[-1] + 1] if passed.size else order[:1]

    def _gains(self, counts: FloatArray, bucket: int) -> FloatArray:
        """Σ_b c_b·log(1 + λ·x_b) of every direction, sign and stake, shape (D, 2, 6)."""
        found = np.zeros((self.normal.size, STAKED))
        for (rows, columns, _), table in zip(self.normal.blocks, self._tables_of(bucket), strict=True):
            of_block = np.matmul(counts[rows][:, None, :], table)[:, 0, :]
            found[columns] = of_block.reshape(*columns.shape, STAKED)
        return found.reshape(-1, _SIGNS.size, STAKES.size)

    def _tables_of(self, bucket: int) -> list[FloatArray]:
        """log(1 + λ·x_b) of each block of features in a part of the week, shapes (J′, B, K·2·6)."""
        if bucket not in self._tables:
            centre = self.normal.plain.centre(bucket)
            self._tables[bucket] = [
                self._table(matrices, centre[columns], self.tolerance[columns])
                for _, columns, matrices in self.normal.blocks
            ]
            if len(self._tables) > _TABLES_KEPT:
                self._tables.popitem(last=False)
        self._tables.move_to_end(bucket)
        return self._tables[bucket]

    def _table(self, matrices: FloatArray, centre: FloatArray, tolerance: FloatArray) -> FloatArray:
        x = (matrices - centre[:, None, :])[..., None] * _SIGNS - tolerance[:, None, :, None]  # (J′, B, K, 2)
        lowest = np.minimum(x.min(axis=1), -1e-12)
        stakes = np.minimum(STAKES, _MOST_OF_STAKE / -lowest[..., None])
        table: FloatArray = np.log1p(stakes[:, None] * x[..., None])
        return np.ascontiguousarray(table.reshape(*table.shape[:2], -1))

    def _update_shapes(
        self, bets: Bets, counts: FloatArray, rows: int, bucket: int, factor: FloatArray, usable: NDArray[np.bool_]
    ) -> None:
        """log e = [Σ c·log(q/p) − n·log(1 + δ·χ(q, p))]/D with q = .8·past + .2·p, then the past follows the window.

        E q/p under any P with χ(P, p) ≤ δ is at most 1 + δ·χ(q, p), by Cauchy and Schwarz.
        """
        normal = self.normal
        p = normal.bucket_proportions[bucket]
        of_bin = normal.feature_of_bin
        features = len(normal.directions)
        q = (_SHAPE_FOLLOWED * bets.past + 1 - _SHAPE_FOLLOWED) * p
        q = q / np.bincount(of_bin, q, minlength=features)[of_bin]
        ratio = q / p
        chi = np.sqrt(np.bincount(of_bin, p * (ratio - 1) ** 2, minlength=features))
        won = np.bincount(of_bin, counts * np.log(ratio), minlength=features)
        largest = _largest(factor, normal.feature_of, features)
        gain = (won - rows * np.log1p(self._shape_tolerance * chi)) / np.maximum(largest, 1.0)
        gain = np.minimum(gain, _MOST_A_WINDOW)
        blocked = np.bincount(normal.feature_of, ~usable, minlength=features) > 0
        bets.shapes = np.where(blocked, bets.shapes, _grown(bets.shapes, gain))
        seen = np.where(blocked[of_bin], bets.past, counts / max(rows, 1) / p)
        bets.past = (1 - _SHAPE_MEMORY) * bets.past + _SHAPE_MEMORY * seen


def _grown(sums: FloatArray, log_gains: FloatArray) -> FloatArray:
    """M ← e·(M + 1), kept finite."""
    grown: FloatArray = np.minimum(np.exp(log_gains) * (sums + 1), _LARGEST)
    return grown


def _largest(values: FloatArray, feature_of: NDArray[np.int64], features: int) -> FloatArray:
    """The largest of each feature's directions, 0 without any, shape (J,)."""
    found = np.zeros(features)
    np.maximum.at(found, feature_of, values)
    return found
