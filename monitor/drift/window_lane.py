"""The window lane: sums of deviations over 1, 2, 4, 8, 16 windows against what the reference's own windows scatter.

Approximate, and said to be so: t quantiles with moderated variances, small-sample tails for scales and shares. Its
budget is a Bonferroni share for each feature, direction and scale: correlated features make it quieter, never louder.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FloatArray
from monitor.drift.budget import SLOW_LANE_SHARE
from monitor.drift.normal import Normal
from monitor.drift.tails import indicator_deviate, unskewed

SCALES = (1, 2, 4, 8, 16)
LONGEST = SCALES[-1]
# Independent tests that the five scales amount to: their sums overlap, and so do those of one window and the next. At
# deviates of 3.5, 4 and 4.5, simulated normal windows raised 2.8, 3.4 and 3.7 times the incidents of one scale alone.
_EFFECTIVE_SCALES = 4.0
_WATCH = 10.0  # the watch threshold is that of a tenth of the period
_REFINED_FROM = 2.5  # |z| from which the small-sample tail is worth its time
_SIGNIFICANT = 1.64


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What each direction says at each scale that the memory reaches, all of shape (S, D).

    Attributes:
        x: mean deviation over the last m windows.
        variance: of x.
        z: its deviate, to be compared with t_ν.
        strength: |z| over the critical value; 1 or more is beyond.
        meaningful: larger than the tolerance by its own uncertainty.
        fired: meaningful, and beyond its critical value.
        watched: the same at a tenth of the period.
        offset: what the season expected over those windows.
    """

    x: FloatArray
    variance: FloatArray
    z: FloatArray
    strength: FloatArray
    meaningful: NDArray[np.bool_]
    fired: NDArray[np.bool_]
    watched: NDArray[np.bool_]
    offset: FloatArray


class WindowLane:
    """Critical values of a reference for c ticks between false alarms; tolerances δ and shares are of shape (D,)."""

    def __init__(self, normal: Normal, *, ticks: float, tolerance: FloatArray, shares: FloatArray) -> None:
        self.normal, self.tolerance, self.shares = normal, tolerance, shares
        self.nu = normal.usual.dispersion.nu
        alpha = (1 - SLOW_LANE_SHARE) * shares / (_EFFECTIVE_SCALES * ticks)
        self.critical = _critical(self.nu, alpha)
        self._watch_critical = _critical(self.nu, np.minimum(alpha * _WATCH, 0.5))
        self._beyond_rows = np.array([normal.usual.dispersion.beyond_rows(m) for m in SCALES])
        self._scales = np.array(list(normal.scale_tails), np.int64)
        self._skewed = np.flatnonzero(normal.usual.dispersion.skewness)
        marked = normal.shares
        self._is_indicator = ~np.isnan(marked)
        self.sd = np.sqrt(marked * (1 - marked))
        self._expected = marked + normal.usual.mean * self.sd

    def evidence(self, deviations: FloatArray, rows: FloatArray, offsets: FloatArray) -> Evidence:
        """Judge the memory.

        Args:
            deviations: of the remembered windows, the newest last, shape (T, D), T ≤ 16.
            rows: of those windows, shape (T,).
            offsets: what their season expected, shape (T, D).
        """
        scales = np.array([m for m in SCALES if m <= len(rows)])
        x = _means(deviations, scales)
        n = np.cumsum(rows[::-1])[scales - 1]
        inverse_rows = np.cumsum(1 / rows[::-1])[scales - 1]
        variance = (inverse_rows / scales**2)[:, None] + self._beyond_rows[: scales.size]
        spread = np.sqrt(variance)
        z = x / spread
        offset = _means(offsets, scales)
        self._refine_shares(z, x, variance, n, offset)
        self._refine_scales(z, x, variance, n)
        skewness = self.normal.usual.dispersion.skewness[self._skewed] / np.sqrt(scales)[:, None]
        z[:, self._skewed] = unskewed(z[:, self._skewed], skewness)
        size = np.abs(z)
        meaningful = np.abs(x) >= self.tolerance + _SIGNIFICANT * spread
        return Evidence(
            x=x,
            variance=variance,
            z=z,
            strength=size / self.critical,
            meaningful=meaningful,
            fired=meaningful & (size >= self.critical),
            watched=meaningful & (size >= self._watch_critical),
            offset=offset,
        )

    def p_values(self, evidence: Evidence, scales: NDArray[np.int64], chosen: NDArray[np.int64]) -> FloatArray:
        """Two-sided p of the chosen (scale, direction) pairs, corrected for all pairs of the same feature."""
        raw = 2 * special.stdtr(self.nu[chosen], -np.abs(evidence.z[scales, chosen]))
        weights = np.maximum(self.shares[chosen] * max(self.normal.tested, 1), 1e-12)
        corrected: FloatArray = np.minimum(1.0, raw * _EFFECTIVE_SCALES / weights)
        return corrected

    def threshold(self, variance: float, direction: int) -> float:
        """The |effect| at which this direction fires, by its t approximation."""
        sd = float(np.sqrt(variance))
        return max(float(self.critical[direction]) * sd, float(self.tolerance[direction]) + _SIGNIFICANT * sd)

    def expected_share(self, offset: FloatArray, at: tuple[NDArray[np.int64], NDArray[np.int64]]) -> FloatArray:
        """The share of an indicator's bins that its reference and season expect, at (scale, direction)."""
        k = at[1]
        expected: FloatArray = self._expected[k] + offset[at] * self.sd[k]
        return expected

    def _refine_shares(
        self, z: FloatArray, x: FloatArray, variance: FloatArray, n: FloatArray, offset: FloatArray
    ) -> None:
        s, k = np.nonzero((np.abs(z) > _REFINED_FROM) & self._is_indicator)
        if s.size:
            q = np.clip(self.expected_share(offset, (s, k)), 1e-9, 1 - 1e-9)
            z[s, k] = indicator_deviate(x[s, k], q, self.sd[k], variance[s, k], n[s])

    def _refine_scales(self, z: FloatArray, x: FloatArray, variance: FloatArray, n: FloatArray) -> None:
        far = np.nonzero(np.abs(z[:, self._scales]) > _REFINED_FROM)
        for s, at in zip(*far, strict=True):
            k = int(self._scales[at])
            tail = self.normal.scale_tails[k]
            z[s, k] = tail.deviate(float(x[s, k]), float(variance[s, k]), float(n[s]))


def _means(rows: FloatArray, scales: NDArray[np.int64]) -> FloatArray:
    """Means over the last m rows for each m, shape (S, D)."""
    means: FloatArray = np.cumsum(rows[::-1], axis=0)[scales - 1] / scales[:, None]
    return means


def _critical(nu: FloatArray, alpha: FloatArray) -> FloatArray:
    """Two-sided t quantiles; infinite where no budget is spent."""
    spent = alpha > 0
    quantiles: FloatArray = np.full(nu.shape, np.inf)
    quantiles[spent] = -special.stdtrit(nu[spent], alpha[spent] / 2)
    return quantiles
