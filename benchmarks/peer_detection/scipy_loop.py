"""The loop that teams write first: a SciPy test for each feature and window, and a control chart of window means.

Runs in the product's own environment. Kolmogorov–Smirnov (asymptotic) for numeric features and χ² of the two-row table
for categorical ones, against the pooled reference; missing values are left out, as the tests do. The chart is
Shewhart's: mean ± 3 standard deviations of the reference windows' means (of the level frequencies, for categorical
features), and knows no season.
"""

import numpy as np
import scipy
from scipy import stats

from benchmarks.peer_detection.exchange import Part, Stream, Trace, answer, stopwatch, surprise, trace

P_VALUE = 0.05
CHART_WIDTH = 3.0


def tests(stream: Stream) -> dict[str, Trace]:
    """One p-value a feature and window, read twice: without and with Bonferroni's correction."""
    with stopwatch() as elapsed:
        pooled = {name: np.sort(stream.reference.present(name)) for name in stream.features}
        p_values = np.array(
            [
                [_p_value(stream, pooled, name, window) for name in stream.features]
                for window in stream.monitored.windows
            ]
        )
        seconds = elapsed()
    limits = {"KS p<.05 any": P_VALUE, "KS Bonferroni": P_VALUE / len(stream.features)}
    return {
        name: trace(
            stream.features,
            surprise(p_values),
            p_values < limit,
            settings={"numeric": "ks_2samp, asymptotic", "categorical": "chi2_contingency", "p_below": limit},
            seconds=seconds,
        )
        for name, limit in limits.items()
    }


def _p_value(stream: Stream, pooled: dict[str, np.ndarray], name: str, window: slice) -> float:
    current = stream.monitored.present(name, window)
    if not current.size or not pooled[name].size:
        return 1.0
    if name in stream.numeric:
        return float(stats.ks_2samp(pooled[name], current, method="asymp").pvalue)
    table = np.array([np.bincount(codes, minlength=len(stream.levels[name])) for codes in (pooled[name], current)])
    seen = table[:, table.any(axis=0)]
    return float(stats.chi2_contingency(seen).pvalue) if seen.shape[1] > 1 else 1.0


def chart(stream: Stream) -> dict[str, Trace]:
    """Standardised window means (level frequencies); a categorical feature scores by its most deviant level."""
    with stopwatch() as elapsed:
        scores = np.column_stack([_deviation(stream, name) for name in stream.features])
        seconds = elapsed()
    settings = {"sigmas": CHART_WIDTH, "season": "none", "reference": "standard deviation of the windows' means"}
    return {"3 sigma chart": trace(stream.features, scores, scores > CHART_WIDTH, settings=settings, seconds=seconds)}


def _deviation(stream: Stream, name: str) -> np.ndarray:
    """The largest |z| of a feature in each monitored window."""
    reference, monitored = (_levels(stream, part, name) for part in (stream.reference, stream.monitored))
    spread = np.nanstd(reference, axis=0, ddof=1)
    steady = spread > 0
    if not steady.any():
        return np.zeros(len(monitored))
    z = np.abs(monitored - np.nanmean(reference, axis=0))[:, steady] / spread[steady]
    return np.nan_to_num(z).max(axis=1)


def _levels(stream: Stream, part: Part, name: str) -> np.ndarray:
    """Window means as (window, 1), or frequencies as (window, level)."""
    present = [part.present(name, window) for window in part.windows]
    if name in stream.numeric:
        return np.array([[values.mean() if values.size else np.nan] for values in present])
    size = len(stream.levels[name])
    return np.array([np.bincount(codes, minlength=size) / max(codes.size, 1) for codes in present])


if __name__ == "__main__":
    answer(
        "scipy loop",
        scipy.__version__,
        {("KS p<.05 any", "KS Bonferroni"): tests, ("3 sigma chart",): chart},
    )
