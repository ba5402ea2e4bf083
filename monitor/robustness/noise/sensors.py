"""What sensors do to numbers: noise, drift, spikes, stuck values, limits, gaps and delays.

Whole numbers stay whole and hard bounds hold; missing cells stay missing, and categories are untouched.
"""

import numpy as np

from monitor.robustness.noise.surroundings import SHARES, SIZES, Family, Size, Surroundings, shifted
from monitor.robustness.threat_model import BoolArray
from monitor.schema import FloatArray

RUN = 10  # rows that a stuck sensor or a gap lasts
SPIKE = 6.0  # robust σ


def gaussian(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Normal noise of `size` robust σ."""
    return shifted(rows, size * around.scale * rng.standard_normal(rows.shape), around)


def student_t(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Heavy-tailed noise of `size` robust σ: Student's t with three degrees of freedom."""
    return shifted(rows, size * around.scale * rng.standard_t(3, rows.shape) / np.sqrt(3), around)


def offset(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Each column moves as one, up or down by `size` robust σ."""
    return shifted(rows, size * around.scale * _signs(rows, rng), around)


def gain(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Each column is multiplied or divided by 1 + `size`."""
    return shifted(rows, rows * (np.exp(_signs(rows, rng) * np.log1p(size)) - 1), around)


def rounding(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Quantisation: values snap to steps of `size` robust σ."""
    step = np.where(around.scale > 0, size * around.scale, 1.0)
    return shifted(rows, np.round(rows / step) * step - rows, around)


def drift(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Each column moves up or down steadily, by `size` robust σ at the last row."""
    ramp = np.linspace(0, 1, len(rows))[:, None]
    return shifted(rows, ramp * size * around.scale * _signs(rows, rng), around)


def spikes(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A share of the cells jumps by six robust σ."""
    jump = SPIKE * around.scale * rng.choice([-1.0, 1.0], rows.shape)
    return shifted(rows, np.where(rng.random(rows.shape) < share, jump, 0.0), around)


def stuck(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A cell keeps the last value before a run of rows, until a share of the cells does."""
    held = _in_runs(rows, share, rng)
    last = np.maximum.accumulate(np.where(held, 0, np.arange(len(rows))[:, None]), axis=0)
    return np.where(around.numeric, np.take_along_axis(rows, last, axis=0), rows)


def saturation(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Values stop at limits beyond which a share of the reference lies, half of it on each side."""
    share = float(np.max(share))
    low, high = (_quantile(around.reference, q) for q in (share / 2, 1 - share / 2))
    low, high = np.where(around.whole, np.ceil(low), low), np.where(around.whole, np.floor(high), high)
    clipped = np.minimum(np.maximum(rows, np.minimum(low, high)), high)
    return np.where(around.numeric & np.isfinite(low), clipped, rows)


def dropout(rows: FloatArray, share: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """A cell is missing for a run of rows, until a share of the cells is."""
    return np.where(_in_runs(rows, share, rng) & around.numeric, np.nan, rows)


def lag(rows: FloatArray, by: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Numbers arrive `by` rows late, beside what arrived in time; the first rows keep their own."""
    before = np.arange(len(rows)) - int(np.max(by))
    late = rows[np.where(before < 0, np.arange(len(rows)), before)]
    return np.where(around.numeric, late, rows)


def common_mode(rows: FloatArray, size: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """One normal draw a row of `size` robust σ, shared by all its numbers."""
    return shifted(rows, size * around.scale * rng.standard_normal((len(rows), 1)), around)


def snr(rows: FloatArray, decibel: Size, around: Surroundings, rng: np.random.Generator) -> FloatArray:
    """Normal noise whose power is so many dB below the variance of the column in the reference: σ·10^(−dB/20)."""
    size = 10 ** (-np.asarray(decibel) / 20) * _deviation(around.reference)
    return shifted(rows, size * rng.standard_normal(rows.shape), around)


def _signs(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(rng.choice([-1.0, 1.0], rows.shape[1]))


def _in_runs(rows: FloatArray, share: Size, rng: np.random.Generator) -> BoolArray:
    """A share of the cells, in runs of ten rows of a column that may overlap; never the first row."""
    length = min(RUN, max(len(rows) - 1, 1))
    chance = 1 - (1 - np.asarray(share)) ** (1 / length)
    begun = np.cumsum(rng.random(rows.shape) < chance, axis=0)
    before = np.vstack([np.zeros((min(length, len(rows)), rows.shape[1])), begun[:-length]])
    held = begun > before
    held[:1] = False
    return np.asarray(held)


def _quantile(reference: FloatArray, q: float) -> FloatArray:
    """Of each column's present values, (d,); NaN for an empty column."""
    columns = [column[np.isfinite(column)] for column in reference.T]
    return np.array([np.quantile(column, q) if column.size else np.nan for column in columns])


def _deviation(reference: FloatArray) -> FloatArray:
    columns = [column[np.isfinite(column)] for column in reference.T]
    return np.array([column.std() if column.size else 0.0 for column in columns])


FIRST = (
    Family(name="gaussian", unit="robust σ", strengths=SIZES, apply=gaussian),
    Family(name="student_t", unit="robust σ", strengths=SIZES, apply=student_t),
    Family(name="offset", unit="robust σ", strengths=SIZES, apply=offset),
    Family(name="gain", unit="relative change", strengths=(0.02, 0.05, 0.1, 0.25, 0.5), apply=gain),
    Family(name="rounding", unit="robust σ", strengths=SIZES, apply=rounding),
)
SECOND = (
    Family(name="drift", unit="robust σ at the last row", strengths=SIZES, apply=drift),
    Family(name="spikes", unit="share of cells", strengths=SHARES, apply=spikes),
    Family(name="stuck", unit="share of cells", strengths=SHARES, apply=stuck),
    Family(name="saturation", unit="share of cells", strengths=SHARES, apply=saturation),
    Family(name="dropout", unit="share of cells", strengths=SHARES, apply=dropout),
    Family(name="lag", unit="rows", strengths=(1, 2, 5, 10, 20), apply=lag),
    Family(name="common_mode", unit="robust σ", strengths=SIZES, apply=common_mode),
    Family(name="snr", unit="dB", strengths=(40, 30, 20, 10, 0), apply=snr),
)
