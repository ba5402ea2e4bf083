"""A scikit-learn pipeline: the pickle that you made is converted once, and never kept.

    python examples/scikit_learn.py /tmp/sk && cd /tmp/sk   # trains; writes log.parquet and model.joblib
    holdfast watch log.parquet --model sk --time time --score score --target fraud --mutable amount --once
    holdfast model attach sk model.joblib --convert         # in a limited child process; equal predictions are checked

A pickle can run code when it is loaded: convert only a file of your own.
Needs the extra: pip install 'holdfast[sklearn]'.
"""

import sys
from pathlib import Path

import joblib
from production_log import CHANNELS, FEATURES, payments
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def main(folder: Path) -> None:
    log = payments()
    as_numbers = make_column_transformer(
        (OneHotEncoder(categories=[CHANNELS], handle_unknown="ignore"), ["channel"]),
        (SimpleImputer(), ["amount", "age", "balance"]),
    )
    model = make_pipeline(as_numbers, GradientBoostingClassifier(n_estimators=40, random_state=0))
    model.fit(log[FEATURES], log["fraud"])
    folder.mkdir(parents=True, exist_ok=True)
    log.assign(score=model.predict_proba(log[FEATURES])[:, 1]).to_parquet(folder / "log.parquet")
    joblib.dump(model, folder / "model.joblib")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
