"""Three worlds of network inputs with plain boxes, and two of raw tables with schemas.

Plain: numbers in robust σ, winsorised and heavy tails by asinh, categories of few levels one-hot, every input free to
move by ε. That is what the peers can attack: none of them knows units, integers or categories.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from monitor.robustness.scale import robust_scale
from monitor.schema import FloatArray, Schema

ROOT = Path(__file__).resolve().parents[2]
TRAINED_ON = 12_000
ATTACKED = 1_000
HEAVY = 5.0  # robust σ
HOTEL_DROPPED = (
    "is_canceled",
    "reservation_status",
    "reservation_status_date",
    "arrival_date_month",
    "arrival_date_year",
)
HOTEL_CATEGORIES = ("hotel", "meal", "market_segment", "distribution_channel", "deposit_type", "customer_type")
HOTEL_FIXED = ("agent", "company", "country", "reserved_room_type", "assigned_room_type", *HOTEL_CATEGORIES)
IDENTITY = ("sex", "age", "education_", "marriage_")  # of a client of the bank: nobody changes these


class DataMissing(Exception):
    """The folder of real data is not there."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Rows to train on and rows to attack, (n, d), as network inputs that float32 holds exactly; labels 0 … k − 1.

    Pixels have hard bounds; numbers in robust σ have none that bind.
    """

    name: str
    x_train: FloatArray
    y_train: FloatArray
    x: FloatArray
    y: FloatArray
    epsilons: tuple[float, ...]
    hard_bounds: tuple[float, float] | None = None

    @property
    def classes(self) -> int:
        return int(self.y_train.max()) + 1

    @property
    def bounds(self) -> tuple[float, float]:
        """Hard bounds, else so wide that no ε reaches them."""
        if self.hard_bounds:
            return self.hard_bounds
        reach = 2 * max(self.epsilons)
        return float(np.floor(self.x.min() - reach)), float(np.ceil(self.x.max() + reach))


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Rows in raw units as `schema.encode` gives, and labels."""

    name: str
    schema: Schema
    x_train: FloatArray
    y_train: FloatArray
    x: FloatArray
    y: FloatArray


def data_folder() -> Path:
    """HOLDFAST_DATA, else the folder of real data beside the project."""
    folder = Path(os.environ.get("HOLDFAST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        raise DataMissing("expected the real data sets in HOLDFAST_DATA, got no such folder: see docs/benchmarks.md")
    return folder


def world(name: str, seed: int) -> World:
    """One of `credit`, `hotel` and `digits`, split by the seed."""
    if name == "digits":
        return _digits(seed)
    frame, labels = _frame(name)
    numbers = [column for column in frame if not isinstance(frame[column].dtype, pd.CategoricalDtype)]
    few = [column for column in frame if column in HOTEL_CATEGORIES]
    train, held = _split(len(frame), seed, labels)
    inputs = [_scaled(frame[column].to_numpy(np.float64), train) for column in numbers]
    inputs += [
        (frame[column] == level).to_numpy(np.float64) for column in few for level in frame[column].cat.categories
    ]
    x = np.column_stack(inputs).astype(np.float32).astype(np.float64)
    return World(
        name=name, x_train=x[train], y_train=labels[train], x=x[held], y=labels[held], epsilons=(0.05, 0.1, 0.25, 0.5)
    )


def table(name: str, seed: int) -> Table:
    """`credit` or `hotel` in raw units; what a client can influence is mutable, identity and categories are not."""
    frame, labels = _frame(name)
    fixed = IDENTITY if name == "credit" else HOTEL_FIXED
    plain = frame.astype({c: object for c in frame if isinstance(frame[c].dtype, pd.CategoricalDtype)})
    schema = Schema.infer(plain, mutable=[column for column in plain if not column.startswith(fixed)])
    train, held = _split(len(frame), seed, labels)
    rows = schema.encode(plain)
    return Table(name=name, schema=schema, x_train=rows[train], y_train=labels[train], x=rows[held], y=labels[held])


def _digits(seed: int) -> World:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(pixels))
    x, y = (pixels[order] / 16).astype(np.float64), labels[order].astype(np.float64)
    held = len(x) - ATTACKED
    return World(
        name="digits", x_train=x[:held], y_train=y[:held], x=x[held:], y=y[held:],
        epsilons=(0.02, 0.05, 0.1, 0.15), hard_bounds=(0.0, 1.0),
    )  # fmt: skip


@cache
def _frame(name: str) -> tuple[pd.DataFrame, FloatArray]:
    return {"credit": credit_default, "hotel": hotel_bookings}[name]()


def credit_default() -> tuple[pd.DataFrame, FloatArray]:
    """Clients of a bank and whether they default next month."""
    frame = pd.read_csv(data_folder() / "credit_default.csv.gz").rename(columns=str.lower)
    labels = frame.pop("default-payment-next-month").to_numpy(np.float64)
    return frame.drop(columns="id"), labels


def hotel_bookings() -> tuple[pd.DataFrame, FloatArray]:
    """Bookings and whether they are cancelled, without what is written afterwards; texts are categories."""
    frame = pd.read_csv(data_folder() / "hotel_bookings.csv.gz").dropna(subset=["children"]).reset_index(drop=True)
    labels = frame["is_canceled"].to_numpy(np.float64)
    kept = frame.drop(columns=list(HOTEL_DROPPED))
    texts = [column for column in kept if column in HOTEL_FIXED]
    return kept.astype(dict.fromkeys(texts, "string")).astype(dict.fromkeys(texts, "category")), labels


def _split(count: int, seed: int, labels: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of rows to train on and rows to attack, drawn without replacement."""
    order = np.random.default_rng(seed).permutation(count)
    return order[:TRAINED_ON], order[TRAINED_ON : TRAINED_ON + ATTACKED]


def _scaled(values: FloatArray, train: np.ndarray) -> FloatArray:
    """(x − median) / robust σ within the .1 and 99.9 % quantiles of the training rows, asinh of it on heavy tails."""
    seen = values[train]
    low, q01, middle, q99, high = np.quantile(seen, [0.001, 0.01, 0.5, 0.99, 0.999])
    scale = robust_scale(seen) or 1.0
    scaled = (np.clip(values, low, high) - middle) / scale
    return np.arcsinh(scaled) if max(q99 - middle, middle - q01) / scale > HEAVY else scaled
