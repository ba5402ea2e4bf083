"""What an owner declared of single features: how much of a change is tolerated, and how much attention one gets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from monitor.drift.bins import FloatArray
from monitor.errors import BadInput

MOST_WEIGHT = 1e6


@dataclass(frozen=True, kw_only=True)
class FeatureOverride:
    """Settings of one feature in place of the model's.

    Attributes:
        tolerance: δ, the change in normal-score σ that is not worth a ticket; None: that of the model's sensitivity.
        weight: share of the false-alarm budget relative to the other features; 0: shown, and never alarms.

    >>> FeatureOverride(weight=0).is_muted
    True
    """

    tolerance: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.tolerance is not None and not 0 <= self.tolerance <= 10:
            raise BadInput(f"expected a tolerance from 0 to 10 normal-score σ, got {self.tolerance:g}")
        if not 0 <= self.weight <= MOST_WEIGHT:
            raise BadInput(f"expected a weight from 0 (never alarms) to {MOST_WEIGHT:g}, got {self.weight:g}")

    @property
    def is_muted(self) -> bool:
        return self.weight == 0

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """The override that `to_document` wrote.

        Raises:
            BadInput: a key is unknown, or a value out of range.
        """
        try:
            return cls(**document)
        except TypeError as error:
            raise BadInput(f"expected an override with tolerance and weight, got {dict(document)}") from error


Overrides = Mapping[str, FeatureOverride]


def check_known(overrides: Overrides, names: tuple[str, ...]) -> None:
    """Refuse overrides of features that the schema does not have.

    Raises:
        BadInput: it names them, and the features that there are.
    """
    unknown = sorted(set(overrides) - set(names))
    if unknown:
        raise BadInput(f"expected overrides of {', '.join(names)}, got {', '.join(unknown)}")


def tolerances(
    overrides: Overrides, names: tuple[str, ...], feature_of: NDArray[np.int64], default: float
) -> FloatArray:
    """δ of each direction, shape (D,)."""
    chosen = [overrides.get(name, FeatureOverride()).tolerance for name in names]
    each = np.array([default if tolerance is None else tolerance for tolerance in chosen], dtype=np.float64)
    found: FloatArray = each[feature_of]
    return found


def budget_shares(
    overrides: Overrides, names: tuple[str, ...], feature_of: NDArray[np.int64], shares: FloatArray
) -> FloatArray:
    """The directions' budget shares with the features' weights, summing to what `shares` sums to, shape (D,)."""
    weights = np.array([overrides.get(name, FeatureOverride()).weight for name in names], dtype=np.float64)
    weighted = shares * weights[feature_of]
    total = float(weighted.sum())
    return weighted * (float(shares.sum()) / total) if total > 0 else weighted
