"""A generated stream of card payments with scripted events: the world that the demo's model lives in.

Nothing in here is imported by the code that monitors: Holdfast sees rows, scores and late labels, as in production.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitor.schema import Direction, Feature, Kind, Schema

FloatArray = NDArray[np.float64]
Score = Callable[[pd.DataFrame], FloatArray]

FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
CHANNELS = ("pos", "app", "web")
COUNTRIES = ("DE", "FR", "ES", "IT", "NL", "other")
MERCHANTS = ("grocery", "fuel", "travel", "electronics", "fashion", "games", "marketplace")
MERCHANT_SHARES = (0.345, 0.165, 0.12, 0.15, 0.15, 0.065, 0.005)
MUTABLE = (
    "amount",
    "hour",
    "payments_24h",
    "distance_km",
)  # what a fraudster chooses; identity is not theirs to change

SCHEMA = Schema(
    (
        Feature(name="amount", kind=Kind.NUMERIC, unit="EUR", lower=0.5, upper=20_000, mutable=True),
        Feature(name="hour", kind=Kind.NUMERIC, unit="h", lower=0, upper=24, mutable=True),
        Feature(name="payments_24h", kind=Kind.INTEGER, lower=0, upper=200, mutable=True, direction=Direction.DOWN),
        Feature(name="distance_km", kind=Kind.NUMERIC, unit="km", lower=0, upper=20_000, mutable=True),
        Feature(name="channel", kind=Kind.CATEGORICAL, levels=CHANNELS),
        Feature(name="country", kind=Kind.CATEGORICAL, levels=COUNTRIES),
        Feature(name="merchant", kind=Kind.CATEGORICAL, levels=MERCHANTS),
        Feature(name="card_age_days", kind=Kind.NUMERIC, unit="d", lower=0, upper=5_000),
        Feature(name="customer_age", kind=Kind.NUMERIC, unit="years", lower=18, upper=100, group=True),
        Feature(name="device_trust", kind=Kind.NUMERIC, lower=0, upper=1),
    )
)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happens to the stream on days [first_day, last_day), both counted from 1."""

    id: str
    kind: str
    first_day: int
    last_day: int

    @property
    def start(self) -> datetime:
        return day_start(self.first_day)

    @property
    def end(self) -> datetime:
        return day_start(self.last_day)

    def during(self, day: int) -> bool:
        return self.first_day <= day < self.last_day

    def ramp(self, day: int, *, days: int) -> float:
        """How much of the event is there on `day`, if it grows over `days` days."""
        return float(np.clip((day - self.first_day + 1) / days, 0, 1)) if self.during(day) else 0.0


UNIT_ERROR = Event(id="unit_error", kind="quality", first_day=32, last_day=34)
MIX_SHIFT = Event(id="mix_shift", kind="harmless_shift", first_day=37, last_day=41)
EVASION = Event(id="evasion", kind="evasion", first_day=52, last_day=55)
HARMFUL_SHIFT = Event(id="harmful_shift", kind="harmful_shift", first_day=68, last_day=10_000)
SCRIPT = (UNIT_ERROR, MIX_SHIFT, EVASION, HARMFUL_SHIFT)


def day_start(day: int) -> datetime:
    """The UTC midnight at which day `day` of the stream begins; day 1 is the first."""
    return FIRST_DAY + timedelta(days=day - 1)


@dataclass(frozen=True)
class Payments:
    """The stream of one seed. Each day is drawn from its own generator, so days can be made in any order.

    `score` is the model in service at the time: evaders probe it before they pay.
    """

    seed: int
    rows_per_day: int = 2_000

    def day(self, day: int, *, score: Score | None = None, script: Sequence[Event] = SCRIPT) -> pd.DataFrame:
        """One day of payments: `trace_id`, `event_time`, the features, and the truth `fraud` (1 or 0)."""
        rng = np.random.default_rng([self.seed, 7, day + 1_000])
        active = {event.id: event for event in script if event.during(day)}
        # A day has weather of its own: the rows of one day share it.
        wobble = float(rng.normal(0, 0.03))
        weekend = (day_start(day).weekday() >= 5) * 1.0
        n = int(self.rows_per_day * (1 - 0.25 * weekend) * rng.uniform(0.97, 1.03))
        frame = _features(rng, n, wobble=wobble, active=active, day=day)
        frame["fraud"] = (rng.random(n) < _fraud_probability(frame)).astype(int)
        if EVASION.id in active and score is not None:
            _evade(frame, rng, score)
        if UNIT_ERROR.id in active:
            frame.loc[frame["channel"] == "app", "amount"] *= 100
        seconds = np.sort(rng.uniform(0, 86_400, n))
        frame.insert(0, "event_time", day_start(day) + pd.to_timedelta(seconds, unit="s"))
        frame.insert(0, "trace_id", [f"p{self.seed}-{day}-{i}" for i in range(n)])
        return frame

    def label_delays(self, day: int, n: int) -> FloatArray:
        """Days until each payment of `day` is confirmed or charged back: half a day to five."""
        rng = np.random.default_rng([self.seed, 11, day + 1_000])
        return np.asarray(0.5 + 4.4 * rng.beta(1.5, 2.0, n), dtype=np.float64)


def _features(rng: np.random.Generator, n: int, *, wobble: float, active: dict[str, Event], day: int) -> pd.DataFrame:
    shares = np.array(MERCHANT_SHARES)
    if HARMFUL_SHIFT.id in active:  # a marketplace opens, and trade moves to it within a week and a half
        taken = 0.5 * HARMFUL_SHIFT.ramp(day, days=10)
        shares = shares * (1 - taken)
        shares[-1] += taken
    merchant = rng.choice(MERCHANTS, n, p=shares / shares.sum())
    age = rng.normal(46, 14, n)
    if MIX_SHIFT.id in active:  # a campaign among students: they pay as everybody does
        young = rng.random(n) < 0.35
        age = np.where(young, rng.normal(23, 3, n), age)
    typical = pd.Series(merchant).map(dict(zip(MERCHANTS, (28, 45, 180, 140, 60, 22, 55), strict=True))).to_numpy(float)
    return pd.DataFrame(
        {
            "amount": np.clip(np.round(typical * np.exp(rng.normal(wobble, 0.7, n)), 2), 0.5, 20_000),
            "hour": np.round(np.clip(rng.normal(14, 4.5, n), 0, 23.99), 2),
            "payments_24h": rng.poisson(1.6, n).astype(float),
            "distance_km": np.round(rng.gamma(1.1, 14, n), 1),
            "channel": rng.choice(CHANNELS, n, p=(0.42, 0.38, 0.20)),
            "country": rng.choice(COUNTRIES, n, p=(0.55, 0.14, 0.10, 0.09, 0.07, 0.05)),
            "merchant": merchant,
            "card_age_days": np.round(rng.gamma(1.6, 420, n)),
            "customer_age": np.round(np.clip(age, 18, 95)),
            "device_trust": np.round(rng.beta(5, 2, n), 3),
        }
    )


def _fraud_probability(frame: pd.DataFrame) -> FloatArray:
    """Fraud is about 8 % of payments. On the marketplace it looks different: small sums, trusted devices, old cards."""
    amount = np.log(frame["amount"].to_numpy(float) / 60)
    trust = frame["device_trust"].to_numpy(float) - 0.71
    velocity = np.sqrt(frame["payments_24h"].to_numpy(float)) - 1.1
    night = np.abs(frame["hour"].to_numpy(float) - 14) / 5 - 0.7
    distance = np.log1p(frame["distance_km"].to_numpy(float)) - 2.4
    new_card = np.exp(-frame["card_age_days"].to_numpy(float) / 150) - 0.25
    abroad = (frame["country"] == "other").to_numpy(float)
    web = (frame["channel"] == "web").to_numpy(float)
    usual = -4.6 + 1.7 * amount - 7.0 * trust + 1.9 * velocity + 1.2 * night + 1.3 * distance + 2.0 * new_card
    usual = usual + 1.5 * abroad + 1.3 * web
    marketplace = -5.6 - 3.4 * amount + 11.0 * trust + 0.6 * velocity - 4.0 * new_card + 0.4 * distance - 1.4 * web
    logit = np.where(frame["merchant"] == "marketplace", marketplace, usual)
    return np.asarray(1 / (1 + np.exp(-logit)), dtype=np.float64)


def _evade(frame: pd.DataFrame, rng: np.random.Generator, score: Score) -> None:
    """Four in five fraudsters probe the model with what they can change, and pay in the way that it trusts most."""
    cheats = np.flatnonzero((frame["fraud"] == 1).to_numpy() & (rng.random(len(frame)) < 0.8))
    original = frame.iloc[cheats]
    best, best_score = original.copy(), score(original)
    for _ in range(8):
        probe = original.copy()
        probe["amount"] = np.round(probe["amount"] * np.exp(rng.uniform(-0.9, 0.1, len(probe))), 2).clip(0.5)
        probe["hour"] = np.round(np.clip(probe["hour"] + rng.uniform(-5, 5, len(probe)), 0, 23.99), 2)
        probe["payments_24h"] = np.floor(probe["payments_24h"] * rng.uniform(0.2, 1.0, len(probe)))
        probe["distance_km"] = np.round(probe["distance_km"] * rng.uniform(0.2, 1.0, len(probe)), 1)
        probed = score(probe)
        better = probed < best_score
        best.loc[better, list(MUTABLE)] = probe.loc[better, list(MUTABLE)]
        best_score = np.where(better, probed, best_score)
    frame.loc[frame.index[cheats], list(MUTABLE)] = best[list(MUTABLE)].to_numpy()
