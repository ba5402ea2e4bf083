"""How much window means scatter beyond the sampling of rows: one autocorrelation, moderated variances."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitor.drift.bins import FloatArray

BoolArray = NDArray[np.bool_]
_LAGS = 5
_GRID = np.arange(0.0, 1.0, 0.05)
# What is added, for R reference windows, to all variance but that of sampling rows: few windows tell τ and ρ badly.
_MARGIN_WINDOWS = 11.2  # so that it is a fifth at 56 windows and two fifths at 28
_WHITE = 0.03  # a mean share of day-to-day variance below this has no autocorrelation to speak of
_SURE = 1.64
_PRIOR_MEMBERS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Dispersion:
    """The noise of window means, per direction, shapes (D,).

    Attributes:
        windows: R, reference windows.
        n_bar: harmonic mean of their rows.
        rho: lag-one autocorrelation of the day effect, one for the model.
        v: moderated variance of one window's mean.
        nu: degrees of freedom of v.
        skewness: of one window's mean, as far as it is sure.
        tau2: variance of the day effect, v − 1/n̄.
        lrv: long-run variance 1/n̄ + τ²(1+ρ)/(1−ρ).
        buckets: buckets of the season where it is on, else 1.
    """

    windows: int
    n_bar: float
    rho: float
    v: FloatArray
    nu: FloatArray
    skewness: FloatArray
    tau2: FloatArray
    lrv: FloatArray
    buckets: FloatArray

    def with_variance(self, v: FloatArray) -> "Dispersion":
        """The same with other variances of one window's mean."""
        tau2 = np.maximum(v - 1 / self.n_bar, 0.0)
        lrv = 1 / self.n_bar + tau2 * (1 + self.rho) / (1 - self.rho)
        return replace(self, v=v, tau2=tau2, lrv=lrv)

    def beyond_rows(self, m: int) -> FloatArray:
        """Variance of the mean deviation of m windows beyond that of sampling their rows, shape (D,).

        The day effect with its memory, the reference's own error, and the season's; and a margin on all of them.
        """
        lags = np.arange(1, m)
        correlated = (m + 2 * float(((m - lags) * self.rho**lags).sum())) / m**2
        season = np.maximum(0.0, self.v / self.windows * (self.buckets / np.minimum(m, self.buckets) - 1))
        beyond = self.tau2 * correlated + self.lrv / self.windows + season
        variance: FloatArray = (1 + _MARGIN_WINDOWS / self.windows) * beyond
        return variance


def fit_dispersion(
    residuals: FloatArray,
    rows: FloatArray,
    *,
    groups: NDArray[np.int64],
    pooling: FloatArray,
    season_on: BoolArray,
    buckets: NDArray[np.int64],
) -> Dispersion:
    """Fit on reference residuals, season removed and centred, shape (R, D).

    Args:
        residuals: deviations of window means.
        rows: rows of each window, shape (R,).
        groups: directions whose variances are alike and share a prior; −1 for none (too rare), shape (D,).
        pooling: weight of each direction in the pooled autocorrelation, 0 for rare ones, shape (D,).
        season_on: whether bucket means were removed, shape (D,).
        buckets: bucket of each window, shape (R,).
    """
    windows = residuals.shape[0]
    n_bar = windows / float((1 / rows).sum())
    estimated = np.where(season_on, np.unique(buckets).size, 1.0)
    squares = (residuals**2).sum(axis=0)
    raw = squares / np.maximum(windows - estimated, 1.0)
    day = _day_share(raw, n_bar)
    rho, shrinkage = _fit_rho(residuals, day, pooling * _shared(day, groups, windows), season_on, buckets)
    v = raw / shrinkage
    phi = np.maximum(_day_share(v, n_bar), 0.0)
    memory = 1 + 2 * sum((phi * rho**lag) ** 2 for lag in range(1, 8))
    members = _independent_members(residuals, groups)
    d = np.maximum((windows - estimated) / memory, 1.0)
    v, nu = _moderate(v, d, groups, members, 1 / n_bar)
    u = residuals / np.sqrt(v * shrinkage)
    kurtosis = np.maximum(_surely((u**4 - 6 * u**2 + 3).mean(axis=0), 24 / windows, groups, members), 0.0)
    skewness = _surely((u**3 - 3 * u).mean(axis=0), 6 / windows, groups, members)
    nu = np.minimum(nu, 4 + 6 / np.maximum(kurtosis, 1e-6))  # the t with that kurtosis
    tau2 = v - 1 / n_bar
    lrv = 1 / n_bar + tau2 * (1 + rho) / (1 - rho)
    return Dispersion(
        windows=windows,
        n_bar=n_bar,
        rho=rho,
        v=v,
        nu=nu,
        skewness=skewness,
        tau2=tau2,
        lrv=lrv,
        buckets=np.asarray(estimated, np.float64),
    )


def _fit_rho(
    residuals: FloatArray, phi: FloatArray, pooling: FloatArray, season_on: BoolArray, buckets: NDArray[np.int64]
) -> tuple[float, FloatArray]:
    """ρ by least squares on pooled autocorrelations, and the factor by which centring shrinks each variance."""
    windows = residuals.shape[0]
    squares = (residuals**2).sum(axis=0)
    weights = np.where(squares > 0, pooling, 0.0)
    none = np.ones(residuals.shape[1])
    if weights.sum() <= 0 or windows <= _LAGS + 2:
        return 0.0, none
    weights = weights / weights.sum()
    phi = np.maximum(phi, 0.0)
    lagged = np.array([(residuals[lag:] * residuals[:-lag]).sum(axis=0) for lag in range(1, _LAGS + 1)])
    observed = (lagged / np.maximum(squares, 1e-300)) @ weights
    best, rho, shrinkage = np.inf, 0.0, none
    white = _expected(np.eye(windows), season_on, buckets)
    lag_matrix = np.abs(np.subtract.outer(np.arange(windows), np.arange(windows)))
    for candidate in _GRID:
        autoregressive = _expected(candidate**lag_matrix, season_on, buckets)
        mixed = phi * autoregressive + (1 - phi) * white
        misfit = float((((mixed[1:] / mixed[0]) @ weights - observed) ** 2).sum())
        if misfit < best:
            best, rho, shrinkage = misfit, float(candidate), mixed[0] / white[0]
    return rho, shrinkage


def _shared(phi: FloatArray, groups: NDArray[np.int64], windows: int) -> FloatArray:
    """How much of a day effect each group surely has: its mean φ less 1.64 standard errors, 0 below `_WHITE`."""
    surely = np.zeros_like(phi)
    for group in np.unique(groups[groups >= 0]):
        members = groups == group
        error = np.sqrt(2 / max(windows - 1, 1) / members.sum())
        lower = float(phi[members].mean()) - _SURE * error
        surely[members] = lower if lower >= _WHITE else 0.0
    return surely


def _day_share(v: FloatArray, n_bar: float) -> FloatArray:
    """φ: the part of the variance that is not the sampling of rows; below 0 where chance made v small."""
    share: FloatArray = np.clip(1 - 1 / np.maximum(n_bar * v, 1e-12), -1.0, 0.99)
    return share


def _expected(covariance: FloatArray, season_on: BoolArray, buckets: NDArray[np.int64]) -> FloatArray:
    """E Σ r_t·r_{t+l} after centring (and bucket means where on) for lags 0…5, shape (6, D)."""
    plain = _lag_sums(covariance, np.zeros_like(buckets))
    if not season_on.any():
        return np.repeat(plain[:, None], season_on.size, axis=1)
    seasonal = _lag_sums(covariance, buckets)
    return np.where(season_on, seasonal[:, None], plain[:, None])


def _lag_sums(covariance: FloatArray, groups: NDArray[np.int64]) -> FloatArray:
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    member = np.equal.outer(np.arange(sizes.size), index).astype(np.float64) / sizes[:, None]
    centred = covariance - (member @ covariance)[index]
    centred = centred - (centred @ member.T)[:, index]
    return np.array([np.trace(centred, offset=lag) for lag in range(_LAGS + 1)])


def _independent_members(residuals: FloatArray, groups: NDArray[np.int64]) -> dict[int, float]:
    """m/(1 + (m − 1)·r̄²) of each group of m: features that share a day say the same thing about its scatter.

    r̄² is the mean squared correlation of two members' residuals, less what chance makes of it.
    """
    found = {}
    for group in np.unique(groups):
        of_group = residuals[:, groups == group]
        scale = np.sqrt((of_group**2).sum(axis=0))
        m = of_group.shape[1]
        if m < 2 or group < 0:
            found[int(group)] = float(m)
            continue
        unit = of_group / np.maximum(scale, 1e-300)
        squares = float(((unit.T @ unit) ** 2).sum() - m) / (m * (m - 1))
        found[int(group)] = m / (1 + (m - 1) * max(squares - 1 / max(residuals.shape[0] - 1, 1), 0.0))
    return found


def _moderate(
    v: FloatArray, d: FloatArray, groups: NDArray[np.int64], independent: dict[int, float], floor: float
) -> tuple[FloatArray, FloatArray]:
    """v ← (d₀s₀² + d·v)/(d₀ + d) with the prior of each group. Source: Smyth, limma, 2004."""
    moderated, nu = v.copy(), d.copy()
    for group in np.unique(groups[groups >= 0]):
        members = groups == group
        if members.sum() < _PRIOR_MEMBERS:
            continue
        d0, s0 = _prior(np.maximum(v[members], 0.05 * floor), d[members])
        known = float(d[members].mean()) * independent[int(group)]
        d0 = min(d0, known)  # no more certainty than the group has
        moderated[members] = (d0 * s0 + d[members] * v[members]) / (d0 + d[members])
        nu[members] = np.clip(d0 + d[members], d[members], np.maximum(known, d[members]))
    return np.maximum(moderated, floor), nu


def _prior(v: FloatArray, d: FloatArray) -> tuple[float, float]:
    """d₀ and s₀² of a scaled inverse χ² by the moments of log v."""
    e = np.log(v) - special.digamma(d / 2) + np.log(d / 2)
    excess = float(e.var(ddof=1) - special.polygamma(1, d / 2).mean())
    if excess <= 0:
        return np.inf, float(np.exp(e.mean()))
    d0 = 2 * _inverse_trigamma(excess)
    return d0, float(np.exp(e.mean() + special.digamma(d0 / 2) - np.log(d0 / 2)))


def _inverse_trigamma(y: float) -> float:
    """Newton on 1/ψ′, which is nearly linear."""
    if y > 1e7:
        return 1 / float(np.sqrt(y))
    if y < 1e-6:
        return 1 / y
    x = 0.5 + 1 / y
    for _ in range(50):
        trigamma: Any = special.polygamma(1, x)
        step = float(trigamma * (1 - trigamma / y) / special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


def _surely(moments: FloatArray, noise: float, groups: NDArray[np.int64], independent: dict[int, float]) -> FloatArray:
    """Moments of residuals over their moderated spread, shrunk to the group's mean, less one standard error.

    A feature's own variance in the denominator would hide most of a tail: few windows seldom hold a far one.

    Args:
        moments: the mean of a Hermite polynomial, 0 for a normal law, shape (D,).
        noise: the variance that it has then.
        groups, independent: which directions are alike, and how many of each group count.
    """
    surely = moments.copy()
    for group in np.unique(groups):
        members = groups == group
        centre, spread = float(moments[members].mean()), float(moments[members].var())
        keep = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
        error = np.sqrt(noise * max(keep, 1 / independent[int(group)]))
        shrunk = centre + keep * (moments[members] - centre)
        surely[members] = np.sign(shrunk) * np.maximum(np.abs(shrunk) - error, 0.0)
    return surely
