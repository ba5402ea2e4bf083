"""Three real tables in raw units with binary targets, split at random by a seed.

Mutable is what a client, a guest or a sensor can move a little: amounts, prices, dates of a stay, readings of the
weather. A timetable is published and is not measured. Counts, codes and
identities are held fixed, because one step of them is another case and no small change: one parking space decides a
booking.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from benchmarks.attack_cost.worlds import credit_default, data_folder, hotel_bookings
from monitor.schema import FloatArray, Schema

NAMES = ("credit_default", "hotel_bookings", "nycflights13")
TRAINED_ON = 30_000  # as many as a governed retraining reads, where the table has them
TESTED_ON = 10_000
LATE_MINUTES = 15
READINGS = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_AMOUNTS = (*(f"bill_amt{k}" for k in range(1, 7)), *(f"pay_amt{k}" for k in range(1, 7)), "limit_bal")
MUTABLE = {
    "credit_default": _AMOUNTS,
    "hotel_bookings": ("lead_time", "adr", "arrival_date_week_number", "arrival_date_day_of_month"),
    "nycflights13": READINGS,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Rows (n, d) to train on and to test on, as `schema.encode` gives, with labels 0 and 1."""

    name: str
    seed: int
    schema: Schema
    x_train: FloatArray
    y_train: FloatArray
    x_test: FloatArray
    y_test: FloatArray


def split(name: str, seed: int, *, trained_on: int = TRAINED_ON, tested_on: int = TESTED_ON) -> Split:
    """A table, drawn without replacement; the schema's levels are those of the rows to train on."""
    frame, labels = _frame(name)
    order = np.random.default_rng(seed).permutation(len(frame))
    test, train = order[:tested_on], order[tested_on : tested_on + trained_on]
    schema = Schema.infer(frame.iloc[train], mutable=MUTABLE[name])
    return Split(
        name=name, seed=seed, schema=schema, x_train=schema.encode(frame.iloc[train]), y_train=labels[train],
        x_test=schema.encode(frame.iloc[test]), y_test=labels[test],
    )  # fmt: skip


@cache
def _frame(name: str) -> tuple[pd.DataFrame, FloatArray]:
    return {"credit_default": credit_default, "hotel_bookings": _hotel, "nycflights13": _flights}[name]()


def _hotel() -> tuple[pd.DataFrame, FloatArray]:
    """With texts as texts: levels are those of the rows to train on."""
    frame, labels = hotel_bookings()
    return frame.astype(dict.fromkeys(frame.select_dtypes("category"), object)), labels


def _flights() -> tuple[pd.DataFrame, FloatArray]:
    """Arrivals more than 15 minutes late, from the timetable and the weather at departure; cancelled flights left out.

    The weather is joined by airport and hour of the timetable.
    """
    flights = pd.read_parquet(data_folder() / "nycflights13_flights.parquet").dropna(subset=["arr_delay"])
    weather = pd.read_csv(data_folder() / "nycflights13_weather.csv.gz")
    weather = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *READINGS]]
    joined = flights.merge(weather, on=["origin", "time_hour"], how="left").reset_index(drop=True)
    days = pd.to_datetime(joined[["year", "month", "day"]])
    frame = pd.DataFrame(
        {
            "month": joined["month"].astype(str).astype(object),
            "weekday": days.dt.day_name().astype(object),
            "departure_minute": _minutes(joined["sched_dep_time"]),
            "arrival_minute": _minutes(joined["sched_arr_time"]),
            "distance": joined["distance"].astype(float),
            **{column: joined[column].astype(object) for column in ("carrier", "origin", "dest")},
            **{column: joined[column].astype(float) for column in READINGS},
        }
    )
    return frame, (joined["arr_delay"] > LATE_MINUTES).to_numpy(np.float64)


def _minutes(clock: "pd.Series[int]") -> "pd.Series[float]":
    """Minutes of the day from a number such as 1545."""
    return (clock // 100 * 60 + clock % 100).astype(float)
