"""Which rows are kept as traces: decided by the row's id alone, so that a replay keeps the same ones."""

import numpy as np
from numpy.typing import NDArray

from monitor.db.ledger import Keys
from monitor.errors import BadInput


def keep(keys: Keys, rate: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which rows to keep at a rate in (0, 1], and each one's weight 1/rate, shapes (n,).

    A row that is kept at a low rate is kept at every higher one.

    Args:
        keys: see `monitor.db.ledger.keys_of`.

    >>> from monitor.db.ledger import keys_of
    >>> mask, weight = keep(keys_of(["t1", "t2", "t3", "t4"]), 0.5)
    >>> mask.tolist(), weight.tolist()
    ([False, False, False, True], [2.0, 2.0, 2.0, 2.0])
    """
    if not 0 < rate <= 1:
        raise BadInput(f"expected a sampling rate above 0 and at most 1, got {rate:g}")
    weight = np.full(len(keys), 1 / rate)
    if rate == 1:
        return np.ones(len(keys), dtype=np.bool_), weight
    return uniforms(keys) < rate, weight


def uniforms(keys: Keys) -> NDArray[np.float64]:
    """A number in [0, 1) that only the id decides, shape (n,): the second half of its key."""
    return np.ascontiguousarray(keys).view(">u8")[:, 1] / 2.0**64
