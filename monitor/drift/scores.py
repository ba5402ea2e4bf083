"""One conventional score of one feature, and the default thresholds that other tools made customary."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from monitor.errors import BadInput


class ScoreStatus(StrEnum):
    """Whether a score can be read."""

    OK = "ok"
    INSUFFICIENT = "insufficient"  # fewer than two rows on a side
    CONSTANT = "constant"


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one statistic says about reference and current.

    `statistic` grows with the difference. `effect` is the same in units that compare across features (a distance in
    reference standard deviations, a share), or the statistic itself. `threshold` is the customary one of the chosen
    profile: a lower bound of the statistic, or an upper bound of the p-value where `p_value` is given; None if the
    profile names none.
    """

    statistic: float
    p_value: float | None
    effect: float
    threshold: float | None
    n_reference: int
    n_current: int
    method: str
    status: ScoreStatus = ScoreStatus.OK

    @property
    def exceeds(self) -> bool:
        """Whether the customary rule would call it drift; these rules do not keep a false-alarm rate."""
        if self.threshold is None or self.status is not ScoreStatus.OK:
            return False
        return self.statistic >= self.threshold if self.p_value is None else self.p_value < self.threshold


# Every threshold that a profile may use; `customary_thresholds` says which one it would use for a feature.
THRESHOLDS: dict[str, dict[str, float]] = {
    # Its Jensen–Shannon distance is in √nats, ours in √bits.
    "evidently": {"ks": 0.05, "chi2": 0.05, "z": 0.05, "wasserstein": 0.1, "js": 0.1 / math.sqrt(math.log(2))},
    "psi": {"psi": 0.2},
    "nannyml": {"js": 0.1, "hellinger": 0.1, "linf": 0.1},
    "sagemaker": {"cdf_distance": 0.1, "linf": 0.1},
}
DEFAULT_THRESHOLDS: dict[str, float] = {
    "ks": 0.05,
    "chi2": 0.05,
    "g": 0.05,
    "z": 0.05,
    "anderson_darling": 0.05,
    "cramer_von_mises": 0.05,
    "wasserstein": 0.1,
    "js": 0.1,
    "kl": 0.1,
    "psi": 0.2,
    "hellinger": 0.1,
    "linf": 0.1,
}
_SMALL_REFERENCE, _FEW_VALUES = 1_000, 5  # of Evidently


def customary_thresholds(
    profile: str | None, *, is_numeric: bool, distinct: int, n_reference: int
) -> Mapping[str, float]:
    """The thresholds that a tool's defaults would put on one feature, by score; without a profile, one a score.

    - `evidently`: up to 1,000 reference rows KS, χ² (at most five distinct values, or a category) or z (two) at
      p < .05; above, Wasserstein ≥ .1 reference σ, or the Jensen–Shannon distance (few values, or a category) ≥ .1.
    - `psi`: .2, the convention of credit scoring.
    - `nannyml`: the Jensen–Shannon distance. Its default is the mean plus three standard deviations over the chunks of
      the reference (`chunk_threshold`); two frames have no chunks and take .1, the constant of its earlier releases.
    - `sagemaker`: Model Monitor's comparison threshold .1, on the distance of the distribution functions of a number
      (its method Simple) and on L∞ of a category.

    Args:
        profile: its name.
        is_numeric: whether the feature is a number.
        distinct: its distinct values in both samples together.
        n_reference: reference rows.

    Raises:
        BadInput: there is no such profile.

    >>> dict(customary_thresholds("evidently", is_numeric=True, distinct=400, n_reference=500))
    {'ks': 0.05}
    """
    if profile is None:
        return DEFAULT_THRESHOLDS
    if profile not in THRESHOLDS:
        raise BadInput(f"no thresholds are called {profile!r}; there are {', '.join(THRESHOLDS)}")
    has_few = not is_numeric or distinct <= _FEW_VALUES
    chosen = {
        "evidently": _evidently_test(has_few, distinct, n_reference),
        "psi": "psi",
        "nannyml": "js",
        "sagemaker": "cdf_distance" if is_numeric else "linf",
    }[profile]
    return {chosen: THRESHOLDS[profile][chosen]}


def _evidently_test(has_few: bool, distinct: int, n_reference: int) -> str:
    if n_reference > _SMALL_REFERENCE:
        return "js" if has_few else "wasserstein"
    if not has_few:
        return "ks"
    return "chi2" if distinct > 2 else "z"


def chunk_threshold(distances: ArrayLike) -> float:
    """NannyML's default upper threshold: mean plus three (population) standard deviations over the reference's chunks.

    >>> round(chunk_threshold([0.02, 0.04]), 3)
    0.06
    """
    values = np.asarray(distances, dtype=np.float64)
    return float(np.nanmean(values) + 3 * np.nanstd(values))
