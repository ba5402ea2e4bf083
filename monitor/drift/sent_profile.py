"""Counts that somebody else made: taken only when some rows could have given them."""

import struct
import zlib

import numpy as np

from monitor.drift.bins import Binning, FloatArray, IntArray
from monitor.drift.profile import FAULTS, MOMENTS, Profile
from monitor.errors import BadInput

_HEADER = struct.calcsize("<4s16sq")
_ROUNDING = 1e-9  # of a sum, relative


def sent_size(binning: Binning) -> int:
    """The bytes of a profile's counts, unpacked."""
    features, joint = len(binning.features), len(binning.joint)
    numbers = binning.size + features * (len(FAULTS) + len(MOMENTS)) + 1 + joint + joint * (joint + 1) // 2
    return numbers * 8


def sent_profile(data: bytes, binning: Binning, rows: int) -> Profile:
    """The profile of these many rows that a producer sent as `Profile.to_bytes`.

    Counts, faults, moments and sums of pairs have to agree with each other as those of any rows do; nothing is unpacked
    beyond the size that they have. What remains possible is that a producer counts other rows than it has, as it could
    send other rows.

    Raises:
        BadInput: these are not the counts of so many rows over these bins.

    >>> import pandas as pd
    >>> day = pd.DataFrame({"amount": [1.0, 2.0, None], "channel": ["app", "web", "fax"]})
    >>> binning = Binning.fit(day)
    >>> sent_profile(Profile.of(day, binning).to_bytes(), binning, 3).rows
    3
    >>> sent_profile(Profile.of(day, binning).to_bytes(), binning, 4)
    Traceback (most recent call last):
    monitor.errors.BadInput: expected counts of 4 rows, got 3
    """
    _require_size(data, sent_size(binning))
    try:
        profile = Profile.from_bytes(data, binning)
    except (ValueError, OverflowError) as error:  # a name that is no text, a number of rows that is none
        raise BadInput(f"expected the bytes of a profile: {error}") from error
    if profile.rows != rows:
        raise BadInput(f"expected counts of {rows:,} rows, got {profile.rows:,}")
    for j, bins in enumerate(binning.features):
        counts, faults = profile.counts[binning.spans[j]], profile.faults[j]
        agree = _counts_agree(counts, faults, rows)
        if agree and bins.is_numeric:
            agree = _moments_agree(profile.moments[j], rows - int(counts[-1]) - int(faults[:2].sum()))
        elif agree:
            agree = not faults[:3].any() and _moments_agree(profile.moments[j], 0)
        if not agree:
            raise BadInput(f"{bins.name}: expected counts, faults and moments of {rows:,} rows, got some of none")
    if not _joint_agrees(profile):
        raise BadInput(f"expected sums over pairs of features of {rows:,} rows, got some of none")
    return profile


def _require_size(data: bytes, size: int) -> None:
    stream = zlib.decompressobj()
    try:
        found = len(stream.decompress(data[_HEADER:], size + 1))
    except zlib.error as error:
        raise BadInput(f"expected the bytes of a profile: {error}") from error
    if found != size or not stream.eof or stream.unused_data:
        raise BadInput(f"expected a profile of {size:,} bytes, got one of another size: profile the rows again")


def _counts_agree(counts: IntArray, faults: IntArray, rows: int) -> bool:
    """Each row is in one bin; what is no number or absent is missing, too."""
    if min(counts.min(), faults.min()) < 0 or max(counts.max(), faults.max()) > rows:
        return False
    unread, absent = int(faults[2]), int(faults[3])
    return bool(counts.sum() == rows and absent in (0, rows) and unread + absent <= counts[-1])


def _moments_agree(moments: FloatArray, finite: int) -> bool:
    """Whether so many finite values have these n, Σx, Σx², min, max."""
    n, total, squares, low, high = map(float, moments)
    if n != finite or finite < 0:
        return False
    if finite == 0:
        return (total, squares, low, high) == (0.0, 0.0, np.inf, -np.inf)
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        most = np.float64(max(abs(low), abs(high)))
        slack = _ROUNDING * n * most
        if np.isinf(n * most) or np.isinf(n * most * most):  # sums of such values may be past the largest float
            return not (np.isnan(total) or np.isnan(squares) or squares < 0)
        within = n * low - slack <= total <= n * high + slack
        return bool(within and total * total / n - slack * most <= squares <= (n * most + slack) * most)


def _joint_agrees(profile: Profile) -> bool:
    """Σ z and the diagonal of Σ z·z′ follow from the counts where all rows were multiplied; no product is too large."""
    joint, binning = profile.joint, profile.binning
    if not binning.joint:
        return joint.rows == 0
    if not (0 < joint.rows <= profile.rows and np.isfinite(joint.sums).all() and np.isfinite(joint.products).all()):
        return False
    squares = np.diag(joint.products)
    largest = np.array([np.abs(table).max() for table in binning.score_tables])
    slack = _ROUNDING * joint.rows * largest * largest + 1e-12
    if (squares < 0).any() or (np.abs(joint.products) > np.sqrt(np.outer(squares + slack, squares + slack))).any():
        return False
    if joint.rows < profile.rows:
        small = np.abs(joint.sums) <= joint.rows * largest + slack
        return bool((small & (squares <= joint.rows * largest**2 + slack)).all())
    counted = [profile.counts[binning.spans[j]] for j in binning.joint]
    pairs = list(zip(binning.score_tables, counted, strict=True))
    sums, own = np.array([table @ row for table, row in pairs]), np.array([table**2 @ row for table, row in pairs])
    near = np.abs(joint.sums - sums) <= _ROUNDING * joint.rows * largest + 1e-12
    return bool((near & (np.abs(squares - own) <= slack)).all())
