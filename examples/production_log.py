"""Forty days of a made-up card-payment service, for the examples: inputs, time and the truth."""

import numpy as np
import pandas as pd

FEATURES = ["amount", "age", "balance", "channel"]
CHANNELS = ["app", "shop", "web"]


def payments(days: int = 40, rows_a_day: int = 220, seed: int = 7) -> pd.DataFrame:
    """One row a payment; `fraud` is 1 for about a quarter of them."""
    rng = np.random.default_rng(seed)
    n = days * rows_a_day
    amount, age = np.exp(rng.normal(3.5, 0.7, n)), rng.integers(18, 90, n)
    balance, channel = rng.normal(1_000, 400, n), rng.choice(CHANNELS, n, p=[0.5, 0.2, 0.3])
    logit = 2 * (np.log(amount) - 3.5) - (balance - 1_000) / 500 + 0.8 * (channel == "web") - 1.5
    return pd.DataFrame(
        {
            "time": pd.Timestamp("2026-01-05", tz="UTC") + pd.to_timedelta(np.arange(n) / rows_a_day, unit="D"),
            "amount": amount,
            "age": age,
            "balance": balance,
            "channel": channel,
            "fraud": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int),
        }
    )
