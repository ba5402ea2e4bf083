"""Which rows are kept as traces: decided by the row's id alone, so that a replay keeps the same ones."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from monitor.errors import BadInput

_SALT = b"holdfast/keep"


def keep(trace_ids: Iterable[str], rate: float) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which rows to keep at a rate in (0, 1], and each one's weight 1/rate, shapes (n,).

    A row that is kept at a low rate is kept at every higher one.

    >>> mask, weight = keep(["t1", "t2", "t3", "t4"], 0.5)
    >>> mask.tolist(), weight.tolist()
    ([True, False, True, False], [2.0, 2.0, 2.0, 2.0])
    """
    if not 0 < rate <= 1:
        raise BadInput(f"expected a sampling rate above 0 and at most 1, got {rate:g}")
    ids = list(trace_ids)
    weight = np.full(len(ids), 1 / rate)
    if rate == 1:
        return np.ones(len(ids), dtype=np.bool_), weight
    return np.fromiter((_uniform(trace_id) < rate for trace_id in ids), np.bool_, len(ids)), weight


def _uniform(trace_id: str) -> float:
    """A number in [0, 1) that only the id decides."""
    digest = hashlib.blake2b(trace_id.encode(), digest_size=8, person=_SALT).digest()
    return int.from_bytes(digest) / 2**64
