"""An interval of a mean that holds at every moment at once, so that one may look after each row and stop at will."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitor.errors import BadInput
from monitor.performance.intervals import Interval

FloatArray = NDArray[np.float64]

_LARGEST_BET = 0.5  # c: how much of what is possible is put on one row; smaller is slower at first


@dataclass(frozen=True, kw_only=True)
class ConfidenceSequence:
    """The empirical-Bernstein confidence sequence of the mean of bounded values, as far as it has come.

    For X_i in [0, 1] with mean μ and bets λ_i chosen before X_i is seen, at every n at once with probability ≥ 1 − α

        |μ − Σ λ_i X_i / Σ λ_i| ≤ (ln(2/α) + Σ v_i ψ(λ_i)) / Σ λ_i,
        v_i = 4 (X_i − m_{i−1})²,   ψ(λ) = (−ln(1 − λ) − λ) / 4,
        λ_i = min(½, √(2 ln(2/α) / (s²_{i−1} · i · ln(1 + i)))),
        m_i = (½ + Σ X) / (i + 1),   s²_i = (¼ + Σ (X_j − m_j)²) / (i + 1).

    Values in [lower, upper] are brought to [0, 1] and back. Where the mean of the values changes on the way, the
    interval is one of its λ-weighted average so far. It is a state of sums: going on from it is the same as beginning
    anew with all values.

    Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024, theorem 2
    (https://arxiv.org/abs/2010.09686).

    >>> rng = np.random.default_rng(0)
    >>> found = ConfidenceSequence(lower=-1, upper=1).update(rng.choice([-1.0, 0.0, 1.0], 20_000, p=[0.2, 0.7, 0.1]))
    >>> low, high = found.interval
    >>> low < -0.1 < high < 0
    True
    """

    lower: float = 0.0
    upper: float = 1.0
    alpha: float = 0.05
    n: int = 0
    total: float = 0.0  # Σ X
    squares: float = 0.0  # Σ (X_i − m_i)²
    bets: float = 0.0  # Σ λ_i
    won: float = 0.0  # Σ λ_i X_i
    slack: float = 0.0  # Σ v_i ψ(λ_i)

    def __post_init__(self) -> None:
        if not self.lower < self.upper or not 0 < self.alpha < 1:
            raise BadInput(
                f"expected lower < upper and 0 < alpha < 1, got {self.lower:g}, {self.upper:g} and {self.alpha:g}"
            )

    @property
    def mean(self) -> float:
        """The plain mean of the values; the middle of the range before there is any."""
        return float(self._back(self.total / self.n if self.n else 0.5))

    @property
    def interval(self) -> Interval:
        """What holds now: [lower, upper] before the first value."""
        low, high = self._bounds(np.array([self.bets]), np.array([self.won]), np.array([self.slack]))
        return float(low[0]), float(high[0])

    def update(self, values: ArrayLike) -> "ConfidenceSequence":
        """The sequence after further values of shape (n,), in order.

        Raises:
            BadInput: a value is not finite or lies outside [lower, upper].
        """
        x, bets, slack = self._played(values)
        if not x.size:
            return self
        total = self.total + x.sum()
        means = self._means(x)
        return replace(
            self, n=self.n + x.size, total=float(total), squares=float(self.squares + ((x - means) ** 2).sum()),
            bets=float(self.bets + bets.sum()), won=float(self.won + (bets * x).sum()),
            slack=float(self.slack + slack.sum()),
        )  # fmt: skip

    def path(self, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Both ends of the interval after each of further values, shapes (n,)."""
        x, bets, slack = self._played(values)
        return self._bounds(self.bets + np.cumsum(bets), self.won + np.cumsum(bets * x), self.slack + np.cumsum(slack))

    def _played(self, values: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Values in [0, 1], the bet on each, and what each adds to the width."""
        given = np.asarray(values, dtype=np.float64)
        if given.ndim != 1 or not ((given >= self.lower) & (given <= self.upper)).all():
            raise BadInput(f"expected values of shape (n,) in [{self.lower:g}, {self.upper:g}], got others")
        x = (given - self.lower) / (self.upper - self.lower)
        i = np.arange(self.n + 1, self.n + x.size + 1)
        means = self._means(x)
        before = np.append((0.5 + self.total) / (self.n + 1), means)[:-1]
        spent = self.squares + np.append(0.0, np.cumsum((x - means) ** 2))[: x.size]
        variance = (0.25 + spent) / i
        bets = np.minimum(_LARGEST_BET, np.sqrt(2 * math.log(2 / self.alpha) / (variance * i * np.log1p(i))))
        return x, bets, (x - before) ** 2 * (-np.log1p(-bets) - bets)

    def _means(self, x: FloatArray) -> FloatArray:
        """m_i after each value."""
        i = np.arange(self.n + 1, self.n + x.size + 1)
        return np.asarray((0.5 + self.total + np.cumsum(x)) / (i + 1))

    def _bounds(self, bets: FloatArray, won: FloatArray, slack: FloatArray) -> tuple[FloatArray, FloatArray]:
        known = np.maximum(bets, np.finfo(np.float64).tiny)
        half = (math.log(2 / self.alpha) + slack) / known
        centre = won / known
        low, high = np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
        return self._back(low), self._back(high)

    def _back(self, share: Any) -> Any:
        return self.lower + (self.upper - self.lower) * share

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "ConfidenceSequence":
        """The state that `to_document` wrote."""
        return cls(**document)
