"""Is somebody adapting to the model? Then label 1 alone moves, only in what can be moved, and towards label 0."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

FloatArray = NDArray[np.float64]

MIN_ROWS = 20  # of label 1 in either sample
EFFECT_FLOOR = 0.3  # normal-score σ; day-to-day wobble stays far below
BYSTANDER_SHARE = 0.5  # how much of the effect label 0, or an immutable feature, may show


@dataclass(frozen=True, kw_only=True)
class EvasionEvidence:
    """`statistic`: label 1's shift towards label 0 in the mutable feature where it is largest, in normal-score σ."""

    detected: bool
    statistic: float
    p_value: float
    feature: int | None
    sentence: str


def evasion_signature(
    reference_positive: ArrayLike, current_positive: ArrayLike, reference_negative: ArrayLike,
    current_negative: ArrayLike, mutable: Sequence[int], *, names: Sequence[str] = (), alpha: float = 1e-6,
) -> EvasionEvidence:  # fmt: skip
    """Whether label-1 rows moved towards label 0 in a mutable feature while everything else stood still.

    For each feature values are replaced by normal scores of the reference rows of the same label, which makes the
    shift d = mean score, with standard error √(1/n + 1/m), free of the marginal. Detected when for some mutable
    feature d ≥ .3 towards label 0, its two-sided p (Bonferroni over mutable features) < `alpha`, and neither label 0 in
    that feature nor label 1 in any immutable one shows half of it. A shift of the population moves both labels; a new
    kind of behaviour moves immutable features too; neither is called evasion. Only monotone relations of feature and
    label are seen.

    Args:
        reference_positive, current_positive: label-1 rows, shapes (m, d) and (n, d), raw units, NaN for missing.
        reference_negative, current_negative: label-0 rows, likewise.
        mutable: the columns that a person can change.
    """
    arrays = [np.asarray(a, dtype=np.float64) for a in (reference_positive, current_positive)]
    others = [np.asarray(a, dtype=np.float64) for a in (reference_negative, current_negative)]
    if not mutable or min(len(arrays[0]), len(arrays[1]), len(others[0]), len(others[1])) < MIN_ROWS:
        return _none(f"Too few labelled rows (under {MIN_ROWS} of a label) to tell evasion.")
    columns = range(arrays[0].shape[1])
    own = np.array([_shift(arrays[0][:, j], arrays[1][:, j]) for j in columns])
    others_shift = np.array([_shift(others[0][:, j], others[1][:, j]) for j in columns])
    towards = np.array([np.sign(_shift(arrays[0][:, j], others[0][:, j])) for j in columns])
    strongest = max(mutable, key=lambda j: towards[j] * own[j])
    effect = float(towards[strongest] * own[strongest])
    p_value = _p_value(effect, arrays[0][:, strongest], arrays[1][:, strongest], tests=len(mutable))
    immutable = [j for j in columns if j not in set(mutable)]
    bystanders = max([abs(others_shift[strongest]), *(abs(own[j]) for j in immutable)])
    detected = bool(effect >= EFFECT_FLOOR and p_value < alpha and bystanders < BYSTANDER_SHARE * effect)
    name = names[strongest] if names else f"feature {strongest}"
    sentence = (
        f"Label-1 rows moved {effect:.2f}σ towards label 0 in {name}, which can be changed at will; label 0 and the "
        "immutable features stood still."
        if detected
        else "No sign of evasion: label-1 rows did not move alone in what can be changed."
    )
    return EvasionEvidence(
        detected=detected, statistic=effect, p_value=p_value, feature=int(strongest), sentence=sentence
    )


def _shift(reference: FloatArray, current: FloatArray) -> float:
    """The mean normal score of `current` under the mid-distribution of `reference`; 0 where either is all missing."""
    known, new = np.sort(reference[np.isfinite(reference)]), current[np.isfinite(current)]
    if known.size == 0 or new.size == 0:
        return 0.0
    below = (np.searchsorted(known, new, "left") + np.searchsorted(known, new, "right")) / 2
    return float(ndtri((below + 0.5) / (known.size + 1)).mean())


def _p_value(effect: float, reference: FloatArray, current: FloatArray, *, tests: int) -> float:
    known, new = int(np.isfinite(reference).sum()), int(np.isfinite(current).sum())
    if not known or not new:
        return 1.0
    return min(1.0, 2 * tests * float(ndtr(-abs(effect) / np.sqrt(1 / known + 1 / new))))


def _none(sentence: str) -> EvasionEvidence:
    return EvasionEvidence(detected=False, statistic=0.0, p_value=1.0, feature=None, sentence=sentence)
