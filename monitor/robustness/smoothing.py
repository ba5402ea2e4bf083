"""A certificate for any model, black boxes too: of the model smoothed by noise, not of the model itself.

Cohen et al. 2019, https://arxiv.org/abs/1902.02918. The smoothed model answers with the class that the model gives most
often when Gaussian noise is added to the row. Where the top class has probability p under noise of σ, no change shorter
than σ·Φ⁻¹(p) in L2 can make another class the most frequent. p is bounded from below by sampling, so each certificate
may be wrong with chance `alpha`. It is worth nothing when the plain model is served: the smoothed one must be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

from monitor.errors import BadInput
from monitor.robustness.target import Target, Task, predicted
from monitor.robustness.threat_model import BoolArray, ThreatModel
from monitor.schema import FloatArray

ABSTAINED = -1
_BATCH = 8_192


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """The noise and the sampling: `sigma` in robust σ (raw units for a raw box), one-sided error `alpha` a row.

    `selection` draws choose a row's top class, `samples` further ones bound its probability. The largest radius that
    can be certified is sigma·Φ⁻¹(alpha^(1/samples)): 2.46 sigma with the defaults.
    """

    sigma: float = 0.25
    alpha: float = 0.001
    selection: int = 100
    samples: int = 1_000

    def __post_init__(self) -> None:
        if not self.sigma > 0 or not 0 < self.alpha < 1 or min(self.selection, self.samples) < 1:
            raise BadInput(
                f"expected sigma > 0, alpha between 0 and 1, and at least one draw of each kind, got {self.sigma}, "
                f"{self.alpha}, {self.selection}, {self.samples}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothedResult:
    """What holds of the smoothed model, never of the model itself.

    `classes` (n,) is its answer, −1 where it abstains; `radius` (n,) the certified L2 radius in robust σ, 0 there.
    `accuracy` is the share of rows with the right answer (an abstention is not right), `certified` by level the share
    that keeps it anywhere in the level's box, or None, `abstained` the share without an answer. `samples` draws a row
    were made.
    """

    smoothing: Smoothing
    classes: NDArray[np.int_]
    radius: FloatArray
    accuracy: float
    certified: Mapping[str, float | None]
    abstained: float
    samples: int


def certify_smoothed(
    target: Target,
    rows: FloatArray,
    y: FloatArray,
    threats: Sequence[ThreatModel],
    smoothing: Smoothing | None = None,
    *,
    seed: int = 0,
) -> SmoothedResult:
    """Certify the smoothed model on rows (n, d) with classes y (n,) at the level of each threat.

    Noise is added to the numbers that can move in the box at the widest of the levels; whole ones are rounded and hard
    bounds hold after it, as parts of the model that is smoothed. A row is certified at a level when its radius exceeds
    the farthest corner of its box, √Σ(reach/σ_j)²: `epsilon`·√movable, less where bounds clip. A level at which
    categories or counts may change, or derived features follow others, has no certificate: None. Raises BadInput for
    regression and without threats.
    """
    if target.task is Task.REGRESSION or not threats:
        raise BadInput(f"expected a classifier and at least one threat model, got {target.task} and {len(threats)}")
    chosen = smoothing or Smoothing()
    votes = _Voters(target, rows, threats, chosen, np.random.default_rng(seed))
    top = votes.count(chosen.selection).argmax(axis=1)
    hits = votes.count(chosen.samples)[np.arange(len(rows)), top]
    radius = certified_radius(hits, chosen)
    right = (radius > 0) & (top == y)
    return SmoothedResult(
        smoothing=chosen,
        classes=np.where(radius > 0, top, ABSTAINED),
        radius=radius,
        accuracy=float(right.mean()),
        certified={threat.level: _share(right, radius, rows, threat) for threat in threats},
        abstained=float((radius == 0).mean()),
        samples=chosen.selection + chosen.samples,
    )


def certified_radius(hits: NDArray[np.int_], smoothing: Smoothing) -> FloatArray:
    """L2 radius sigma·Φ⁻¹(p), (n,), with p the Clopper-Pearson lower bound for `hits` of `samples`; 0 where p ≤ ½.

    >>> certified_radius(np.array([1_000, 500]), Smoothing(sigma=1.0)).round(2)
    array([2.46, 0.  ])
    """
    share = beta.ppf(smoothing.alpha, hits, smoothing.samples - hits + 1)
    return np.asarray(np.where(share > 0.5, smoothing.sigma * norm.ppf(np.maximum(share, 0.5)), 0.0))


def _share(right: BoolArray, radius: FloatArray, rows: FloatArray, threat: ThreatModel) -> float | None:
    derived = threat.links is not None and bool(threat.links.derived)
    if derived or (threat.groups and threat.swaps > 0):
        return None
    return float((right & (radius > _farthest(rows, threat))).mean())


def _farthest(rows: FloatArray, threat: ThreatModel) -> FloatArray:
    """L2 distance in robust σ from each row to the farthest corner of its box, (n,)."""
    low, high = threat.box(rows)
    reach = np.nan_to_num(np.maximum(high - rows, rows - low))
    return np.asarray(np.sqrt(((reach / np.where(threat.scale > 0, threat.scale, 1.0)) ** 2).sum(axis=1)))


class _Voters:
    """The model asked again and again about the same rows under noise."""

    def __init__(
        self,
        target: Target,
        rows: FloatArray,
        threats: Sequence[ThreatModel],
        smoothing: Smoothing,
        rng: np.random.Generator,
    ) -> None:
        self.target, self.rows, self.rng, self.threat = target, rows, rng, threats[0]
        movable: BoolArray = np.any([threat.boxed for threat in threats], axis=0)
        self.spread = np.where(movable, smoothing.sigma * self.threat.scale, 0.0)

    def count(self, draws: int) -> NDArray[np.int_]:
        """How often each class was answered, (n, k)."""
        n, together = len(self.rows), max(_BATCH // max(len(self.rows), 1), 1)
        total: NDArray[np.int_] | None = None
        for start in range(0, draws, together):
            times = min(together, draws - start)
            noisy = np.concatenate([self._noisy() for _ in range(times)])
            outputs = self.target.outputs(noisy)
            k = 2 if self.target.task is Task.BINARY else outputs.shape[1]
            answers = predicted(outputs, self.target.task, decision=self.target.decision).astype(int)
            cells = np.tile(np.arange(n), times) * k + answers
            found = np.bincount(cells, minlength=n * k).reshape(n, k)
            total = found if total is None else total + found
        return np.zeros((n, 2), dtype=int) if total is None else total

    def _noisy(self) -> FloatArray:
        moved = self.rows + self.spread * self.rng.standard_normal(self.rows.shape)
        moved = np.where(self.threat.integer & np.isfinite(moved), np.round(moved), moved)
        inside = np.clip(moved, self.threat.lower, self.threat.upper)
        return np.where(np.broadcast_to(self.spread > 0, moved.shape), inside, self.rows)
