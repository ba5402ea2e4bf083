"""Robust accuracy as a stream: the share of rows lost to the attack, tick by tick, held against registration.

Each tick attacks other rows, so single ticks cannot be paired. What is compared is the share of rows that are right on
clean data and lost under attack, class by class, since a tick may hold more positives than the registration did.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from monitor.errors import BadInput
from monitor.schema import FloatArray

BUDGET_TICKS = 1_000  # at most one false alarm in so many ticks
TILTS = (0.2, 0.4, 0.8)  # log-odds by which the bets say that the share of lost rows grew: about 3, 6 and 14 points
_DOUBT = 1.0  # standard errors of the registration that do not count as growth


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many rows of each class were attacked, and how many were lost; regression has the one class `all`."""

    rows: Mapping[str, int]
    lost: Mapping[str, int]

    @classmethod
    def of(cls, lost: NDArray[np.bool_], y: FloatArray, *, classes: bool) -> Self:
        """Count lost rows (n,) by their targets (n,).

        >>> Shares.of(np.array([True, False, True]), np.array([1.0, 1.0, 0.0]), classes=True).lost
        {'0': 1, '1': 1}
        """
        parts = {f"{value:g}": y == value for value in np.unique(y)} if classes else {"all": np.ones(len(y), np.bool_)}
        return cls(
            rows={name: int(part.sum()) for name, part in parts.items()},
            lost={name: int(lost[part].sum()) for name, part in parts.items()},
        )

    @property
    def share(self) -> float:
        return sum(self.lost.values()) / max(sum(self.rows.values()), 1)

    def expected_in(self, other: "Shares") -> float:
        """The share of `other`'s rows that would be lost if each of its classes were as fragile as here."""
        expected = sum(n * self._share_of(name) for name, n in other.rows.items() if self.rows.get(name))
        return expected / max(sum(n for name, n in other.rows.items() if self.rows.get(name)), 1)

    def _share_of(self, name: str) -> float:
        return (self.lost[name] + 0.5) / (self.rows[name] + 1)

    def __add__(self, other: "Shares") -> "Shares":
        names = sorted({*self.rows, *other.rows})
        return Shares(
            rows={name: self.rows.get(name, 0) + other.rows.get(name, 0) for name in names},
            lost={name: self.lost.get(name, 0) + other.lost.get(name, 0) for name in names},
        )

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"rows": dict(self.rows), "lost": dict(self.lost)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The counts that `to_document` wrote."""
        return cls(rows=dict(document["rows"]), lost=dict(document["lost"]))


NOTHING = Shares(rows={}, lost={})


@dataclass(frozen=True, kw_only=True)
class RobustStream:
    """Bets against "the model is no more fragile than at registration", and what they have won.

    `won` is what each bet holds, `since` what was counted since the evidence last stood below 1. While the hypothesis
    is true each bet multiplies its stake by at most 1 on average and gets one new unit a tick (a Shiryaev–Roberts
    e-detector), so that an alarm at a mean of `BUDGET_TICKS` comes at most once in so many ticks on average. Shin,
    Ramdas & Rinaldo, E-detectors (2023).
    """

    won: tuple[float, ...] = (0.0,) * len(TILTS)
    since: Shares = NOTHING
    ticks: int = 0

    @property
    def evidence(self) -> float:
        """The mean of what the bets hold; at least `BUDGET_TICKS` is an alarm."""
        return float(np.mean(self.won))

    @property
    def alarm(self) -> bool:
        return self.evidence >= BUDGET_TICKS

    def update(self, registered: Shares, tick: Shares) -> Self:
        """The stream after one more tick.

        What a bet holds is capped just above the alarm, so that a model that recovered is quiet after a tick or two.
        """
        factors = likelihood_ratios(registered, tick)
        cap = float(BUDGET_TICKS * len(TILTS))
        won = tuple(min((1 + held) * factor, cap) for held, factor in zip(self.won, factors, strict=True))
        begun = tick if self.evidence < 1 else self.since + tick
        return type(self)(won=won, since=begun, ticks=self.ticks + 1)

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"won": list(self.won), "since": self.since.to_document(), "ticks": self.ticks}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The stream that `to_document` wrote; one with other bets begins anew."""
        won = tuple(float(value) for value in document.get("won", ()))
        if len(won) != len(TILTS):
            return cls()
        return cls(won=won, since=Shares.from_document(document["since"]), ticks=int(document["ticks"]))


def likelihood_ratios(registered: Shares, tick: Shares) -> FloatArray:
    """What each bet multiplies its stake by on this tick, shape (len(TILTS),).

    With p_c the registered share of class c, raised by a common tilt δ of log-odds for the error of the registration
    itself, a bet of tilt θ says logit q_c = logit p_c + θ and wins Π_c (q_c/p_c)^lost · ((1−q_c)/(1−p_c))^kept. For any
    true share ≤ p_c its expectation is at most 1. Classes that the registration did not see are left out.
    """
    names = [name for name, n in tick.rows.items() if n and registered.rows.get(name)]
    if not names:
        raise BadInput(f"expected a tick with classes among {sorted(registered.rows)}, got {sorted(tick.rows)}")
    n, lost = (np.array([counts[name] for name in names], dtype=np.float64) for counts in (tick.rows, tick.lost))
    m, gone = (
        np.array([counts[name] for name in names], dtype=np.float64) for counts in (registered.rows, registered.lost)
    )
    share = (gone + 0.5) / (m + 1)
    doubt = _DOUBT / np.sqrt((m * share * (1 - share)).sum())
    null = expit(logit(share) + doubt)
    bets = expit(logit(null)[None, :] + np.array(TILTS)[:, None])
    logs = lost * np.log(bets / null) + (n - lost) * np.log((1 - bets) / (1 - null))
    return np.asarray(np.exp(np.minimum(logs.sum(axis=1), 700.0)), dtype=np.float64)
