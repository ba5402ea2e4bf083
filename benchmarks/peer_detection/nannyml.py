"""NannyML's univariate and multivariate drift calculators, one chunk a window, at its defaults.

Documented at nannyml.readthedocs.io, "Univariate drift detection", "Multivariate drift detection" and "Thresholds": a
chunk alerts when its distance exceeds the mean plus three standard deviations of the reference chunks' distances (from
both sides for the reconstruction error). The score is that distance from the mean in standard deviations, so a matched
threshold replaces the 3. Missing values are left out of the distances and imputed for the reconstruction.
"""

import os

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"  # before the import, which would report the use

import logging
import warnings

import nannyml
import numpy as np
import pandas as pd

from benchmarks.peer_detection.exchange import Part, Runner, Stream, Trace, answer, stopwatch, trace

TIME = "nannyml_time"
FIRST_DAY = pd.Timestamp("2020-01-01")  # chunks are made by calendar day: window 0 of a part is this day
CATEGORICAL = "jensen_shannon"


def univariate(method: str) -> Runner:
    """One distance for numeric features; categorical ones keep the default, Jensen–Shannon."""

    def run(stream: Stream) -> dict[str, Trace]:
        with stopwatch() as elapsed:
            calculator = nannyml.UnivariateDriftCalculator(
                column_names=list(stream.features),
                treat_as_categorical=list(stream.categorical),
                timestamp_column_name=TIME,
                chunk_period="D",
                continuous_methods=[method],
                categorical_methods=[CATEGORICAL],
            ).fit(_frame(stream, stream.reference))
            result = calculator.calculate(_frame(stream, stream.monitored))
            seconds = elapsed()
        before, after = (result.filter(period=period).to_df() for period in ("reference", "analysis"))
        columns = [(name, method if name in stream.numeric else CATEGORICAL) for name in stream.features]
        scores = np.column_stack([_sigmas(before[column]["value"], after[column]["value"]) for column in columns])
        flags = np.column_stack([after[column]["alert"].to_numpy(dtype=bool) for column in columns])
        settings = {"continuous": method, "categorical": CATEGORICAL, "sigmas": 3, "chunk": "window"}
        return {method: trace(stream.features, scores, flags, settings=settings, seconds=seconds)}

    return run


def reconstruction(stream: Stream) -> dict[str, Trace]:
    """The error of rebuilding rows from the reference's principal components: multivariate, so it names no feature."""
    with stopwatch() as elapsed:
        calculator = nannyml.DataReconstructionDriftCalculator(
            column_names=list(stream.features), timestamp_column_name=TIME, chunk_period="D"
        ).fit(_frame(stream, stream.reference))
        result = calculator.calculate(_frame(stream, stream.monitored))
        seconds = elapsed()
    before, after = (
        result.filter(period=period).to_df()["reconstruction_error"] for period in ("reference", "analysis")
    )
    scores = np.abs(_sigmas(before["value"], after["value"]))
    found = Trace(
        settings={"components": 0.65, "sigmas": 3, "sides": 2, "chunk": "window"},
        default_alarm=[bool(fired) for fired in after["alert"]],
        score=scores.tolist(),
        culprits=[[] for _ in scores],
        top=[None for _ in scores],
        seconds=seconds,
    )
    return {"PCA reconstruction": found}


def _sigmas(before: pd.Series, after: pd.Series) -> np.ndarray:
    spread = float(np.std(before.to_numpy(dtype=float)))  # NannyML's threshold divides by n, too
    return (after.to_numpy(dtype=float) - before.mean()) / spread if spread > 0 else np.zeros(len(after))


def _frame(stream: Stream, part: Part) -> pd.DataFrame:
    columns = {name: part.values[name] for name in stream.numeric}
    columns |= {name: stream.labels(part, name) for name in stream.categorical}
    days = np.repeat(np.arange(len(part.windows)), [window.stop - window.start for window in part.windows])
    return pd.DataFrame(columns | {TIME: FIRST_DAY + pd.to_timedelta(days, unit="D")})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    distances = ("jensen_shannon", "kolmogorov_smirnov", "wasserstein")
    answer(
        "nannyml",
        nannyml.__version__,
        {(name,): univariate(name) for name in distances} | {("PCA reconstruction",): reconstruction},
    )
