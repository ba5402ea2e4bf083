"""How unusual a window mean is, on one scale: the standard normal deviate with the same tail.

A plain x/√V is right for the location. A scale or a rare level is skewed, and its normal deviate would page people at
small n; here its own tail is computed and turned back into a deviate z, which the caller compares with a t quantile.
"""

from math import copysign, log, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitor.drift.bins import FloatArray

RARE = 0.05
_SMALLEST = 1e-300
_NEAR = 1e-4  # a signed root below which r* is r


def indicator_deviate(x: FloatArray, q: FloatArray, sd: FloatArray, variance: FloatArray, n: FloatArray) -> FloatArray:
    """Signed deviate of a share that lies x·sd above its expected share q; all arguments of one shape.

    q ≤ .05 (or ≥ .95, mirrored): negative binomial with mean nq and the variance that `variance` implies. Otherwise the
    signed root of the Bernoulli likelihood ratio with ±½, and from above also Beta(q·s, (1−q)·s), s = 1/V − 1; the more
    cautious counts.

    Args:
        x: deviation in reference standard deviations of one row.
        q: expected share.
        sd: √(p(1−p)) of the reference, the unit of x.
        variance: variance of x.
        n: rows.
    """
    mirrored = q > 0.5
    sign = np.where(mirrored, -1.0, 1.0)
    q, x = np.where(mirrored, 1 - q, q), x * sign
    share = np.clip(q + x * sd, 0.0, 1.0)
    rare = q <= RARE
    deviate = np.empty_like(x)
    for chosen, tail in ((rare, _rare_deviate), (~rare, _common_deviate)):
        if chosen.any():
            deviate[chosen] = tail(share[chosen], q[chosen], sd[chosen], variance[chosen], n[chosen])
    return deviate * sign


def _rare_deviate(share: FloatArray, q: FloatArray, sd: FloatArray, variance: FloatArray, n: FloatArray) -> FloatArray:
    """P(X ≥ k) and P(X ≤ k) of the negative binomial, through the incomplete beta function."""
    mean = n * q
    size = q**2 / np.maximum(sd**2 * (variance - 1 / n), 1e-6 * q**2)
    hits = n * share
    above = special.betainc(np.maximum(hits, 1e-9), size, mean / (mean + size))
    below = special.betainc(size, hits + 1, size / (mean + size))
    return np.where(share >= q, np.maximum(_deviate(above), 0.0), -np.maximum(_deviate(below), 0.0))


def _common_deviate(
    share: FloatArray, q: FloatArray, _sd: FloatArray, variance: FloatArray, n: FloatArray
) -> FloatArray:
    """r* of the Bernoulli likelihood, the share moved half a row towards q."""
    half = 0.5 / n
    towards = np.where(share > q, np.maximum(share - half, q), np.minimum(share + half, q))
    towards = np.clip(towards, half / 2, 1 - half / 2)
    divergence = special.rel_entr(towards, q) + special.rel_entr(1 - towards, 1 - q)
    r = np.sign(towards - q) * np.sqrt(2 * n * np.maximum(divergence, 0.0))
    u = (special.logit(towards) - special.logit(q)) * np.sqrt(n * towards * (1 - towards))
    deviate = barndorff_nielsen(r, u) / np.sqrt(n * variance)
    s = np.maximum(1 / variance - 1, 1e-6)
    beta = np.maximum(_deviate(special.betaincc(q * s, (1 - q) * s, share)), 0.0)
    return np.where(share > q, np.minimum(deviate, beta), deviate)


def barndorff_nielsen(r: FloatArray, u: FloatArray) -> FloatArray:
    """r* = r + log(u/r)/r, the standard normal deviate of a saddle-point tail; r itself where r is near 0."""
    near = np.abs(r) < _NEAR
    safe_r, safe_u = np.where(near, 1.0, r), np.where(near | (u == 0), 1.0, u)
    ratio = np.maximum(safe_u / safe_r, 1e-12)
    return np.where(near, r, r + np.log(ratio) / safe_r)


def unskewed(z: FloatArray, skewness: FloatArray) -> FloatArray:
    """The smaller of |z| and the deviate with the same tail if the law had this skewness, with the sign of z.

    6/γ·((1 + γz/2)^⅓ − 1) + γ/6 is the normal deviate of a gamma law; it only ever makes z less unusual. Source:
    Wilson & Hilferty, "The distribution of chi-square", 1931.
    """
    gamma = np.where(np.abs(skewness) < 1e-6, 1e-6, skewness)
    cautious = 6 / gamma * (np.cbrt(1 + gamma * z / 2) - 1) + gamma / 6
    deviate: FloatArray = np.sign(z) * np.minimum(np.abs(z), np.maximum(np.sign(z) * cautious, 0.0))
    return deviate


class ScaleTail:
    """Saddle-point tail of the mean of a bounded contrast a under the reference proportions p.

    K(θ) = log Σ p·e^{θa}; r = ±√(2n(θx − K)), u = θ√(n·K″) at K′(θ) = x. Source: Lugannani & Rice 1980;
    Barndorff-Nielsen 1986.
    """

    def __init__(self, contrast: FloatArray, proportions: FloatArray) -> None:
        self._a, self._log_p = contrast, np.log(proportions)
        limit = 40.0 / max(float(np.ptp(contrast)), 1e-9)
        self._theta = limit * np.sinh(np.linspace(-4, 4, 241)) / np.sinh(4)
        tilted = special.softmax(self._theta[:, None] * contrast + self._log_p, axis=1)
        self._mean = tilted @ contrast

    def deviate(self, x: float, variance: float, n: float) -> float:
        """Signed deviate of a mean x of n rows whose variance is `variance` (1/n if rows were all)."""
        theta = float(np.interp(x, self._mean, self._theta))
        exponents = theta * self._a + self._log_p
        largest = float(exponents.max())
        tilted = np.exp(exponents - largest)
        total = float(tilted.sum())
        k = largest + log(total)
        mean = float(tilted @ self._a) / total
        second = float(tilted @ (self._a - mean) ** 2) / total
        r = copysign(sqrt(2 * n * max(theta * x - k, 0.0)), theta)
        u = theta * sqrt(n * max(second, 1e-12))
        deviate = r if abs(r) < _NEAR or u == 0 else r + log(max(u / r, 1e-12)) / r
        return deviate / sqrt(n * variance)


def _deviate(tail: ArrayLike) -> FloatArray:
    deviate: FloatArray = -special.ndtri(np.clip(np.asarray(tail, dtype=np.float64), _SMALLEST, 1.0))
    return deviate
