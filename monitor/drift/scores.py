"""One conventional score of one feature, and the default thresholds that other tools made customary."""

from dataclasses import dataclass
from enum import StrEnum


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


# Evidently: p < .05 on small references, .1 for distances. SageMaker Model Monitor: L∞ > .1. NannyML: constant .1 for
# the bounded distances. PSI > .2 is the convention of credit scoring.
THRESHOLDS: dict[str, dict[str, float]] = {
    "evidently": {"ks": 0.05, "chi2": 0.05, "z": 0.05, "wasserstein": 0.1, "js": 0.1, "psi": 0.1, "kl": 0.1},
    "psi": {"psi": 0.2},
    "nannyml": {"js": 0.1, "hellinger": 0.1, "linf": 0.1},
    "sagemaker": {"linf": 0.1},
}
DEFAULT_THRESHOLDS: dict[str, float] = {**THRESHOLDS["evidently"], "psi": 0.2, "hellinger": 0.1, "linf": 0.1}
