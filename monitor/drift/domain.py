"""A bet on the whole model: can a classifier that learned from past windows tell the newest from the reference?

The classifier is naive Bayes on the frozen bins: its logit of a row is Σ_j log(q_j/p_j) of the row's bins, q from the
past windows. Its mean over a window needs counts alone, is compared with what it is on the reference's own windows, and
gathers shifts of many features that are each too small to see. A day that goes on into the next, and what the reference
got wrong, look like drift to it; how much so is read off the reference's halves, each watched against the other.
"""

import numpy as np
from numpy.typing import NDArray

from monitor.drift.normal import Normal
from monitor.drift.placing import FloatArray, IntArray

STAKES = np.array([0.5, 1.0, 2.0, 3.0])
_INFLATED = 1.15  # the scatter is taken for larger than it was
_FARTHEST = 8.0  # deviates are clipped
_FOLLOWED = 0.8  # of what the past windows looked like, beside the reference
_MEMORY = 0.2
_WARM = 5  # windows before the replay counts
_SURELY = 1.0
_NOTHING = 1e-12  # a scatter of rounding errors


class DomainBet:
    """Standardised classifier logits of a reference, and the log gains of betting that they are high.

    `watched` are the features that it may learn from, shape (J,): not those that an owner muted.

    Source of the bet: the normal e-value exp(λZ − λ²/2), Ramdas et al., "Game-theoretic statistics", 2023.
    """

    def __init__(self, normal: Normal, *, tolerance: float, watched: NDArray[np.bool_]) -> None:
        self._normal, self._tolerance = normal, tolerance
        tested = np.diff(normal.spans) > 0  # an all-null feature tells nothing
        self._is_told = (tested & watched)[normal.feature_of_bin]
        self._offset, self._scale = self._replayed()

    def log_gains(self, past: FloatArray, counts: IntArray, rows: int, bucket: int) -> FloatArray:
        """λ·Z − λ²/2 for each stake; 0 while the past looks exactly like the reference, shape (4,).

        Args:
            past: EWMA of bin shares over those expected, of the windows before this one, shape (bins,).
            counts: of the window, shape (bins,).
            rows: of the window.
            bucket: its part of the week.
        """
        p = self._normal.bucket_proportions[bucket]
        weights = self._weights(past, p)
        z, tolerated = self._standardised(weights, counts / max(rows, 1) - p, p)
        if not np.isfinite(z) or not np.isfinite(self._offset):
            return np.zeros(STAKES.size)
        z = min((z - self._offset) / self._scale - tolerated, _FARTHEST)
        gains: FloatArray = STAKES * z - STAKES**2 / 2
        return gains

    def _weights(self, past: FloatArray, p: FloatArray) -> FloatArray:
        """log(q/p) of each bin, shape (bins,)."""
        of_bin = self._normal.feature_of_bin
        q = (_FOLLOWED * past + 1 - _FOLLOWED) * p
        total = np.bincount(of_bin, q, minlength=len(self._normal.directions))
        weights: FloatArray = np.where(self._is_told, np.log(q / total[of_bin] / p), 0.0)
        return weights

    def _standardised(self, weights: FloatArray, deviation: FloatArray, p: FloatArray) -> tuple[float, float]:
        """Z of a window's mean logit, and the Z that the tolerance explains; NaN if the logit never varies."""
        scatter = _scatter(self._normal.share_deviations, weights)
        if scatter < _NOTHING:
            return np.nan, 0.0
        of_bin = self._normal.feature_of_bin
        centre = np.bincount(of_bin, p * weights, minlength=len(self._normal.directions))[of_bin]
        spread = float(np.sqrt((p * (weights - centre) ** 2).sum()))
        return float(deviation @ weights) / scatter, self._tolerance * spread / scatter

    def _replayed(self) -> tuple[float, float]:
        """Mean (surely, and at least 0) and scatter (at least 1) of Z over each half of the reference.

        Each half is watched against the other, which is half as long as the whole and so errs more about what is normal
        than the whole does about the future: what a classifier can learn from that error is in Z.
        """
        deviations = self._normal.share_deviations
        half = len(deviations) // 2
        if half <= _WARM + 2:
            return np.inf, 1.0  # too short to know: never bet
        halves = [
            self._watched(deviations[:half], deviations[half:]),
            self._watched(deviations[half:], deviations[:half]),
        ]
        scatter = max(1.0, *(float(z.std(ddof=1)) for z in halves))
        means = [float(z.mean()) + _SURELY * scatter / np.sqrt(z.size) for z in halves]
        return max(0.0, *means), scatter

    def _watched(self, known: FloatArray, watched: FloatArray) -> FloatArray:
        """Z of windows in order against others, after a few windows to learn from."""
        p, centre = self._normal.bucket_proportions[0], known.mean(axis=0)
        past, found = np.ones(p.size), []
        for deviation in watched - centre:
            weights = self._weights(past, p)
            scatter = _scatter(known - centre, weights)
            found.append(float(deviation @ weights) / max(scatter, _NOTHING))
            past = (1 - _MEMORY) * past + _MEMORY * np.maximum(1 + deviation / p, 0.0)
        return np.array(found[_WARM:])


def _scatter(known: FloatArray, weights: FloatArray) -> float:
    """Of the mean logit from window to window."""
    logits = known @ weights
    return float(np.sqrt(logits @ logits / max(logits.size - 1, 1) * (1 + 1 / max(logits.size, 1)))) * _INFLATED
