"""Frouros' data-drift detectors: batch tests and distances a feature, MMD over the numeric ones, and its streaming
test.

Documented at frouros.readthedocs.io, "Data drift" and the package's own read-me: KSTest with alpha 0.001 is its example
for a feature. It names no threshold for the population stability index; 0.1 is the convention. MMD gets its permutation
test and the median distance of the reference as kernel width, which is more than its default of 1. Costs force samples,
said in the settings: MMD is quadratic in rows, and IncrementalKSTest sorts its whole window again at each row.
"""

from functools import partial

import frouros
import numpy as np
from frouros.callbacks import PermutationTestDistanceBased
from frouros.detectors.data_drift import MMD, PSI, ChiSquareTest, IncrementalKSTest, KSTest
from frouros.utils.kernels import rbf_kernel
from scipy.spatial.distance import pdist

from benchmarks.peer_detection.exchange import Part, Stream, Trace, answer, stopwatch, surprise, trace

P_VALUE = 0.001
PSI_LIMIT = 0.1
PSI_BINS = 10
MMD_ROWS = 300
MMD_PERMUTATIONS = 100
MMD_P_VALUE = 0.01
INCREMENTAL_REFERENCE = 1000
INCREMENTAL_WINDOW = 100
INCREMENTAL_ROWS = 20
SEED = 1


def tests(stream: Stream) -> dict[str, Trace]:
    """Kolmogorov–Smirnov for numeric features and χ² for categorical ones."""
    p_values = np.ones((len(stream.monitored.windows), len(stream.features)))
    with stopwatch() as elapsed:
        for column, name in enumerate(stream.features):
            detector = KSTest() if name in stream.numeric else ChiSquareTest()
            detector.fit(X=np.sort(stream.reference.present(name)))
            for row, values in _windows(stream, name):
                p_values[row, column] = detector.compare(X=values)[0].p_value
        seconds = elapsed()
    settings = {"numeric": "KSTest", "categorical": "ChiSquareTest", "alpha": P_VALUE}
    found = trace(stream.features, surprise(p_values), p_values <= P_VALUE, settings=settings, seconds=seconds)
    return {"KS p<.001 any": found}


def psi(stream: Stream) -> dict[str, Trace]:
    """Population stability index over bins of equal width; a categorical feature has a bin a level."""
    scores = np.zeros((len(stream.monitored.windows), len(stream.features)))
    with stopwatch() as elapsed:
        for column, name in enumerate(stream.features):
            detector = PSI(num_bins=max(PSI_BINS, len(stream.levels.get(name, ()))))
            detector.fit(X=np.sort(stream.reference.present(name)))
            for row, values in _windows(stream, name):
                scores[row, column] = detector.compare(X=values)[0].distance
        seconds = elapsed()
    settings = {"bins": PSI_BINS, "limit": PSI_LIMIT}
    return {"PSI>0.1 any": trace(stream.features, scores, scores > PSI_LIMIT, settings=settings, seconds=seconds)}


def mmd(stream: Stream) -> dict[str, Trace]:
    """Maximum mean discrepancy over the standardised numeric features, with its permutation test."""
    with stopwatch() as elapsed:
        generator = np.random.default_rng(SEED)
        rows = generator.choice(stream.reference.windows[-1].stop, MMD_ROWS, replace=False)
        reference = _standardised(stream, stream.reference, rows)
        width = float(np.median(pdist(reference)))
        permutations = PermutationTestDistanceBased(
            num_permutations=MMD_PERMUTATIONS, num_jobs=1, method="conservative", random_state=SEED, name="permutations"
        )
        detector = MMD(kernel=partial(rbf_kernel, sigma=width), callbacks=permutations)
        detector.fit(X=reference)
        distances, p_values = [], []
        for window in stream.monitored.windows:
            size = min(MMD_ROWS, window.stop - window.start)
            rows = window.start + generator.choice(window.stop - window.start, size, replace=False)
            result, logs = detector.compare(X=_standardised(stream, stream.monitored, rows))
            distances.append(float(result.distance))
            p_values.append(logs["permutations"]["p_value"])
        seconds = elapsed()
    found = Trace(
        settings={"rows": MMD_ROWS, "permutations": MMD_PERMUTATIONS, "alpha": MMD_P_VALUE, "kernel_width": width},
        default_alarm=[bool(p_value <= MMD_P_VALUE) for p_value in p_values],
        score=distances,
        culprits=[[] for _ in distances],
        top=[None for _ in distances],
        seconds=seconds,
    )
    return {"MMD": found}


def incremental(stream: Stream) -> dict[str, Trace]:
    """The streaming Kolmogorov–Smirnov test over the last rows of each numeric feature."""
    generator = np.random.default_rng(SEED)
    scores = np.zeros((len(stream.monitored.windows), len(stream.numeric)))
    with stopwatch() as elapsed:
        for column, name in enumerate(stream.numeric):
            pooled = stream.reference.present(name)
            sample = generator.choice(pooled, min(INCREMENTAL_REFERENCE, pooled.size), replace=False)
            detector = IncrementalKSTest(window_size=INCREMENTAL_WINDOW)
            detector.fit(X=sample)
            for row, values in _windows(stream, name):
                results = [detector.update(value=value)[0] for value in values[:INCREMENTAL_ROWS]]
                tested = [1.0, *(result.p_value for result in results if result is not None)]
                scores[row, column] = surprise(np.array(tested)).max()
        seconds = elapsed()
    settings = {
        "alpha": P_VALUE,
        "window_size": INCREMENTAL_WINDOW,
        "reference_rows": INCREMENTAL_REFERENCE,
        "rows_a_window": INCREMENTAL_ROWS,
        "features": "numeric",
    }
    flags = scores >= -np.log10(P_VALUE)
    return {"incremental KS": trace(stream.numeric, scores, flags, settings=settings, seconds=seconds)}


def _windows(stream: Stream, name: str) -> list[tuple[int, np.ndarray]]:
    """The monitored windows in which a feature has any value, with its values."""
    present = [stream.monitored.present(name, window) for window in stream.monitored.windows]
    return [(row, values) for row, values in enumerate(present) if values.size]


def _standardised(stream: Stream, part: Part, rows: np.ndarray) -> np.ndarray:
    """Numeric features in units of the reference's standard deviation; a missing value becomes the reference's mean."""
    columns = []
    for name in stream.numeric:
        pooled = stream.reference.present(name)
        columns.append(np.nan_to_num((part.values[name][rows] - pooled.mean()) / (pooled.std() or 1.0)))
    return np.column_stack(columns)


if __name__ == "__main__":
    runners = {("KS p<.001 any",): tests, ("PSI>0.1 any",): psi, ("MMD",): mmd, ("incremental KS",): incremental}
    answer("frouros", frouros.__version__, runners)
