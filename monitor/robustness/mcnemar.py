"""Two campaigns on the same rows: did one model lose rows that the other kept, beyond chance?"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from monitor.errors import BadInput

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """McNemar's exact test of a change on shared rows.

    `newly` rows are lost now and were not before, `no_longer` the other way round. `change` is the change of the share
    of lost rows, in points of 1 (positive: more fragile); `p_value` two-sided.
    """

    rows: int
    newly: int
    no_longer: int
    p_value: float

    @property
    def change(self) -> float:
        return (self.newly - self.no_longer) / self.rows

    def to_document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "change": self.change}


def mcnemar(before: BoolArray, after: BoolArray) -> Paired:
    """Compare which of the same rows are lost, shapes (n,).

    Under the null hypothesis a row that changed sides did so in either direction with probability ½, so that the newly
    lost ones are Binomial(newly + no_longer, ½). No change at all has p = 1. McNemar, Psychometrika 12 (1947).

    >>> mcnemar(np.array([True, False, False, False]), np.array([False, True, True, True])).newly
    3
    """
    if before.shape != after.shape or before.ndim != 1 or not len(before):
        raise BadInput(f"expected the same rows twice, got shapes {before.shape} and {after.shape}")
    newly, no_longer = int((after & ~before).sum()), int((before & ~after).sum())
    changed = newly + no_longer
    p_value = float(binomtest(newly, changed, 0.5).pvalue) if changed else 1.0
    return Paired(rows=len(before), newly=newly, no_longer=no_longer, p_value=p_value)
