"""An XGBoost model in XGBoost's own format, which holds trees and no code: nothing has to be converted.

    python examples/xgboost_native.py /tmp/xgb && cd /tmp/xgb   # trains; writes log.parquet and model.json
    holdfast watch log.parquet --model xgb --time time --score score --target fraud --mutable amount --once
    holdfast model attach xgb model.json

Features are found by name. Give categories to XGBoost as columns of 0 and 1, as here: its own codes for categories
follow the training frame, which Holdfast does not see. Needs the extra: pip install 'holdfast[xgboost]'.
"""

import sys
from pathlib import Path

import pandas as pd
from production_log import CHANNELS, payments
from xgboost import XGBClassifier


def as_numbers(log: pd.DataFrame) -> pd.DataFrame:
    """The log with a column of 0 and 1 for each channel."""
    flags = {f"is_{channel}": (log["channel"] == channel).astype(float) for channel in CHANNELS[1:]}
    return log.drop(columns="channel").assign(**flags)


def main(folder: Path) -> None:
    log = as_numbers(payments())
    features = log.drop(columns=["time", "fraud"])
    model = XGBClassifier(n_estimators=40, max_depth=3, learning_rate=0.2, random_state=0)
    model.fit(features, log["fraud"])
    folder.mkdir(parents=True, exist_ok=True)
    log.assign(score=model.predict_proba(features)[:, 1]).to_parquet(folder / "log.parquet")
    model.save_model(folder / "model.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
