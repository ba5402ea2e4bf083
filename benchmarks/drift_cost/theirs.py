"""The peers' tasks, by each peer's own Python: `python -m benchmarks.drift_cost.theirs PEER FOLDER`."""

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

os.environ["DO_NOT_TRACK"] = "1"
os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.simplefilter("ignore")

from benchmarks.drift_cost import frames  # noqa: E402
from benchmarks.drift_cost.measure import tell  # noqa: E402


def evidently(folder: Path) -> None:
    """`DataDriftPreset` as documented, with the column types said."""
    started = time.perf_counter()
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    imported = time.perf_counter() - started
    numeric, categorical = frames.names(folder)
    kinds = DataDefinition(numerical_columns=numeric, categorical_columns=categorical)

    def work(pair: Any) -> None:
        reference, current = (Dataset.from_pandas(frame, data_definition=kinds) for frame in pair)
        Report([DataDriftPreset()]).run(current, reference).dict()

    tell(imported_s=imported, load=lambda: _pair(folder), work=work)


def nannyml(folder: Path) -> None:
    """Its univariate calculator with its defaults: ten chunks, Jensen–Shannon."""
    started = time.perf_counter()
    import nannyml as nml

    imported = time.perf_counter() - started
    numeric, categorical = frames.names(folder)

    def work(pair: Any) -> None:
        reference, current = pair
        calculator = nml.UnivariateDriftCalculator(
            column_names=numeric + categorical, treat_as_numerical=numeric, treat_as_categorical=categorical
        )
        calculator.fit(reference)
        calculator.calculate(current).to_df()

    tell(imported_s=imported, load=lambda: _pair(folder), work=work)


def _pair(folder: Path) -> tuple[Any, Any]:
    return frames.load(folder, "reference"), frames.load(folder, "current")


if __name__ == "__main__":
    {"evidently": evidently, "nannyml": nannyml}[sys.argv[1]](Path(sys.argv[2]))
