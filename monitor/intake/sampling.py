"""Which rows are kept as traces, and how likely each was: a rate, a number a window, strata, and surprising rows.

Chance is the row's id alone, so that a replay at the same rates keeps the same rows, and a row that is kept at a low
rate is kept at every higher one. Each kept row carries 1 / its probability as its weight (Horvitz and Thompson, 1952).
Profiles count every row, kept or not.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.batch import Batch, BoolArray, Keys
from monitor.drift.profile import Binning, Profile
from monitor.errors import BadInput
from monitor.intake.parts import grid_starts
from monitor.schema import FloatArray, Schema

LEAST = 1e-3  # no row is kept less often: one weight must not outweigh a window
HALF = 0.5  # where a model of two classes decides that nobody has measured
CLOSE = 0.05  # a score this near to the decision is surprising
LOOKED_BACK = 7  # windows from which the usual number of rows is taken


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """How rows are chosen.

    Attributes:
        rate: the share that is kept while `rows` is not said.
        rows: how many are wanted a window; the rate follows the rows of the windows before.
        by: a feature; each of its bins that has rows gets an equal share of `rows`, so that rare levels are kept more.
        surprise: the least rate of surprising rows (see `surprising`).
        threshold: the score above which a row is called positive; None where scores decide nothing.
    """

    rate: float = 1.0
    rows: int | None = None
    by: str = ""
    surprise: float = 0.0
    threshold: float | None = HALF

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise BadInput(f"expected a sampling rate above 0 and at most 1, got {self.rate:g}")
        if self.rows is not None and self.rows < 1:
            raise BadInput(f"expected at least one row a window, got {self.rows}")
        if self.by and self.rows is None:
            raise BadInput(f"expected a number of rows a window to share among the levels of {self.by}")
        if not 0 <= self.surprise <= 1:
            raise BadInput(f"expected a rate of surprising rows between 0 and 1, got {self.surprise:g}")

    @property
    def keeps_all(self) -> bool:
        return self.rate == 1 and self.rows is None


Usual = Callable[[datetime], Profile | None]  # what was counted in the windows before the one that begins then


def probabilities(batch: Batch, plan: SamplingPlan, schema: Schema, *, width: timedelta, usual: Usual) -> FloatArray:
    """How likely each row is to be kept, shape (n,), in [1e-3, 1]."""
    if plan.keeps_all:
        return np.ones(len(batch))
    chosen = np.full(len(batch), plan.rate)
    if plan.rows is not None:
        starts = grid_starts(batch.event_time, width)
        for start in np.unique(starts):
            within = starts == start
            chosen[within] = _wanted(batch.where(within), plan, usual(start.item().replace(tzinfo=UTC)))
    if plan.surprise > 0:
        chosen = np.where(surprising(batch, schema, plan.threshold), np.maximum(chosen, plan.surprise), chosen)
    return np.asarray(np.clip(chosen, LEAST, 1.0))


def least_rates(times: NDArray[np.datetime64], plan: SamplingPlan, *, width: timedelta, usual: Usual) -> FloatArray:
    """What any row of these event times is kept with at least, whatever it holds, shape (n,), in [1e-3, 1]."""
    least = np.full(len(times), plan.rate)
    if plan.rows is not None:
        starts = grid_starts(times, width)
        for start in np.unique(starts):
            least[starts == start] = np.min(_rates(plan, usual(start.item().replace(tzinfo=UTC))))
    return np.asarray(np.clip(least, LEAST, 1.0))


def keep(keys: Keys, probability: FloatArray) -> tuple[BoolArray, FloatArray]:
    """Which rows to keep, each with its own probability in (0, 1], and the weights 1/p, shapes (n,).

    Args:
        keys: see `monitor.batch.keys_of`.

    >>> from monitor.batch import keys_of
    >>> mask, weight = keep(keys_of(["t1", "t2", "t3", "t4"]), np.full(4, 0.5))
    >>> mask.tolist(), weight.tolist()
    ([False, False, False, True], [2.0, 2.0, 2.0, 2.0])
    """
    return uniforms(keys) < probability, 1 / probability


def uniforms(keys: Keys) -> NDArray[np.float64]:
    """A number in [0, 1) that only the id decides, shape (n,): the second half of its key."""
    return np.asarray((np.ascontiguousarray(keys).view(">u8")[:, 1] >> np.uint64(11)) / 2.0**53)


def surprising(batch: Batch, schema: Schema, threshold: float | None) -> BoolArray:
    """Rows that say more than others, shape (n,).

    They hold a value that is no number, a level that is not declared, a number outside of its declared bounds, or a
    score within .05 of the decision.
    """
    found = np.zeros(len(batch), dtype=np.bool_) if threshold is None else np.abs(batch.score - threshold) <= CLOSE
    for faults in batch.unread.values():
        found |= faults
    for feature in schema.features:
        column = batch.features.get(feature.name)
        if isinstance(column, pa.Array):
            found |= _undeclared(column, feature.levels)
        elif column is not None:
            found |= (column < (feature.lower if feature.lower is not None else -np.inf)) | (
                column > (feature.upper if feature.upper is not None else np.inf)
            )
    return found


def _undeclared(texts: pa.Array, levels: Collection[str]) -> BoolArray:
    if not levels:
        return np.zeros(len(texts), dtype=np.bool_)
    known = pc.is_in(texts, value_set=pa.array(list(levels), pa.string()))
    return np.asarray(pc.and_(pc.invert(known), pc.is_valid(texts)))


def _wanted(batch: Batch, plan: SamplingPlan, before: Profile | None) -> FloatArray | float:
    """The rates of the rows of one window."""
    rates = _rates(plan, before)
    if before is None or rates.size == 1:
        return float(rates[0])
    return np.asarray(rates[_places(batch, before.binning, plan.by)])


def _rates(plan: SamplingPlan, before: Profile | None) -> FloatArray:
    """The rates with which about `plan.rows` rows of a window like those before are kept; all without any before.

    One for all rows, or one for each bin of the feature `by`.
    """
    if before is None or before.rows == 0 or plan.rows is None:
        return np.ones(1)
    if not plan.by or plan.by not in before.binning.position:
        return np.array([min(1.0, plan.rows / (before.rows / LOOKED_BACK))])
    counts = before.counts_of(plan.by) / LOOKED_BACK
    wanted = plan.rows / max(int(np.count_nonzero(counts)), 1)
    return np.minimum(1.0, np.divide(wanted, counts, out=np.ones_like(counts), where=counts > 0))


def _places(batch: Batch, binning: Binning, name: str) -> NDArray[np.int64]:
    at = binning.position[name]
    return binning.features[at].place(list(batch.encoded(binning.schema))[at])
