"""The spread of a feature in raw units, by statistics that a few wild values cannot move."""

import numpy as np

from monitor.schema import FloatArray


def robust_scale(column: FloatArray) -> float:
    """Robust σ of one feature, in raw units; 0 for a constant or empty column. Missing values are left out.

    IQR/1.349, which is σ for a normal; when the quartiles coincide (q99 − q01)/4.65; when these do too, the standard
    deviation of the non-zero part; when that is 0 the column is constant.

    >>> round(robust_scale(np.array([0.0, 1.349, 2.698])), 9)
    1.0
    >>> robust_scale(np.array([7.0, 7.0, np.nan]))
    0.0
    """
    present = column[np.isfinite(column)]
    if present.size == 0:
        return 0.0
    q01, q25, q75, q99 = np.quantile(present, [0.01, 0.25, 0.75, 0.99])
    if q75 > q25:
        return float((q75 - q25) / 1.349)
    if q99 > q01:
        return float((q99 - q01) / 4.65)
    nonzero = present[present != 0]
    if present.min() == present.max():
        return 0.0
    return float(nonzero.std() or present.std())
