"""Alibi Detect's tabular drift detectors against the pooled reference, and its online detector over window means.

Documented at docs.seldon.ai, "Mixed-type tabular data", "Kolmogorov-Smirnov", "Chi-Squared" and "Online Cramér-von
Mises": p_val 0.05 with Bonferroni's correction over the features. It takes no missing values: numeric ones become the
reference's median, categorical ones a level of their own.

The online detector promises an expected run time, the only dial of this kind among the peers. Over rows it would need a
bootstrap of days for a year's promise, so it gets what suits it: one observation a window (means, and frequencies of
the most frequent levels), the reference's windows as its sample, and a promised run time of 365 windows.
"""

import warnings

import alibi_detect
import numpy as np
from alibi_detect.cd import ChiSquareDrift, CVMDriftOnline, KSDrift, TabularDrift

from benchmarks.peer_detection.exchange import Part, Stream, Trace, answer, stopwatch, surprise, trace

P_VALUE = 0.05
EXPECTED_RUN_TIME = 365
WINDOW_SIZES = [3, 7, 14]
LEVELS_WATCHED = 5
SEED = 1


def tabular(stream: Stream) -> dict[str, Trace]:
    """All features at once, at the defaults."""
    codes = {stream.features.index(name): None for name in stream.categorical}
    reference = _matrix(stream, stream.reference, stream.features)
    detector = TabularDrift(reference, p_val=P_VALUE, categories_per_feature=codes) if codes else KSDrift(reference)
    return {"TabularDrift": _offline(stream, detector, stream.features, "TabularDrift")}


def kolmogorov_smirnov(stream: Stream) -> dict[str, Trace]:
    """Numeric features only, corrected for their own number."""
    if not stream.numeric:
        return {}
    detector = KSDrift(_matrix(stream, stream.reference, stream.numeric), p_val=P_VALUE)
    return {"KSDrift": _offline(stream, detector, stream.numeric, "KSDrift")}


def chi_square(stream: Stream) -> dict[str, Trace]:
    """Categorical features only, corrected for their own number."""
    if not stream.categorical:
        return {}
    detector = ChiSquareDrift(_matrix(stream, stream.reference, stream.categorical), p_val=P_VALUE)
    return {"ChiSquareDrift": _offline(stream, detector, stream.categorical, "ChiSquareDrift")}


def online(stream: Stream) -> dict[str, Trace]:
    """Cramér–von Mises over the last windows' means; the score is the statistic over its threshold."""
    series = [(name, level) for name in stream.features for level in _watched(stream, name)]
    owners = np.array([stream.features.index(name) for name, _ in series])
    reference, monitored = (
        np.column_stack([_means(part, name, level) for name, level in series])
        for part in (stream.reference, stream.monitored)
    )
    np.random.seed(SEED)  # the detector draws its bootstrap from the global generator
    with stopwatch() as elapsed:
        detector = CVMDriftOnline(
            reference,
            ert=EXPECTED_RUN_TIME,
            window_sizes=WINDOW_SIZES,
            n_bootstraps=10 * EXPECTED_RUN_TIME * len(series),
            batch_size=1000,
            verbose=False,
        )
        ratios = np.zeros((len(monitored), len(series)))
        fired = np.zeros(len(monitored), dtype=bool)
        for row, means in enumerate(monitored):
            found = detector.predict(means)["data"]
            fired[row] = bool(found["is_drift"])
            if not np.isnan(found["test_stat"]).all():
                ratios[row] = np.nanmax(found["test_stat"], axis=0) / found["threshold"]
        seconds = elapsed()
    scores = np.column_stack([ratios[:, owners == index].max(axis=1) for index in range(len(stream.features))])
    settings = {
        "ert": EXPECTED_RUN_TIME,
        "window_sizes": WINDOW_SIZES,
        "observation": "window mean",
        "series": len(series),
    }
    flags = (scores > 1) & fired[:, None]
    return {"CVM online": trace(stream.features, scores, flags, settings=settings, seconds=seconds, alarm=fired)}


def _offline(stream: Stream, detector: TabularDrift, features: tuple[str, ...], name: str) -> Trace:
    monitored = _matrix(stream, stream.monitored, features)
    with stopwatch() as elapsed:
        found = [detector.predict(monitored[window], drift_type="batch")["data"] for window in stream.monitored.windows]
        seconds = elapsed()
    p_values = np.array([window["p_val"] for window in found], dtype=float)
    limit = P_VALUE / len(features)
    return trace(
        features,
        surprise(p_values),
        p_values < limit,
        settings={"detector": name, "p_val": P_VALUE, "correction": "bonferroni", "missing": "median, own level"},
        seconds=seconds,
        alarm=np.array([window["is_drift"] for window in found], dtype=bool),
    )


def _matrix(stream: Stream, part: Part, features: tuple[str, ...]) -> np.ndarray:
    columns = []
    for name in features:
        values = part.values[name]
        if name in stream.numeric:
            values = np.where(np.isnan(values), np.median(stream.reference.present(name)), values)
        columns.append(values)
    return np.column_stack(columns)


def _watched(stream: Stream, name: str) -> list[int | None]:
    """A numeric feature is one series (None); a categorical one has one for each frequent level but one."""
    if name in stream.numeric:
        return [None]
    counts = np.bincount(stream.reference.present(name), minlength=len(stream.levels[name]))
    return np.argsort(-counts, kind="stable")[: min(LEVELS_WATCHED, max(len(counts) - 1, 1))].tolist()


def _means(part: Part, name: str, level: int | None) -> np.ndarray:
    """One observation a window; a window without any value gets the mean of the others."""
    present = [part.present(name, window) for window in part.windows]
    series = [values if level is None else (values == level).astype(float) for values in present]
    means = np.array([values.mean() if values.size else np.nan for values in series])
    return np.where(np.isnan(means), np.nanmean(means), means)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answer(
        "alibi-detect",
        alibi_detect.__version__,
        {
            ("TabularDrift",): tabular,
            ("KSDrift",): kolmogorov_smirnov,
            ("ChiSquareDrift",): chi_square,
            ("CVM online",): online,
        },
    )
